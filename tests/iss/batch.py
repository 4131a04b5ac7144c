"""Cases as a memory image that any simulator can run, and what is read from memory afterwards.

Each case has a frame in upper FRAM: code that loads the registers from the frame's table and branches to the
instruction under test, then code that stores the registers back into the table and falls into the next case's frame.
The last frame falls into the address `end`. A table holds R4..R15 and SP as 32-bit words, then SR, then where the case ended.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .encode import PC, SP, SR, V_FLAG
from .generate import FALL_THROUGH, PAD_BYTES, Case

FIRST_BYTE: Final = 0x4000
MEMORY_BYTES: Final = 0x44000
START: Final = 0x20000
_FRAME: Final = struct.Struct("<49H")
FRAME_BYTES: Final = _FRAME.size
_TABLE: Final = 42
_SP_OFFSET: Final = 48
_SR_OFFSET: Final = 52
_END_OFFSET: Final = 54
_NOT_RUN: Final = 0xFFFF
_INTO_TARGET: Final = 18
_INTO_FALL_THROUGH: Final = 24

_FILL: Final = b"\xff\x3f"
"""JMP $: code that goes astray stays where it is, and data that does is seen."""

_RESET_VECTOR: Final = 0xFFFE

WILD: Final = 0xFFFF
"""Where a case ended that left its code."""

GDB_V_FLAG: Final = 0x80
"""Where GDB's simulator keeps V, the bit of SCG1; the hardware's is bit 8 (SLAU367P section 4.3.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`registers[case, n]` is Rn afterwards, [case, 0] where the case ended; `memory` all bytes from address 0."""

    registers: NDArray[np.uint32]
    memory: NDArray[np.uint8]

    def data(self, case: Case) -> bytes:
        return self.memory[case.slot : case.slot + len(case.data)].tobytes()


def image(cases: Sequence[Case], *, v_flag: int = V_FLAG) -> bytearray:
    """Memory before the run; execution starts at START and ends before `end(cases)`. `v_flag` is the bit of V in SR."""
    memory = bare_image(cases)
    for index, case in enumerate(cases):
        frame = START + index * FRAME_BYTES
        memory[frame : frame + FRAME_BYTES] = _frame(case, frame, v_flag)
        fall_through = case.address + len(case.code)
        _branch(memory, fall_through, frame + _INTO_FALL_THROUGH)
        if case.target is not None:
            _branch(memory, case.target, frame + _INTO_TARGET)
    return memory


def bare_image(cases: Sequence[Case]) -> bytearray:
    """Instructions under test and their data alone."""
    memory = bytearray(FIRST_BYTE) + _FILL * ((MEMORY_BYTES - FIRST_BYTE) // len(_FILL))
    memory[_RESET_VECTOR : _RESET_VECTOR + 2] = bytes(2)  # GDB's simulator would start where it leads
    for case in cases:
        memory[case.slot : case.slot + len(case.data)] = case.data
        memory[case.address : case.address + len(case.code)] = case.code
    return memory


def end(cases: Sequence[Case]) -> int:
    """Address behind the last frame."""
    return START + len(cases) * FRAME_BYTES


def outcome(cases: Sequence[Case], memory: bytes, *, v_flag: int = V_FLAG) -> Outcome:
    """What the memory after a run says."""
    array = np.frombuffer(memory, dtype=np.uint8)
    frames = array[START : end(cases)].reshape(len(cases), FRAME_BYTES)
    tables = np.ascontiguousarray(frames[:, _TABLE:])
    registers = np.zeros((len(cases), 16), dtype=np.uint32)
    registers[:, 4:16] = tables[:, :_SP_OFFSET].copy().view("<u4")
    registers[:, SP] = tables[:, _SP_OFFSET:_SR_OFFSET].copy().view("<u4")[:, 0]
    status, ends = tables[:, _SR_OFFSET:].copy().view("<u2").astype(np.uint32).T
    registers[:, PC] = np.where(status == _NOT_RUN, WILD, ends)
    if v_flag != V_FLAG:
        others = status & np.uint32(0xFFFF & ~(v_flag | V_FLAG))
        status = others | np.where(status & v_flag, np.uint32(V_FLAG), np.uint32(0))
    registers[:, SR] = status
    return Outcome(registers=registers, memory=array)


def stray_writes(cases: Sequence[Case], before: bytes | bytearray, after: Outcome) -> list[int]:
    """Addresses outside frames and slots that changed."""
    changed = np.frombuffer(before, dtype=np.uint8) != after.memory
    changed[START : end(cases)] = False
    for case in cases:
        changed[case.slot : case.slot + len(case.data)] = False
    return [int(address) for address in np.flatnonzero(changed)]


def _frame(case: Case, frame: int, v_flag: int) -> bytes:
    table = frame + _TABLE
    status = case.registers[SR]
    if v_flag != V_FLAG and status & V_FLAG:
        status = status & ~V_FLAG | v_flag
    words: list[int] = []
    for register in (*case.registers[4:16], case.registers[SP]):
        words += (register & 0xFFFF, register >> 16)
    return _FRAME.pack(
        *_mova(SP, table),
        0x16B4,  # POPM.A #12, R15
        *(0x4032, status),  # MOV #status, SR
        *_mova(SP, case.registers[SP]),
        *_mova(PC, case.address),
        *_movx(0x4392, table + _END_OFFSET),  # MOVX.W #1, &end
        *(0x0160 | (table + _SP_OFFSET) >> 16, (table + _SP_OFFSET) & 0xFFFF),  # MOVA SP, &sp
        *_movx(0x4282, table + _SR_OFFSET),  # MOVX.W SR, &sr
        *_mova(SP, table + _SP_OFFSET),
        0x14BF,  # PUSHM.A #12, R15
        0x3C00 | (FRAME_BYTES - _TABLE) // 2,  # JMP to the next frame
        *words,
        _NOT_RUN,
        FALL_THROUGH,
    )


def _mova(register: int, value: int) -> tuple[int, int]:
    """MOVA #value, Rn."""
    return 0x0080 | (value >> 16) << 8 | register, value & 0xFFFF


def _movx(opcode: int, address: int) -> tuple[int, int, int]:
    return 0x1840 | address >> 16, opcode, address & 0xFFFF


def _branch(memory: bytearray, address: int, target: int) -> None:
    memory[address : address + PAD_BYTES] = struct.pack("<2H", *_mova(PC, target))
