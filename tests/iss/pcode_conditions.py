"""In which cases the faults of pypcode's description show."""

from __future__ import annotations

from collections.abc import Callable

from .encode import IN_MEMORY, Mode, Operand
from .faults import ALL_BITS, effective_address, operands, own_words, signed, word_value
from .generate import Case


def wide(*names: str) -> Callable[[Case], bool]:
    """20-bit instructions of these names."""
    return lambda case: case.instruction.size == "A" and case.instruction.name in names


def in_memory(operand: Operand | None) -> bool:
    return operand is not None and operand.mode in IN_MEMORY


def wraps(case: Case) -> bool:
    if case.instruction.extended or case.instruction.form in ("address", "calla"):
        return False
    return any(
        operand.mode is Mode.INDEXED
        and case.registers[operand.register] < 0x10000
        and not 0 <= case.registers[operand.register] + signed(operand.value, 16) < 0x10000
        for operand in operands(case.instruction)
    )


def unsigned_distance(case: Case) -> bool:
    instruction = case.instruction
    if instruction.extended or instruction.form == "calla":
        return False
    return any(
        operand.mode is Mode.SYMBOLIC
        and word_value(operand, address) & 0x8000
        and (operand is instruction.source or instruction.form == "single")
        for operand, address in own_words(case)
    )


def short_address(case: Case) -> bool:
    """An extension word whose address bits are not looked at, and matter."""
    instruction = case.instruction
    if not instruction.extended:
        return False
    for operand, address in own_words(case):
        whole = instruction.size == "A" and not (instruction.form == "single" and operand.mode is Mode.INDEXED)
        if operand.mode is Mode.IMMEDIATE or whole:
            continue
        value = word_value(operand, address)
        low = value & 0xFFFF
        if value != (low if operand.mode is Mode.ABSOLUTE else signed(low, 16) & ALL_BITS):
            return True
    return False


def second_distance(case: Case) -> bool:
    """A 20-bit instruction whose destination's distance stands in the third word."""
    instruction = case.instruction
    if not instruction.extended or instruction.size != "A" or instruction.form != "double":
        return False
    assert instruction.destination
    return instruction.destination.mode is Mode.SYMBOLIC and len(own_words(case)) == 2


def loads_its_pointer(case: Case) -> bool:
    source, destination = case.instruction.source, case.instruction.destination
    if source is None or destination is None or source.mode is not Mode.POSTINC:
        return False
    return destination.mode is Mode.REGISTER and source.register == destination.register


def steps_single_wide(case: Case) -> bool:
    instruction = case.instruction
    if instruction.form != "single" or instruction.size != "A" or instruction.destination is None:
        return False
    return instruction.destination.mode is Mode.POSTINC


def cuts_pointer(case: Case) -> bool:
    instruction = case.instruction
    if instruction.extended or instruction.size != "W" or instruction.name not in ("RRA", "RRC"):
        return False
    pointing = (Mode.INDEXED, Mode.INDIRECT, Mode.POSTINC)
    return instruction.destination is not None and instruction.destination.mode in pointing


def reads_its_sum(case: Case) -> bool:
    """A 20-bit addition whose source is part of its destination, or found by means of it."""
    source, destination = case.instruction.source, case.instruction.destination
    if case.instruction.name not in ("ADD", "ADDA") or case.instruction.size != "A" or not source or not destination:
        return False
    if destination.mode is Mode.REGISTER and source.mode in (Mode.REGISTER, Mode.INDEXED, Mode.INDIRECT):
        return source.register == destination.register
    if source.mode not in IN_MEMORY or destination.mode not in IN_MEMORY:
        return False
    return abs(effective_address(case, source) - effective_address(case, destination)) < 4


def stores_above(case: Case) -> bool:
    instruction = case.instruction
    if instruction.size != "A" or instruction.name not in ("MOV", "PUSH", "SXT", "RRA"):
        return False
    return instruction.name == "PUSH" or in_memory(instruction.destination)


def wide_shift(name: str, *, repeated: bool) -> Callable[[Case], bool]:
    return lambda case: wide(name)(case) and case.instruction.repeats == repeated


def borrows(case: Case) -> bool:
    return case.instruction.name == "SUBC" and case.instruction.extended
