"""Faults of GDB 13.1's simulator (sim/msp430), with a minimal case each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .encode import C_FLAG, FLAGS, SP, SR, V_FLAG, Instruction, Mode, Operand
from .faults import ALL_BITS, EXAMPLE_SLOT, Fault, example, operands, own_words, word_value
from .generate import Case

_UPPER: Final = 0xF0000
_R5: Final = Operand(mode=Mode.REGISTER, register=5)
_R6: Final = Operand(mode=Mode.REGISTER, register=6)


def _named(*names: str) -> Callable[[Case], bool]:
    return lambda case: case.instruction.name in names


def _touches_status(case: Case) -> bool:
    on_status = [
        operand for operand in operands(case.instruction) if operand.mode is Mode.REGISTER and operand.register == SR
    ]
    return bool(on_status) or case.instruction.name == "RETI"


def _reads_status(case: Case) -> bool:
    source = case.instruction.source
    return source is not None and source.mode is Mode.REGISTER and source.register == SR


def _writes_behind(case: Case) -> bool:
    """A single operand that is read and written with autoincrement."""
    destination = case.instruction.destination
    return (
        case.instruction.name in ("RRC", "RRA", "SWPB", "SXT")
        and destination is not None
        and destination.mode is Mode.POSTINC
    )


def _byte_from_stack(case: Case) -> bool:
    """The stack pointer stepped over a byte."""
    instruction = case.instruction
    steps = any(operand.mode is Mode.POSTINC and operand.register == SP for operand in operands(instruction))
    return steps and instruction.size == "B"


def _far_symbolic(case: Case) -> bool:
    """A 16-bit distance of the symbolic mode that is negative."""
    if case.instruction.extended or case.instruction.form == "calla":
        return False
    return any(
        operand.mode is Mode.SYMBOLIC and word_value(operand, address) & 0x8000 for operand, address in own_words(case)
    )


def _upper_bits_of_single(case: Case) -> bool:
    instruction = case.instruction
    if instruction.form != "single" or not instruction.extended:
        return False
    return any(word_value(operand, address) > 0xFFFF for operand, address in own_words(case))


def _calla(case: Case) -> bool:
    operand = case.instruction.destination
    if case.instruction.form != "calla" or operand is None:
        return False
    return operand.mode is Mode.SYMBOLIC or (operand.mode is Mode.INDEXED and operand.value > 0x7FFF)


def _ignores_zero_carry(case: Case) -> bool:
    return case.instruction.zero_carry and case.instruction.name in ("ADDC", "SUBC", "DADD")


GDB_FAULTS: Final = (
    Fault(
        oracle="gdb",
        name="V is kept in bit 7 of SR",
        section="4.3.3",
        rule="V is bit 8 of SR; bit 7 is SCG1",
        applies=_touches_status,
        flags=V_FLAG,
        example=example(
            Instruction(
                form="double",
                name="BIS",
                source=Operand(mode=Mode.IMMEDIATE, value=V_FLAG),
                destination=Operand(mode=Mode.REGISTER, register=SR),
            )
        ),
    ),
    Fault(
        oracle="gdb",
        name="V is read from bit 7 of SR",
        section="4.3.3",
        rule="V is bit 8 of SR; bit 7 is SCG1",
        applies=_reads_status,
        result=0x180,
        example=example(
            Instruction(form="double", name="MOV", source=Operand(mode=Mode.REGISTER, register=SR), destination=_R5),
            status=V_FLAG,
        ),
    ),
    Fault(
        oracle="gdb",
        name="SUB never sets V",
        section="4.6.2.46, 4.6.3.32, 4.6.4.11",
        rule="V is set where the signed difference does not fit",
        applies=_named("SUB", "SUBA"),
        flags=V_FLAG,
        example=example(Instruction(form="double", name="SUB", source=_R5, destination=_R6), {5: 0x0001, 6: 0x8000}),
    ),
    Fault(
        oracle="gdb",
        name="SXT leaves C clear",
        section="4.6.2.49, 4.6.3.35",
        rule="C is set where the result is not zero",
        applies=_named("SXT"),
        flags=C_FLAG,
        example=example(Instruction(form="single", name="SXT", destination=_R5), {5: 0x0001}),
    ),
    Fault(
        oracle="gdb",
        name="SXT does not reach bits 19:16 of a register",
        section="4.3.5, 4.6.2.49, 4.6.3.35",
        rule="in register mode the sign goes into bits 19:8, also of the word instruction",
        applies=lambda case: (
            case.instruction.name == "SXT" and case.instruction.size == "W" and case.instruction.register_mode
        ),
        result=_UPPER,
        agreed=False,
        example=example(Instruction(form="single", name="SXT", destination=_R5), {5: 0x0080}),
    ),
    Fault(
        oracle="gdb",
        name="RRC sets V for a negative result",
        section="4.6.2.41, 4.6.3.28",
        rule="V is reset",
        applies=_named("RRC"),
        flags=V_FLAG,
        example=example(Instruction(form="single", name="RRC", destination=_R5), {5: 0x0002}, status=C_FLAG),
    ),
    Fault(
        oracle="gdb",
        name="SWPBX.A clears bits 19:16",
        section="4.6.3.34",
        rule="bits 19:16 of the operand stay as they are",
        applies=lambda case: case.instruction.name == "SWPB" and case.instruction.size == "A",
        result=_UPPER,
        example=example(
            Instruction(form="single", name="SWPB", size="A", destination=_R5, extended=True), {5: 0x71234}
        ),
    ),
    Fault(
        oracle="gdb",
        name="DADDX.A adds four digits",
        section="4.6.3.11",
        rule="five decimal digits are added, C is the carry out of the fifth",
        applies=lambda case: case.instruction.name == "DADD" and case.instruction.size == "A",
        flags=FLAGS,
        result=ALL_BITS,
        agreed=False,
        example=example(
            Instruction(form="double", name="DADD", size="A", source=_R5, destination=_R6, extended=True),
            {5: 0x10000, 6: 0x20000},
        ),
    ),
    Fault(
        oracle="gdb",
        name="zero carry is ignored by ADDCX, SUBCX, DADDX",
        section="4.5.2.1",
        rule="with ZC set an instruction uses the carry as if it were 0",
        applies=_ignores_zero_carry,
        flags=FLAGS,
        result=ALL_BITS,
        example=example(
            Instruction(
                form="double", name="ADDC", size="W", source=_R5, destination=_R6, extended=True, zero_carry=True
            ),
            {5: 1, 6: 1},
            status=C_FLAG,
        ),
    ),
    Fault(
        oracle="gdb",
        name="a repeated PUSHX walks through the registers",
        section="4.5.2.1, 4.6.3.21",
        rule="a repetition executes the same instruction again: it pushes the same register",
        applies=lambda case: case.instruction.name == "PUSH" and case.instruction.repeats,
        memory=True,
        example=example(
            Instruction(form="single", name="PUSH", destination=_R5, extended=True, repeat=2),
            {SP: EXAMPLE_SLOT + 8, 5: 0x1234, 4: 0x4321},
        ),
    ),
    Fault(
        oracle="gdb",
        name="@SP+ of a byte steps by one",
        section="4.3.2, 4.4.6",
        rule="the stack pointer is always even: POP.B moves it by two",
        applies=_byte_from_stack,
        pointer=ALL_BITS,
        example=example(
            Instruction(
                form="double",
                name="MOV",
                size="B",
                source=Operand(mode=Mode.POSTINC, register=SP),
                destination=_R5,
            ),
            {SP: EXAMPLE_SLOT},
        ),
    ),
    Fault(
        oracle="gdb",
        name="a single operand with autoincrement is written behind itself",
        section="4.4.6, 4.6.2.40",
        rule="the operand is changed where it was read, and the register stepped once",
        applies=_writes_behind,
        pointer=ALL_BITS,
        memory=True,
        example=example(
            Instruction(form="single", name="RRA", destination=Operand(mode=Mode.POSTINC, register=5)),
            {5: EXAMPLE_SLOT},
        ),
    ),
    Fault(
        oracle="gdb",
        name="the distance of the symbolic mode is not signed",
        section="4.4.3.1, 4.4.3.2",
        rule="the index is signed; below 64 K the sum is cut to 16 bits",
        applies=_far_symbolic,
        excluded=True,
        example=example(
            Instruction(
                form="double",
                name="MOV",
                source=_R5,
                destination=Operand(mode=Mode.SYMBOLIC, value=EXAMPLE_SLOT),
            ),
            {5: 0x1234},
            address=EXAMPLE_SLOT + 0x1000,
        ),
    ),
    Fault(
        oracle="gdb",
        name="upper address bits of an extended single operand are taken from bits 10:7",
        section="4.5.2.2, 4.5.2.4",
        rule="a single operand is a destination: its bits 19:16 are bits 3:0 of the extension word",
        applies=_upper_bits_of_single,
        excluded=True,
        example=example(
            Instruction(
                form="single",
                name="RRA",
                destination=Operand(mode=Mode.INDEXED, register=5, value=0xFFFFE),
                extended=True,
            ),
            {5: EXAMPLE_SLOT + 2},
        ),
    ),
    Fault(
        oracle="gdb",
        name="CALLA takes its index as unsigned and its distance from elsewhere",
        section="4.4.2, 4.4.3, 4.6.4.3",
        rule="X(Rn) has a signed index of 16 bits; the distance of the symbolic mode counts from its own word",
        applies=_calla,
        excluded=True,
        example=example(
            Instruction(
                form="calla",
                name="CALLA",
                size="A",
                destination=Operand(mode=Mode.INDEXED, register=5, value=0xFFFE),
            ),
            {SP: EXAMPLE_SLOT + 32, 5: EXAMPLE_SLOT + 2},
            data=(0x8010).to_bytes(4, "little"),
            target=0x8010,
        ),
    ),
)
