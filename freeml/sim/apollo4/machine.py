"""The Apollo4 as a debugger sees it; see docs/simulators.md for what is modelled."""

from __future__ import annotations

import ctypes
import hashlib
from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from freeml.sim.apollo4 import state as s
from freeml.sim.apollo4.engine import Engine
from freeml.sim.apollo4.faults import describe
from freeml.sim.apollo4.memory import Mram
from freeml.sim.image import Image, ImageError
from freeml.sim.machine import Counts, MachineFaultError, NvWrite, StopReason
from freeml.sim.machine import Snapshot as AnySnapshot
from freeml.targets import Board
from freeml.targets.apollo4 import APOLLO4

_SLICE = 20_000_000
"""Instructions executed at a time, so that an interrupt from the keyboard is heard within a second."""

_ROM_NAME = "nv_program_main2"
"""The function of the boot ROM to which the instructions and NV writes of its model are counted."""

_PROBE_ENABLED = 1
"""ITMENA in ITM_TCR, or the enable bit of port 0 in ITM_TER: what a probe that listens has set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Opaque; belongs to one machine."""

    owner: int
    registers: Any
    state: bytes
    tcm: bytes
    ssram: bytes
    mram: Mapping[int, bytes]
    output: bytes
    fault: str | None


class Apollo4Machine:
    """An Apollo4 with one firmware, powered on. Implements `freeml.sim.machine.Machine`.

    Instructions are counted as the architecture executes them: those of an IT block whose condition fails count, and a
    run can stop at them. Snapshots hold the whole machine, but neither the log of NV writes nor the profile, which
    belong to whoever watches.
    """

    def __init__(self, image: Image) -> None:
        """Raises ImageError for an image that was not linked with freeml's linker script, ToolchainError where the C
        part cannot be built, EngineMissingError without unicorn."""
        self._image = image
        self._engine = Engine()
        self._state = self._engine.state
        flashed = {segment.address - s.MRAM_START: segment.data for segment in image.segments}
        self._mram = Mram(self._engine.mram, self._engine.dirty, self._engine.forget_code, flashed)
        self._tcm = memoryview(self._engine.tcm).cast("B")
        self._ssram = memoryview(self._engine.ssram).cast("B")
        self._regions = (
            (s.MRAM_START, s.MRAM_END, memoryview(self._engine.mram).cast("B")),
            (s.TCM_START, s.TCM_END, self._tcm),
            (s.SSRAM_START, s.SSRAM_END, self._ssram),
        )
        self._names = ("", *(function.name for function in image.functions), _ROM_NAME)
        self._by_function = (s.CountsStruct * len(self._names))()
        self._profile_start = self._profile_now()
        self._profile_end: list[tuple[int, int]] | None = self._profile_start
        self._stops: frozenset[int] = frozenset()
        self._log: list[NvWrite] = []
        self._output = bytearray()
        self._fault: str | None = None
        self._shared: list[bytes] = [b"", b""]
        self._hashed: list[tuple[bytes | None, bytes]] = [(None, b""), (None, b"")]
        self._engine.set_by_function(self._by_function)
        self._number_functions()
        self._state.stack_limit = image.symbol("fm_stack_limit")
        self._state.nv_start = image.symbol("fm_nv_start")
        self._state.nv_end = image.symbol("fm_nv_end")
        self.power_on()

    def _number_functions(self) -> None:
        """Write the number of its function for each halfword of code."""
        numbers = array("H", bytes(2 * s.MARKS))
        for number, function in enumerate(self._image.functions, start=1):
            first, last = (function.start - s.MRAM_START) // 2, (function.end - s.MRAM_START + 1) // 2
            if 0 <= first <= last <= s.MARK_ROM:
                numbers[first:last] = array("H", [number]) * (last - first)
        rom = s.MARKS - s.MARK_ROM
        numbers[s.MARK_ROM :] = array("H", [len(self._names) - 1]) * rom
        ctypes.memmove(self._engine.functions, numbers.tobytes(), 2 * s.MARKS)

    @property
    def board(self) -> Board:
        """What is simulated."""
        return APOLLO4

    @property
    def image(self) -> Image:
        """What was flashed."""
        return self._image

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return int(self._state.pc)

    @property
    def sp(self) -> int:
        """Stack pointer."""
        return self._engine.register(13)

    def return_address(self) -> int:
        """Where the function returns to at whose first instruction the machine is."""
        return self._engine.register(14) & ~1

    def power_on(self, *, keep_nv: bool = False, sram: int = 0xA5) -> None:
        """Reset with both SRAMs and the registers holding the byte `sram`. Without `keep_nv` the image is flashed anew:
        the rest of the MRAM holds 0xFF. Stack pointer and entry come from the vector table at the start of the image,
        as the boot loader takes them. The log goes on."""
        if not keep_nv:
            self._mram.restore({})
        for buffer in (self._engine.tcm, self._engine.ssram):
            ctypes.memset(buffer, sram, len(buffer))
        state = self._state
        state.total.instructions = state.total.nv_writes = 0
        state.it_next = state.it_end = state.check_stack = 0
        state.vtor = state.scr = state.cpacr = 0
        state.itm_tcr = state.itm_ter = _PROBE_ENABLED
        stack, entry = (int.from_bytes(self.read(s.MRAM_START + offset, 4), "little") for offset in (0, 4))
        if entry & ~1 != self._image.entry or not entry & 1 or not s.TCM_START < stack <= s.TCM_END:
            raise ImageError(
                f"{self._image.path}: expected a vector table at {s.MRAM_START:#x} with a stack in TCM and the entry "
                f"{self._image.entry | 1:#x}, found {stack:#x} and {entry:#x}; was it linked with apollo4.ld?"
            )
        state.pc = entry & ~1
        self._engine.reset(state.pc, stack, sram)
        self._output.clear()
        self._fault = None

    def run(
        self, *, stops: Collection[int] = (), max_instructions: int | None = None, max_cycles: int | None = None
    ) -> StopReason:
        """Execute until the next instruction is in `stops`, or `max_instructions` were executed (exactly), a stop being
        named first where both hold. Cycles are not counted here, so `max_cycles` is refused with ValueError.

        Raises MachineFaultError; the machine then stays as the fault left it, the instruction at fault counted, until
        it is powered on or restored.
        """
        if max_cycles is not None:
            raise ValueError("the Apollo4 simulator counts instructions, not cycles: use max_instructions")
        if max_instructions is not None and max_instructions < 1:
            raise ValueError(f"expected at least one instruction, found max_instructions={max_instructions}")
        if self._fault is not None:
            raise MachineFaultError(self._fault)
        self._set_stops(stops)
        state = self._state
        state.first = state.total.instructions
        limit = None if max_instructions is None else state.first + max_instructions
        while True:
            state.limit = state.total.instructions + _SLICE
            if limit is not None:
                state.limit = min(state.limit, limit)
            stopped = self._engine.go()
            self._drain()
            if stopped.outcome == s.BREAKPOINT:
                return "breakpoint"
            if stopped.outcome == s.LIMIT and state.total.instructions == limit:
                return "instructions"
            if stopped.outcome not in (s.LIMIT, s.DRAIN):
                self._raise_fault()

    def _raise_fault(self) -> None:
        engine = self._engine
        self._fault = describe(
            self._image, self._state, engine_pc=engine.register(15), sp=self.sp, caller=engine.register(14)
        )
        raise MachineFaultError(self._fault)

    def _set_stops(self, stops: Collection[int]) -> None:
        wanted = frozenset(stops)
        for address in wanted:
            if not s.MRAM_START <= address < s.MRAM_END or address % 2:
                raise ValueError(f"cannot stop at {address:#x}: expected an even address in MRAM")
        marks = self._engine.marks
        for address in self._stops - wanted:
            marks[(address - s.MRAM_START) // 2] &= ~s.STOP & 0xFF
        for address in wanted - self._stops:
            marks[(address - s.MRAM_START) // 2] |= s.STOP
        self._stops = wanted

    def _drain(self) -> None:
        self._output += self._engine.take_output()
        for time, pc, address, data in self._engine.take_log():
            self._log.append(NvWrite(time=time, pc=pc, address=address, data=data))

    def counts(self) -> Counts:
        """Totals since the machine was powered on."""
        total = self._state.total
        return Counts(instructions=total.instructions, cycles=None, nv_writes=total.nv_writes)

    def read(self, address: int, size: int) -> bytes:
        """Memory as a debugger reads it. Raises ValueError outside MRAM, TCM and shared SRAM."""
        view, offset = self._locate(address, size)
        return bytes(view[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """The same for writing, MRAM and code included; not counted or logged as the firmware's doing."""
        view, offset = self._locate(address, len(data))
        if address < s.MRAM_END:
            self._mram.write(offset, data)
        else:
            view[offset : offset + len(data)] = data

    def _locate(self, address: int, size: int) -> tuple[memoryview, int]:
        for start, end, view in self._regions:
            if start <= address and address + size <= end and size >= 0:
                return view, address - start
        raise ValueError(f"{size} bytes at {address:#x} are not in one memory of the Apollo4")

    def snapshot(self) -> Snapshot:
        """The state at this point. Equal contents of SRAM are kept once among snapshots taken in a row."""
        for number, memory in enumerate((self._tcm, self._ssram)):
            contents = bytes(memory)
            if contents != self._shared[number]:
                self._shared[number] = contents
        tcm, ssram = self._shared
        return Snapshot(
            owner=id(self),
            registers=self._engine.save(),
            state=bytes(self._state),
            tcm=tcm,
            ssram=ssram,
            mram=self._mram.save(),
            output=bytes(self._output),
            fault=self._fault,
        )

    def restore(self, snapshot: AnySnapshot) -> None:
        """Go back to a snapshot of this machine. Raises ValueError for another's."""
        if not isinstance(snapshot, Snapshot) or snapshot.owner != id(self):
            raise ValueError("expected a snapshot that this machine took")
        logging = self._state.logging
        ctypes.memmove(ctypes.addressof(self._state), snapshot.state, len(snapshot.state))
        self._state.logging = logging
        self._engine.restore(snapshot.registers)
        self._tcm[:] = snapshot.tcm
        self._ssram[:] = snapshot.ssram
        self._mram.restore(snapshot.mram)
        self._output[:] = snapshot.output
        self._fault = snapshot.fault

    def fingerprint(self) -> bytes:
        """A hash of all that decides what the machine will do: memories, registers and the system control space."""
        state = self._state
        registers = (self._engine.all_registers(), state.it_next, state.it_end, state.check_stack)
        system = (state.vtor, state.scr, state.cpacr, state.itm_tcr, state.itm_ter, self._fault)
        digest = hashlib.blake2b(repr((state.pc, registers, system)).encode(), digest_size=16)
        for number, memory in enumerate((self._tcm, self._ssram)):
            digest.update(self._digest(number, bytes(memory)))
        for page, contents in sorted(self._mram.save().items()):
            digest.update(page.to_bytes(4, "little") + contents)
        return digest.digest()

    def _digest(self, number: int, contents: bytes) -> bytes:
        """Of a memory, known from the last time where it did not change: to compare is quicker."""
        if contents != self._hashed[number][0]:
            self._hashed[number] = (contents, hashlib.blake2b(contents, digest_size=16).digest())
        return self._hashed[number][1]

    def take_output(self) -> bytes:
        """What the firmware wrote to trace port 0 since the last call."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def feed(self, data: bytes) -> None:
        """The board's console is a trace port, which only speaks. Raises ValueError when there is anything to hear."""
        if data:
            raise ValueError("the Apollo4's console is a trace port and hears nothing")

    def log_nv(self, enabled: bool) -> None:
        """Begin (emptying the log) or stop to log programmed granules. `NvWrite.pc` is in the boot ROM."""
        if enabled:
            self._log.clear()
        self._state.logging = int(enabled)

    def nv_log(self) -> tuple[NvWrite, ...]:
        """The log: one entry per granule of 16 bytes; `time` is in instructions."""
        return tuple(self._log)

    def profile(self, enabled: bool) -> None:
        """Begin (from zero) or stop to count by function."""
        if enabled:
            self._profile_start = self._profile_now()
            self._profile_end = None
        elif self._profile_end is None:
            self._profile_end = self._profile_now()

    def by_function(self) -> Mapping[str, Counts]:
        """Costs of a function's own instructions since `profile(True)`. What the boot ROM did is under
        nv_program_main2, and what belongs to no known function under an empty name."""
        found: dict[str, tuple[int, int]] = {}
        for name, (was_instructions, was_writes), (instructions, writes) in zip(
            self._names, self._profile_start, self._profile_end or self._profile_now(), strict=True
        ):
            before = found.get(name, (0, 0))
            found[name] = (before[0] + instructions - was_instructions, before[1] + writes - was_writes)
        return {
            name: Counts(instructions=instructions, cycles=None, nv_writes=writes)
            for name, (instructions, writes) in found.items()
            if instructions
        }

    def _profile_now(self) -> list[tuple[int, int]]:
        return [(entry.instructions, entry.nv_writes) for entry in self._by_function]
