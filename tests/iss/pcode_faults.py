"""Faults of pypcode 3.3.3's TI_MSP430X description (Ghidra's), with a minimal case each.

Most are in 20-bit operations: their results are cut to 20 bits and then extended from bit 23, so that no sign is ever
seen, and what is stored or read as 20 bits in memory is 32 bits wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .encode import C_FLAG, FLAGS, IN_MEMORY, N_FLAG, SP, V_FLAG, Z_FLAG, Instruction, Mode, Operand
from .faults import ALL_BITS, EXAMPLE_SLOT, Fault, example
from .generate import Case
from .pcode_conditions import (
    borrows,
    cuts_pointer,
    loads_its_pointer,
    reads_its_sum,
    second_distance,
    short_address,
    steps_single_wide,
    stores_above,
    unsigned_distance,
    wide,
    wide_shift,
    wraps,
)

_UPPER: Final = 0xF0000
_STORED_ABOVE: Final = 0xFFF00000
_TOP: Final = 0x80000
_R5: Final = Operand(mode=Mode.REGISTER, register=5)
_R6: Final = Operand(mode=Mode.REGISTER, register=6)
_TWO: Final = Operand(mode=Mode.CONSTANT, value=2)
_AT_R5: Final = Operand(mode=Mode.INDIRECT, register=5)
_AT_R5_STEP: Final = Operand(mode=Mode.POSTINC, register=5)


def _double(name: str, **fields: object) -> Instruction:
    return Instruction(form="double", name=name, source=_R5, destination=_R6, **fields)  # type: ignore[arg-type]


def _fault(
    name: str,
    section: str,
    rule: str,
    applies: Callable[[Case], bool],
    case: Case,
    *,
    flags: int = 0,
    result: int = 0,
    pointer: int = 0,
    excluded: bool = False,
    agreed: bool = True,
) -> Fault:
    return Fault(
        oracle="pcode",
        name=name,
        section=section,
        rule=rule,
        applies=applies,
        example=case,
        flags=flags,
        result=result,
        pointer=pointer,
        excluded=excluded,
        agreed=agreed,
    )


_ADDRESSES: Final = (
    _fault(
        "X(Rn) below 64 K is not cut to 16 bits",
        "4.4.2.1",
        "with Rn below 64 K the sum is cut to 16 bits",
        wraps,
        example(
            Instruction(
                form="double",
                name="MOV",
                source=Operand(mode=Mode.INDEXED, register=5, value=0x8000),
                destination=_R6,
            ),
            {5: EXAMPLE_SLOT - 0x8000},
        ),
        excluded=True,
    ),
    _fault(
        "the distance of a symbolic source is not signed",
        "4.4.3.1, 4.4.3.2",
        "the index is signed; below 64 K the sum is cut to 16 bits",
        unsigned_distance,
        example(
            Instruction(
                form="double",
                name="MOV",
                source=Operand(mode=Mode.SYMBOLIC, value=EXAMPLE_SLOT),
                destination=_R5,
            ),
            address=EXAMPLE_SLOT + 0x1000,
        ),
        excluded=True,
        agreed=False,
    ),
    _fault(
        "byte and word instructions do not use the address bits of the extension word",
        "4.5.2.2",
        "addresses and indices behind an extension word have 20 bits",
        short_address,
        example(
            Instruction(
                form="double",
                name="MOV",
                source=_R5,
                destination=Operand(mode=Mode.INDEXED, register=6, value=0x10000),
                extended=True,
            ),
            {5: 0x1234, 6: EXAMPLE_SLOT - 0x10000 & ALL_BITS},
        ),
        excluded=True,
    ),
    _fault(
        "the distance of a 20-bit symbolic destination counts from the source's word",
        "4.4.3.3",
        "the index is relative to the word that holds it",
        second_distance,
        example(
            Instruction(
                form="double",
                name="MOV",
                size="A",
                source=Operand(mode=Mode.IMMEDIATE, value=0x12345),
                destination=Operand(mode=Mode.SYMBOLIC, value=EXAMPLE_SLOT + 4),
                extended=True,
            )
        ),
        excluded=True,
    ),
    _fault(
        "CALL X(SP) moves SP first",
        "4.6.2.9",
        "the operand is evaluated before SP changes",
        lambda case: (
            case.instruction.name == "CALL"
            and case.instruction.destination is not None
            and case.instruction.destination.mode is Mode.INDEXED
            and case.instruction.destination.register == SP
        ),
        example(
            Instruction(form="single", name="CALL", destination=Operand(mode=Mode.INDEXED, register=SP, value=2)),
            {SP: EXAMPLE_SLOT + 8},
            data=bytes(10) + (0x8010).to_bytes(2, "little"),
            target=0x8010,
        ),
        excluded=True,
    ),
    _fault(
        "CALLA EDE counts its distance from the instruction, in 16 bits",
        "4.4.3, 4.6.4.3",
        "the index has 20 bits and is relative to the word that holds it",
        lambda case: (
            case.instruction.form == "calla"
            and case.instruction.destination is not None
            and case.instruction.destination.mode is Mode.SYMBOLIC
        ),
        example(
            Instruction(
                form="calla",
                name="CALLA",
                size="A",
                destination=Operand(mode=Mode.SYMBOLIC, value=EXAMPLE_SLOT),
            ),
            {SP: EXAMPLE_SLOT + 32},
            data=(0x8010).to_bytes(4, "little"),
            target=0x8010,
        ),
        excluded=True,
        agreed=False,
    ),
    _fault(
        "DADDX has no meaning",
        "4.6.3.11",
        "adds decimal digits with carry",
        lambda case: case.instruction.name == "DADD" and case.instruction.extended,
        example(_double("DADD", extended=True), {5: 0x0019, 6: 0x0001}),
        excluded=True,
    ),
)

_REGISTERS: Final = (
    _fault(
        "@Rn+ into Rn steps the loaded value",
        "4.3.2, 4.4.6",
        "the register is stepped when the operand is fetched; what is then loaded stays (POP SP places the item in SP)",
        loads_its_pointer,
        example(Instruction(form="double", name="MOV", source=_AT_R5_STEP, destination=_R5), {5: EXAMPLE_SLOT}),
        result=ALL_BITS,
    ),
    _fault(
        "a single 20-bit operand steps its register by one or two",
        "4.4.6",
        "@Rn+ of an address word adds four",
        steps_single_wide,
        example(
            Instruction(form="single", name="SWPB", size="A", destination=_AT_R5_STEP, extended=True),
            {5: EXAMPLE_SLOT},
        ),
        pointer=ALL_BITS,
        agreed=False,
    ),
    _fault(
        "RRA and RRC cut the register of an indirect operand to 16 bits",
        "4.4.5",
        "the register is not modified",
        cuts_pointer,
        example(
            Instruction(form="single", name="RRA", destination=_AT_R5),
            {5: EXAMPLE_SLOT + 0x10000},
            slot=EXAMPLE_SLOT + 0x10000,
        ),
        pointer=_UPPER,
    ),
    _fault(
        "SWPB leaves bits 19:16 of a register",
        "4.3.5, 4.6.2.48",
        "a word write to a register clears bits 19:16",
        lambda case: (
            case.instruction.name == "SWPB" and not case.instruction.extended and case.instruction.register_mode
        ),
        example(Instruction(form="single", name="SWPB", destination=_R5), {5: 0x71234}),
        result=_UPPER,
    ),
    _fault(
        "SXT does not reach bits 19:16 of a register",
        "4.3.5, 4.6.2.49, 4.6.3.35",
        "in register mode the sign goes into bits 19:8, also of the word instruction",
        lambda case: case.instruction.name == "SXT" and case.instruction.size == "W" and case.instruction.register_mode,
        example(Instruction(form="single", name="SXT", destination=_R5), {5: 0x0080}),
        result=_UPPER,
        agreed=False,
    ),
)

_STATUS: Final = (
    _fault(
        "20-bit sums have no sign",
        "4.6.3.2, 4.6.3.3, 4.6.4.1",
        "N is bit 19 of the result, V tells that the signed sum does not fit",
        wide("ADD", "ADDC", "ADDA"),
        example(
            Instruction(form="address", name="ADDA", size="A", source=_R5, destination=_R6), {5: 0x40000, 6: 0x40000}
        ),
        flags=N_FLAG | V_FLAG,
    ),
    _fault(
        "a 20-bit sum reads its source again when it is written",
        "4.6.3.2, 4.6.4.1",
        "C is the carry out of bit 19",
        reads_its_sum,
        example(Instruction(form="address", name="ADDA", size="A", source=_R5, destination=_R5), {5: 0x90000}),
        flags=C_FLAG,
    ),
    _fault(
        "ADDCX looks for overflow of source and carry, then again of the sum",
        "4.6.3.3",
        "V tells that the signed sum of all three does not fit",
        lambda case: case.instruction.name == "ADDC" and case.instruction.extended and case.instruction.size != "A",
        example(_double("ADDC", extended=True), {5: 0x7FFF, 6: 0x8000}, status=C_FLAG),
        flags=V_FLAG,
    ),
    _fault(
        "ADDCX.A loses the carry of source and carry",
        "4.6.3.3",
        "C is the carry out of bit 19",
        wide("ADDC"),
        example(_double("ADDC", size="A", extended=True), {5: 0xFFFFF, 6: 0x00001}, status=C_FLAG),
        flags=C_FLAG,
        result=ALL_BITS,
    ),
    _fault(
        "20-bit differences have an inverted carry and no sign",
        "4.6.3.9, 4.6.3.32, 4.6.3.33, 4.6.4.5, 4.6.4.11",
        "C is the inverse of the borrow, N is bit 19, V tells that the signed difference does not fit",
        wide("SUB", "CMP", "SUBC", "SUBA", "CMPA"),
        example(
            Instruction(form="address", name="CMPA", size="A", source=_R5, destination=_R6), {5: 0x00001, 6: 0x00002}
        ),
        flags=C_FLAG | N_FLAG | V_FLAG,
    ),
    _fault(
        "ADDX.A #2 to memory takes its carry from the addition of 1",
        "4.6.3.2, 4.6.3.15",
        "C is the carry out of bit 19",
        lambda case: (
            wide("ADD")(case)
            and case.instruction.source == _TWO
            and case.instruction.destination is not None
            and case.instruction.destination.mode in IN_MEMORY
        ),
        example(
            Instruction(
                form="double",
                name="ADD",
                size="A",
                source=_TWO,
                destination=Operand(mode=Mode.INDEXED, register=5, value=0),
                extended=True,
            ),
            {5: EXAMPLE_SLOT},
            data=b"\xfe\xff\x0f\x00",
        ),
        flags=C_FLAG,
    ),
    _fault(
        "SUBX #2 takes its carry from the comparison with 1",
        "4.6.3.32",
        "C is the inverse of the borrow",
        lambda case: case.instruction.name == "SUB" and case.instruction.extended and case.instruction.source == _TWO,
        example(
            Instruction(
                form="double",
                name="SUB",
                source=_TWO,
                destination=_R6,
                extended=True,
            ),
            {6: 0x0001},
        ),
        flags=C_FLAG,
    ),
    _fault(
        "SUBCX forgets the carry of source and borrow",
        "4.6.3.33",
        "C is clear when source and borrow together exceed the destination",
        borrows,
        example(_double("SUBC", extended=True), {5: 0xFFFF, 6: 0x1234}),
        flags=C_FLAG | V_FLAG,
    ),
    _fault(
        "a repeated SUBCX goes on with that carry",
        "4.5.2.1, 4.6.3.33",
        "each repetition uses the carry of the one before",
        lambda case: borrows(case) and case.instruction.repeats,
        example(_double("SUBC", extended=True, repeat=2), {5: 0xFFFF, 6: 0x1234}),
        flags=FLAGS,
        result=ALL_BITS,
    ),
    _fault(
        "20-bit logic has no sign",
        "4.6.3.4, 4.6.3.7, 4.6.3.37",
        "N is bit 19 of the result; after XORX V tells that both operands were negative",
        wide("AND", "BIT", "XOR"),
        example(_double("XOR", size="A", extended=True), {5: 0x80000, 6: 0x00001}),
        flags=N_FLAG | V_FLAG,
    ),
    _fault(
        "RRCX computes V",
        "4.6.3.28, 4.6.3.30",
        "V is reset",
        lambda case: case.instruction.name == "RRC" and case.instruction.extended,
        example(Instruction(form="single", name="RRC", destination=_R5, extended=True), {5: 0x0002}, status=C_FLAG),
        flags=V_FLAG,
        agreed=False,
    ),
    _fault(
        "RRAM.W and RLAM.W look for the sign in bit 19",
        "4.6.3.22, 4.6.3.25",
        "N is bit 15 of the result",
        lambda case: case.instruction.size == "W" and case.instruction.name in ("RRAM", "RLAM"),
        example(Instruction(form="shift", name="RRAM", destination=_R5), {5: 0x8000}),
        flags=N_FLAG,
    ),
)

_SHIFTS: Final = (
    _fault(
        "RRAX.A shifts zeros in",
        "4.6.3.26",
        "the sign, bit 19, is kept and shifted",
        wide_shift("RRA", repeated=False),
        example(Instruction(form="single", name="RRA", size="A", destination=_R5, extended=True), {5: _TOP}),
        flags=N_FLAG,
        result=_TOP,
    ),
    _fault(
        "a repeated RRAX.A shifts zeros in",
        "4.5.2.1, 4.6.3.26",
        "the sign, bit 19, is kept and shifted",
        wide_shift("RRA", repeated=True),
        example(Instruction(form="single", name="RRA", size="A", destination=_R5, extended=True, repeat=3), {5: _TOP}),
        flags=N_FLAG | Z_FLAG,
        result=ALL_BITS,
    ),
    _fault(
        "RRAM.A shifts zeros in",
        "4.6.3.25",
        "the sign, bit 19, is kept and shifted",
        wide("RRAM"),
        example(Instruction(form="shift", name="RRAM", size="A", destination=_R5, count=4), {5: _TOP}),
        flags=N_FLAG,
        result=_UPPER,
    ),
    _fault(
        "RRCX.A loses bit 16 and the sign",
        "4.6.3.28",
        "bit 17 becomes bit 16; N is bit 19",
        wide_shift("RRC", repeated=False),
        example(Instruction(form="single", name="RRC", size="A", destination=_R5, extended=True), {5: 0x20000}),
        flags=N_FLAG | Z_FLAG,
        result=0x10000,
    ),
    _fault(
        "a repeated RRCX.A loses bit 16 each time",
        "4.5.2.1, 4.6.3.28",
        "bit 17 becomes bit 16; N is bit 19",
        wide_shift("RRC", repeated=True),
        example(
            Instruction(form="single", name="RRC", size="A", destination=_R5, extended=True, repeat=3), {5: 0xF0000}
        ),
        flags=FLAGS,
        result=ALL_BITS,
    ),
    _fault(
        "20-bit operands are moved with 32 bits",
        "4.3.5, 4.4",
        "bits 31:20 of an address word in memory are ignored when read, and written as 0",
        stores_above,
        example(
            Instruction(form="single", name="SXT", size="A", destination=_AT_R5, extended=True),
            {5: EXAMPLE_SLOT},
            data=b"\x80\0\0\0",
        ),
        result=_STORED_ABOVE,
    ),
)

PCODE_FAULTS: Final = (*_ADDRESSES, *_REGISTERS, *_STATUS, *_SHIFTS)
