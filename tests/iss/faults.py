"""What the oracles get wrong, each with its evidence, and what the user guide leaves undefined.

A comparison ignores exactly the bits that a fault names, in exactly the cases that it applies to. `test_faults.py` shows
for each that it is still there; a fault that an update has removed fails there and leaves this list.

Section numbers are those of SLAU367P.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .encode import ADDRESS_MASK, PC, SP, SR, STORED_BYTES, V_FLAG, Instruction, Mode, Operand, assemble
from .generate import Case
from .oracles import Difference

OracleName = Literal["gdb", "pcode"]

ALL_BITS = ADDRESS_MASK

EXAMPLE_ADDRESS, EXAMPLE_SLOT = 0x8000, 0x9000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of one oracle.

    Ignored where it applies: the status bits `flags`; the bits `result` of the destination (bits 31:20 exist in memory
    only); the bits `pointer` of the register that the first operand in memory is addressed with; with `memory` all data of the case. With `excluded` nothing of the case can be compared: the
    oracle works at another address, or not at all. `rule` says what the user guide's `section` demands.
    `agreed` tells whether the other oracle does as the guide says; where neither does, the guide's sentence stands alone.
    """

    oracle: OracleName
    name: str
    section: str
    rule: str
    applies: Callable[[Case], bool]
    example: Case
    flags: int = 0
    result: int = 0
    pointer: int = 0
    memory: bool = False
    excluded: bool = False
    agreed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Undefined:
    """Status bits that the user guide leaves undefined."""

    section: str
    applies: Callable[[Case], bool]
    flags: int


UNDEFINED = (
    Undefined(section="4.6.2.16, 4.6.3.11", applies=lambda case: case.instruction.name == "DADD", flags=V_FLAG),
    Undefined(section="4.6.3.22", applies=lambda case: case.instruction.name == "RLAM", flags=V_FLAG),
)


def unexplained(case: Case, difference: Difference, faults: Sequence[Fault]) -> bool:
    """Whether anything differs that no fault and no undefined bit covers."""
    applying = [fault for fault in faults if fault.applies(case)]
    if any(fault.excluded for fault in applying):
        return False
    registers = list(difference.registers)
    data = bytearray(difference.data)
    for undefined in UNDEFINED:
        if undefined.applies(case):
            registers[SR] &= ~undefined.flags
    for fault in applying:
        registers[SR] &= ~fault.flags
        if fault.pointer:
            registers[_pointer(case)] &= ~fault.pointer
        if fault.memory:
            data = bytearray(len(data))
        if fault.result:
            _forgive_result(case, fault.result, registers, data)
    return any(registers) or any(data)


def excluded(case: Case, faults: Sequence[Fault]) -> bool:
    """Whether the oracle cannot be asked about this case."""
    return any(fault.excluded and fault.applies(case) for fault in faults)


def _pointer(case: Case) -> int:
    for operand in operands(case.instruction):
        if operand.mode in (Mode.INDIRECT, Mode.POSTINC, Mode.INDEXED):
            return operand.register
    raise AssertionError("a fault of indirect operands applies to an instruction that has none")


def _forgive_result(case: Case, bits: int, registers: list[int], data: bytearray) -> None:
    instruction, destination = case.instruction, case.instruction.destination
    assert destination
    if instruction.name == "PUSH":
        step = max(2, STORED_BYTES[instruction.size])
        places = [case.registers[SP] - step * (index + 1) for index in range(instruction.repeat)]
    elif destination.mode is Mode.REGISTER:
        registers[destination.register] &= ~bits
        return
    else:
        places = [effective_address(case, destination)]
    for place in places:
        for index in range(STORED_BYTES[instruction.size]):
            data[place - case.slot + index] &= ~(bits >> 8 * index) & 0xFF


def effective_address(case: Case, operand: Operand) -> int:
    """Where an operand in memory lies (sections 4.4.2 to 4.4.6)."""
    instruction = case.instruction
    base = case.registers[operand.register]
    if operand.mode in (Mode.ABSOLUTE, Mode.SYMBOLIC):
        return operand.value
    if operand.mode is not Mode.INDEXED:
        return base
    if instruction.extended:
        return (base + operand.value) & ADDRESS_MASK
    address = base + signed(operand.value, 16)
    wide = base > 0xFFFF or instruction.form in ("address", "calla")
    return address & (ADDRESS_MASK if wide else 0xFFFF)


def signed(value: int, bits: int) -> int:
    sign = 1 << bits - 1
    return (value & sign - 1) - (value & sign)


def operands(instruction: Instruction) -> tuple[Operand, ...]:
    return tuple(operand for operand in (instruction.source, instruction.destination) if operand)


def own_words(case: Case) -> list[tuple[Operand, int]]:
    """Operands that have a word of their own, with the word's address."""
    address = case.address + (4 if case.instruction.extended else 2)
    found = []
    for operand in operands(case.instruction):
        if operand.mode in (Mode.INDEXED, Mode.SYMBOLIC, Mode.ABSOLUTE, Mode.IMMEDIATE):
            found.append((operand, address))
            address += 2
    return found


def word_value(operand: Operand, word_address: int) -> int:
    """The 20 bits encoded for an operand: index, distance, address or constant."""
    return (operand.value - (word_address if operand.mode is Mode.SYMBOLIC else 0)) & ADDRESS_MASK


def example(
    instruction: Instruction,
    registers: Mapping[int, int] | None = None,
    *,
    status: int = 0,
    data: bytes = b"",
    target: int | None = None,
    address: int = EXAMPLE_ADDRESS,
    slot: int = EXAMPLE_SLOT,
) -> Case:
    """A minimal case; registers not given are zero."""
    values = [0] * 16
    for number, value in (registers or {}).items():
        values[number] = value
    values[PC], values[SR] = address, status
    return Case(
        instruction=instruction,
        code=assemble(instruction, address),
        registers=tuple(values),
        slot=slot,
        data=data.ljust(32, b"\x55"),
        target=target,
    )
