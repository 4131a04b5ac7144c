"""One unicorn engine with the hooks in C attached: starts, stops and memory, and nothing of a firmware."""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freeml.errors import FreemlError
from freeml.sim.apollo4 import state as s
from freeml.sim.native import load_library

_FOLDER = Path(__file__).parent
_SOURCES = ("hooks.c", "decode.c")

_NOWHERE = 0xFFFF_FFFF
"""Where a run would end by itself: an odd address, which no instruction has."""

# Halfwords of the boot ROM's model. Whatever is not listed is undefined, so that a call of another helper is a fault.
_UNDEFINED = 0xDEFF
_ROM_CODE = {
    s.ROM_PROGRAM: (0xE048,),  # b ROM_GRANULE
    s.ROM_GRANULE: (0xBF00, 0x2800, 0xD1FC, 0x4770),  # nop (programs a granule, counts down r0); cmp r0, #0; bne; bx lr
}

_ONLY_STOPS = bytes(mark & s.STOP for mark in range(256))


def load_hooks() -> ctypes.CDLL:
    """The part in C, compiled when first needed. Raises ToolchainError."""
    hooks = load_library("apollo4", [_FOLDER / name for name in _SOURCES], [_FOLDER])
    if hooks.a4_machine_bytes() != ctypes.sizeof(s.MachineStruct):
        raise AssertionError("hooks.h and state.py disagree about the size of a machine")
    return hooks


class EngineMissingError(FreemlError):
    """The package that executes Cortex-M4 code is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why the engine returned: the hooks' outcome and, where the engine itself objected, its words."""

    outcome: int
    objection: str | None


class Engine:
    """A Cortex-M4 with the Apollo4's memories. `state` is shared with the C part."""

    def __init__(self) -> None:
        try:
            unicorn: Any = importlib.import_module("unicorn")  # its annotations are incomplete
            from unicorn import arm_const
            from unicorn.unicorn_py3.unicorn import uclib
        except ImportError as error:
            raise EngineMissingError(
                f"simulating the Apollo4 takes the package unicorn, which cannot be imported ({error}): "
                "pip install 'freeml[boards]'"
            ) from error
        hooks = load_hooks()
        self._unicorn = unicorn
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M4)
        self.registers = (
            *range(arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R0 + 13),
            arm_const.UC_ARM_REG_SP,
            arm_const.UC_ARM_REG_LR,
            arm_const.UC_ARM_REG_PC,
            arm_const.UC_ARM_REG_PRIMASK,
        )
        self.float_registers = tuple(range(arm_const.UC_ARM_REG_D0, arm_const.UC_ARM_REG_D0 + 16))
        self.every_register = (
            *self.registers,
            *self.float_registers,
            arm_const.UC_ARM_REG_XPSR,
            arm_const.UC_ARM_REG_FPSCR,
            arm_const.UC_ARM_REG_MSP,
            arm_const.UC_ARM_REG_PSP,
            arm_const.UC_ARM_REG_CONTROL,
            arm_const.UC_ARM_REG_BASEPRI,
            arm_const.UC_ARM_REG_FAULTMASK,
        )
        self.state = s.MachineStruct()
        self.mram = (ctypes.c_uint8 * (s.MRAM_END - s.MRAM_START))()
        self.tcm = (ctypes.c_uint8 * (s.TCM_END - s.TCM_START))()
        self.ssram = (ctypes.c_uint8 * (s.SSRAM_END - s.SSRAM_START))()
        self.marks = (ctypes.c_uint8 * s.MARKS)()
        self.functions = (ctypes.c_uint16 * s.MARKS)()
        self.dirty = (ctypes.c_uint8 * ((s.MRAM_END - s.MRAM_START) // s.PAGE_BYTES))()
        self._rom = (ctypes.c_uint16 * ((s.ROM_END - s.ROM_START) // 2))(*_rom_halfwords())
        self._output = (ctypes.c_uint8 * s.OUTPUT_CAPACITY)()
        self._log = (s.NvWriteStruct * s.LOG_CAPACITY)()
        self._register_ids = (ctypes.c_int32 * len(self.registers))(*self.registers)
        self._share(uclib)
        self._map()
        self._hook(uclib, hooks)
        self._fresh = self.save()
        self._resets: dict[tuple[int, int, int], object] = {}

    def _share(self, uclib: ctypes.CDLL) -> None:
        for name, function in (("stop", "emu_stop"), ("read_register", "reg_read"), ("write_register", "reg_write")):
            setattr(self.state, name, _address(getattr(uclib, f"uc_{function}")))
        for name, buffer in (
            ("register_ids", self._register_ids),
            ("mram", self.mram),
            ("tcm", self.tcm),
            ("marks", self.marks),
            ("functions", self.functions),
            ("dirty", self.dirty),
            ("output", self._output),
            ("log", self._log),
        ):
            setattr(self.state, name, ctypes.addressof(buffer))
        self.state.output_capacity = s.OUTPUT_CAPACITY
        self.state.log_capacity = s.LOG_CAPACITY

    def _map(self) -> None:
        u = self._unicorn
        for start, buffer, permissions in (
            (s.MRAM_START, self.mram, u.UC_PROT_READ | u.UC_PROT_EXEC),
            (s.TCM_START, self.tcm, u.UC_PROT_READ | u.UC_PROT_WRITE),
            (s.SSRAM_START, self.ssram, u.UC_PROT_READ | u.UC_PROT_WRITE),
            (s.ROM_START, self._rom, u.UC_PROT_READ | u.UC_PROT_EXEC),
        ):
            self._uc.mem_map_ptr(start, ctypes.sizeof(buffer), permissions, ctypes.addressof(buffer))

    def _hook(self, uclib: ctypes.CDLL, hooks: ctypes.CDLL) -> None:
        u = self._unicorn
        shared = ctypes.addressof(self.state)
        handle = ctypes.c_size_t()
        everywhere = (ctypes.c_uint64(1), ctypes.c_uint64(0))
        for kind, function in (
            (u.UC_HOOK_CODE, hooks.a4_on_instruction),
            (u.UC_HOOK_INTR, hooks.a4_on_exception),
            (u.UC_HOOK_MEM_INVALID, hooks.a4_on_access),
        ):
            status = uclib.uc_hook_add(
                self._uc._uch, ctypes.byref(handle), kind, _address(function), shared, *everywhere
            )
            if status != u.UC_ERR_OK:
                raise u.UcError(status)
        for start, read, write in (
            (s.ITM_START, hooks.a4_itm_read, hooks.a4_itm_write),
            (s.SCS_START, hooks.a4_scs_read, hooks.a4_scs_write),
        ):
            status = uclib.uc_mmio_map(
                self._uc._uch, start, s.PAGE_BYTES, _address(read), shared, _address(write), shared
            )  # fmt: skip
            if status != u.UC_ERR_OK:
                raise u.UcError(status)

    def set_by_function(self, counts: ctypes.Array[s.CountsStruct]) -> None:
        """Where to count by function; the caller keeps it alive."""
        self.state.by_function = ctypes.addressof(counts)

    def reset(self, pc: int, sp: int, rubbish: int) -> None:
        """Reset, every register that a reset leaves undefined holding the byte `rubbish`."""
        known = self._resets.get((pc, sp, rubbish))
        if known is not None:
            self.restore(known)
            return
        self.restore(self._fresh)
        word = int.from_bytes(bytes([rubbish]) * 4, "little")
        for register in self.registers[:13]:
            self._uc.reg_write(register, word)
        for register in self.float_registers:
            self._uc.reg_write(register, word << 32 | word)
        self._uc.reg_write(self.registers[14], 0xFFFF_FFFF)
        self._uc.reg_write(self.registers[13], sp)
        self._uc.reg_write(self.registers[15], pc | 1)
        self._resets[pc, sp, rubbish] = self.save()

    def register(self, number: int) -> int:
        """r0 to r15; 16 is PRIMASK. While a run is stopped among skipped instructions, r15 is behind them."""
        return int(self._uc.reg_read(self.registers[number]))

    def all_registers(self) -> tuple[int, ...]:
        """Everything that the processor computes with: core, status and floating-point registers."""
        return tuple(int(self._uc.reg_read(register)) for register in self.every_register)

    def go(self) -> Stopped:
        """Execute until the hooks end it or the engine objects."""
        self.state.outcome = s.RUNNING
        objection = None
        try:
            self._uc.emu_start(self.register(15) | 1, _NOWHERE)
        except self._unicorn.UcError as error:
            objection = str(error)
        return Stopped(outcome=self.state.outcome, objection=objection)

    def take_output(self) -> bytes:
        """Empty the buffer of the trace port."""
        data = bytes(self._output[: self.state.output_size])
        self.state.output_size = 0
        return data

    def take_log(self) -> list[tuple[int, int, int, bytes]]:
        """Empty the buffer of NV writes: time, pc, address, data."""
        entries = self._log[: self.state.log_size]
        self.state.log_size = 0
        return [(entry.time, entry.pc, entry.address, bytes(entry.data)) for entry in entries]

    def save(self) -> object:
        """The processor's registers, opaque."""
        return self._uc.context_save()

    def restore(self, context: object) -> None:
        """The opposite."""
        self._uc.context_restore(context)

    def forget_code(self, offset: int, size: int) -> None:
        """What was translated of these bytes of MRAM, which somebody overwrote.

        The engine translates ahead, so this holds for code that was never executed as well.
        """
        # From one halfword before: an instruction of two may begin there.
        first, last = max(0, offset // 2 - 1), (offset + size + 1) // 2
        kept = bytes(self.marks[first:last]).translate(_ONLY_STOPS)
        ctypes.memmove(ctypes.addressof(self.marks) + first, kept, len(kept))
        self._uc.ctl_remove_cache(s.MRAM_START + 2 * first, s.MRAM_START + 2 * last)


def _rom_halfwords() -> list[int]:
    halfwords = [_UNDEFINED] * ((s.ROM_END - s.ROM_START) // 2)
    for address, code in _ROM_CODE.items():
        first = (address - s.ROM_START) // 2
        halfwords[first : first + len(code)] = code
    return halfwords


def _address(function: ctypes._NamedFuncPointer) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
