"""What the user's guide says of single instructions where implementations tend to differ (SLAU367, chapter "CPUX")."""

from __future__ import annotations

import pytest

from . import words as w
from .conftest import CODE, RAM

C, Z, N, V = 1, 2, 4, 0x100


@pytest.mark.parametrize(
    ("name", "width", "source", "target", "carry", "result", "flags"),
    [
        ("ADD", "W", 0x7FFF, 1, 0, 0x8000, "NV"),
        ("ADD", "W", 0xFFFF, 1, 0, 0, "CZ"),
        ("ADD", "B", 0x7F, 0xAA01, 0, 0x80, "NV"),
        ("ADD", "A", 0x7FFFF, 1, 0, 0x80000, "NV"),
        ("ADD", "A", 0x80000, 0x80000, 0, 0, "CZV"),
        ("ADDC", "W", 0xFFFF, 0, 1, 0, "CZ"),
        ("SUB", "W", 1, 0, 0, 0xFFFF, "N"),
        ("SUB", "W", 1, 0x8000, 0, 0x7FFF, "CV"),
        ("SUB", "B", 0x80, 0x7F, 0, 0xFF, "NV"),
        ("SUBC", "W", 0, 0, 0, 0xFFFF, "N"),
        ("SUBC", "W", 0, 0, 1, 0, "CZ"),
        ("SUB", "A", 1, 0x80000, 0, 0x7FFFF, "CV"),
        ("DADD", "W", 0x1999, 0x8001, 0, 0x0000, "CZ"),
        ("DADD", "W", 0x1234, 0x0766, 1, 0x2001, ""),
        ("DADD", "B", 0x45, 0x1155, 0, 0x00, "CZ"),
        ("DADD", "A", 0x89999, 0x10000, 1, 0x00000, "CZ"),
        ("DADD", "W", 0x7000, 0x1000, 0, 0x8000, "N"),
        ("AND", "W", 0xF0F0, 0x0FF0, 1, 0x00F0, "C"),
        ("AND", "W", 0xF000, 0x0FF0, 1, 0, "Z"),
        ("XOR", "W", 0x8001, 0x8000, 0, 1, "CV"),
        ("XOR", "B", 0x81, 0x7F01, 0, 0x80, "CN"),
        ("XOR", "A", 0x80000, 0x80000, 0, 0, "ZV"),
    ],
)
def test_status_bits(bench, name, width, source, target, carry, result, flags):
    bench[5], bench[6], bench[2] = source, target, carry
    make = w.double if width != "A" else w.extended_double
    bench.run(make(name, w.reg(5), w.reg(6), width))
    assert bench[6] == result
    assert set(bench.flags) == set(flags)


@pytest.mark.parametrize("name", ["MOV", "BIC", "BIS"])
def test_moves_and_bits_leave_the_status_alone(bench, name):
    bench[2] = C | Z | N | V
    bench.run(w.double(name, w.imm(0x55), w.reg(6)))
    assert set(bench.flags) == set("CZNV")


def test_writes_to_registers_clear_what_is_above(bench):
    bench[5] = 0xABCDE
    for width, expected in (("B", 0xDE), ("W", 0xBCDE), ("A", 0xABCDE)):
        bench[6] = 0xFFFFF
        bench.run((w.extended_double if width == "A" else w.double)("MOV", w.reg(5), w.reg(6), width))
        assert bench[6] == expected
    bench[6] = 0xFFFFF
    bench.run(w.double("CMP", w.reg(5), w.reg(6)))
    assert bench[6] == 0xFFFFF, "nothing is written"


def test_indexed_mode_wraps_within_the_lower_64_k(bench):
    bench.put(0x1E00, 0x1234)
    bench[5] = 0xFE00
    bench.run(w.double("MOV", w.idx(5, 0x2000), w.reg(6)))
    assert bench[6] == 0x1234
    bench.put(0x1FE00, 0x5678)
    bench[5] = 0x1FF00
    bench.run(w.double("MOV", w.idx(5, -0x100), w.reg(6)))
    assert bench[6] == 0x5678, "from above 64 K the index is signed and reaches all addresses"
    bench.put(0x0FF00, 0x9ABC)
    bench[5] = 0x10100
    bench.run(w.double("MOV", w.idx(5, -0x200), w.reg(6)))
    assert bench[6] == 0x9ABC
    bench.put(0x11E00, 0xDEF0)
    bench[5] = 0xFE00
    bench.run(w.extended_double("MOV", w.idx(5, 0x2000), w.reg(6)))
    assert bench[6] == 0xDEF0, "extended: 20 bits"
    bench[5] = 0x00100
    bench.run(w.extended_double("MOV", w.idx(5, 0x11D00), w.reg(6)))
    assert bench[6] == 0xDEF0


def test_symbolic_mode(bench):
    bench.put(RAM, 0x4321)
    bench.run(w.double("MOV", w.sym(RAM - (CODE + 2)), w.reg(6)))
    assert bench[6] == 0x4321
    bench.put(0x20100, 0x8765)
    bench.run(w.double("MOV", w.sym(0x100 - 2), w.reg(6)), at=0x20000)
    assert bench[6] == 0x8765
    bench.run(w.extended_double("MOV", w.sym(0x20100 - (CODE + 4) & 0xFFFFF), w.reg(6)))
    assert bench[6] == 0x8765


def test_absolute_mode(bench):
    bench.put(0x30000, 0x1111)
    bench.run(w.extended_double("MOV", w.mem(0x30000), w.reg(6)))
    assert bench[6] == 0x1111
    bench.run(w.extended_double("MOV", w.imm(0xFEDCB), w.mem(0x30002), "A"))
    assert bench.long(0x30002) == 0xFEDCB


def test_indirect_modes_use_20_bits(bench):
    bench.put(0x20000, 0x2222, 0x3333)
    bench[5] = 0x20000
    bench.run(w.double("MOV", w.inc(5), w.reg(6)), w.double("MOV.B"[:3], w.inc(5), w.reg(7), "B"))
    assert (bench[5], bench[6], bench[7]) == (0x20003, 0x2222, 0x33)
    bench[5] = 0x20000
    bench.run(w.extended_double("MOV", w.inc(5), w.reg(6), "A"))
    assert (bench[5], bench[6]) == (0x20004, 0x32222)


def test_the_stack_pointer_stays_even(bench):
    bench[1] = 0x3B00
    bench.run(w.single("PUSH", w.imm(0x12FF), "B"))
    assert bench[1] == 0x3AFE
    bench.run(w.double("MOV", w.inc(w.SP), w.reg(6), "B"))
    assert (bench[1], bench[6]) == (0x3B00, 0xFF)
    bench.run(w.double("MOV", w.imm(0x3A01), w.reg(w.SP)))
    assert bench[1] == 0x3A00


def test_push_b_leaves_the_upper_byte(bench):
    bench[1] = 0x3B00
    bench.put(0x3AFE, 0xAAAA)
    bench.run(w.single("PUSH", w.imm(0x12), "B"))
    assert bench.word(0x3AFE) == 0xAA12


def test_push_sp_and_pop_sp(bench):
    """Figure "PUSH SP, POP SP sequence"."""
    bench[1] = 0x3B00
    bench.run(w.single("PUSH", w.reg(w.SP)))
    assert bench[1] == 0x3AFE
    assert bench.word(0x3AFE) == 0x3AFE
    bench.put(0x3AFE, 0x3A80)
    bench.run(w.double("MOV", w.inc(w.SP), w.reg(w.SP)))
    assert bench[1] == 0x3A80


def test_push_relative_to_sp_takes_sp_as_it_was(bench):
    bench[1] = 0x3B00
    bench.put(0x3B02, 0x1234)
    bench.run(w.single("PUSH", w.idx(w.SP, 2)))
    assert bench.word(0x3AFE) == 0x1234


def test_autoincrement_comes_before_the_destination(bench):
    bench.put(RAM, 0x1111, 0x2222, 0x3333)
    bench[5] = RAM
    bench.run(w.double("MOV", w.inc(5), w.idx(5, 2)))
    assert bench.word(RAM + 4) == 0x1111
    bench[5] = RAM
    bench.run(w.double("ADD", w.inc(5), w.reg(5)))
    assert bench[5] == RAM + 2 + 0x1111


def test_pc_as_an_operand(bench):
    bench.run(w.double("MOV", w.reg(w.PC), w.reg(6)))
    assert bench[6] == CODE + 2
    bench.run(w.double("ADD", w.imm(6), w.reg(w.PC)))
    assert bench[0] == CODE + 4 + 6
    bench.run(w.double("MOV", w.at(w.PC), w.reg(6)), w.double("MOV", w.imm(0x7777), w.reg(7)))
    assert (bench[6], bench[7]) == (w.double("MOV", w.imm(0), w.reg(7))[0], 0x7777)


def test_sxt(bench):
    """Into all 20 bits of a register, into 16 of memory; C is the inverse of Z."""
    bench[5] = 0x12380
    bench.run(w.single("SXT", w.reg(5)))
    assert (bench[5], set(bench.flags)) == (0xFFF80, set("CN"))
    bench[5], bench[2] = 0xFFF00, V
    bench.run(w.single("SXT", w.reg(5)))
    assert (bench[5], set(bench.flags)) == (0, set("Z"))
    bench.put(RAM, 0x0080, 0x5555)
    bench.run(w.single("SXT", w.mem(RAM)))
    assert (bench.word(RAM), bench.word(RAM + 2)) == (0xFF80, 0x5555)
    bench.put(RAM, 0x0080, 0x5555)
    bench.run(w.extended_single("SXT", w.mem(RAM), "A"))
    assert bench.long(RAM) == 0xFFF80


def test_swpb(bench):
    bench[5], bench[2] = 0xF1234, C | Z | N | V
    bench.run(w.single("SWPB", w.reg(5)))
    assert (bench[5], set(bench.flags)) == (0x3412, set("CZNV"))
    bench[5] = 0xF1234
    bench.run(w.extended_single("SWPB", w.reg(5), "A"))
    assert bench[5] == 0xF3412


def test_rotations(bench):
    bench[5], bench[2] = 0xF8001, 0
    bench.run(w.single("RRA", w.reg(5)))
    assert (bench[5], set(bench.flags)) == (0xC000, set("CN"))
    bench.run(w.single("RRC", w.reg(5), "B"))
    assert (bench[5], set(bench.flags)) == (0x80, set("N"))
    bench[5], bench[2] = 0x00001, C
    bench.run(w.extended_single("RRC", w.reg(5), "A", zc=1))
    assert (bench[5], set(bench.flags)) == (0, set("CZ")), "RRUX"
    bench[5], bench[2] = 0x80000, C
    bench.run(w.extended_single("RRC", w.reg(5), "A", repeat=3))
    assert (bench[5], set(bench.flags)) == (0x18000, set("")), "the carry goes around"
    bench[5], bench[2] = 0xFFFFF, C
    bench.run(w.extended_single("RRC", w.reg(5), "W", repeat=3, zc=1))
    assert (bench[5], set(bench.flags)) == (0x0FFF, set("C"))


@pytest.mark.parametrize(
    ("name", "width", "count", "value", "carry", "result", "flags"),
    [
        ("RRCM", "A", 3, 0x00005, 1, 0xA0000 >> 1 | 0x20000, "CN"),
        ("RRAM", "W", 2, 0xF8002, 0, 0xE000, "CN"),
        ("RLAM", "A", 4, 0x18001, 0, 0x80010, "CN"),
        ("RLAM", "W", 1, 0x0C000, 0, 0x8000, "CN"),
        ("RRUM", "A", 4, 0xFFFFF, 1, 0x0FFFF, "C"),
        ("RRUM", "W", 1, 0xF0001, 1, 0, "CZ"),
    ],
)
def test_rotations_by_several_places(bench, name, width, count, value, carry, result, flags):
    bench[9], bench[2] = value, carry
    bench.run(w.rotate(name, count, 9, width))
    if name == "RRCM":  # bits go 1 0 1 into C, C of before into the top
        result = 0x00005 >> 3 | 1 << 17 | (0x5 & 1) << 18 | (0x5 >> 1 & 1) << 19
        flags = "C"
    assert (bench[9], set(bench.flags)) == (result, set(flags))


def test_pushm_and_popm(bench):
    for n in range(4, 16):
        bench[n] = n << 16 | n
    bench[1] = 0x3B00
    bench.run(w.pushm(3, 10, "A"))
    assert bench[1] == 0x3B00 - 12
    assert [bench.long(0x3B00 - 4 * k) for k in (1, 2, 3)] == [0xA000A, 0x90009, 0x80008]
    bench.run(w.popm(3, 7, "A"))
    assert (bench[5], bench[6], bench[7], bench[1]) == (0x80008, 0x90009, 0xA000A, 0x3B00)
    bench.run(w.pushm(2, 15, "W"), w.popm(2, 6, "W"))
    assert (bench[5], bench[6]) == (14, 15)


def test_calls_above_64_k(bench):
    bench[1] = 0x3B00
    bench.run(w.calla(w.imm(0x23456)), at=0x30000)
    assert (bench[0], bench[1]) == (0x23456, 0x3AFC)
    assert bench.long(0x3AFC) == 0x30004
    bench.run(w.mova(w.inc(w.SP), w.reg(w.PC)))
    assert (bench[0], bench[1]) == (0x30004, 0x3B00)


def test_mova_loads_and_stores_20_bits(bench):
    bench.put(RAM, 0x5678, 0xFFF1)
    bench[5] = RAM
    bench.run(w.mova(w.inc(5), w.reg(6)))
    assert (bench[5], bench[6]) == (RAM + 4, 0x15678)
    bench[7], bench[2] = 0xABCDE, C | V
    bench.run(w.mova(w.reg(7), w.idx(5, -2)))
    assert bench.long(RAM + 2) == 0xABCDE
    assert set(bench.flags) == set("CV")


def test_reti_restores_20_bits_of_pc(bench):
    bench[1] = 0x3B00
    bench.put(0x3B00, 0x2105, 0x4568)
    bench.run(w.RETI)
    assert (bench[0], bench[1], bench[2]) == (0x24568, 0x3B04, 0x105)


def test_r3_takes_nothing(bench):
    bench.run(w.double("MOV", w.imm(0x1234), w.reg(3)), w.double("ADD", w.reg(3), w.reg(3)))
    assert bench[3] == 0


def test_repeated_instructions_see_what_the_last_one_left(bench):
    bench[5], bench[6], bench[2] = 3, 10, 0
    bench.run(w.extended_double("ADD", w.reg(5), w.reg(6), repeat=4))
    assert bench[6] == 25
    bench[6] = 1
    bench.run(w.extended_double("ADD", w.reg(6), w.reg(6), "A", repeat=18 % 16))
    assert bench[6] == 8
    bench[6] = 0
    bench[7], bench[2] = 0xFFFF, C
    bench.run(w.extended_double("ADDC", w.reg(7), w.reg(6), repeat=1, zc=1))
    assert bench[6] == 0xFFFE, "ZC: no carry goes in, also not between"
