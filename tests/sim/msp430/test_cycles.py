"""Every pair of addressing modes against the tables of SLAU367, chapter "CPUX", entered here a second time as printed."""

from __future__ import annotations

import pytest

from . import words as w
from .conftest import CODE, RAM

SOURCES = {
    "Rn": w.reg(5),
    "@Rn": w.at(5),
    "@Rn+": w.inc(5),
    "#N": w.imm(0x1E00),
    "x(Rn)": w.idx(5, 4),
    "EDE": w.sym(RAM + 0x40 - (CODE + 2)),
    "&EDE": w.mem(RAM + 0x50),
}
TARGETS = {"Rm": w.reg(6), "PC": w.reg(w.PC), "x(Rm)": w.idx(7, 4), "EDE": w.sym(RAM + 0x60), "&EDE": w.mem(RAM + 0x70)}

# Table 4-10: source; to Rm, PC, x(Rm), EDE, &EDE. MOV, BIT and CMP take one less in the last three.
TABLE_4_10 = """
Rn      1 3 4 4 4
@Rn     2 4 5 5 5
@Rn+    2 4 5 5 5
#N      2 3 5 5 5
x(Rn)   3 5 6 6 6
EDE     3 5 6 6 6
&EDE    3 5 6 6 6
"""

# Table 4-18: the same for extended instructions, .B/.W and .A; footnotes take one (.A: two) from MOV, BIT and CMP to
# memory, and one from MOV, ADD and SUB to PC where the source is #N, x(Rn), EDE or &EDE.
TABLE_4_18 = """
Rn      2/2 4/4 5/7 5/7 5/7
@Rn     3/4 5/6 6/9 6/9 6/9
@Rn+    3/4 5/6 6/9 6/9 6/9
#N      3/3 4/4 6/8 6/8 6/8
x(Rn)   4/5 6/7 7/10 7/10 7/10
EDE     4/5 6/7 7/10 7/10 7/10
&EDE    4/5 6/7 7/10 7/10 7/10
"""

# Tables 4-9 and 4-17: Rn, @Rn, @Rn+, #N, X(Rn), EDE, &EDE.
SINGLE = {
    "RRA": "1 3 3 - 4 4 4",
    "RRC": "1 3 3 - 4 4 4",
    "SWPB": "1 3 3 - 4 4 4",
    "SXT": "1 3 3 - 4 4 4",
    "PUSH": "3 3 3 3 4 4 4",
    "CALL": "4 4 4 4 5 5 6",
}
EXTENDED = {
    ("RRA", "B"): "2 4 4 - 5 5 5",
    ("RRA", "A"): "2 6 6 - 7 7 7",
    ("RRC", "W"): "2 4 4 - 5 5 5",
    ("RRC", "A"): "2 6 6 - 7 7 7",
    ("SWPB", "W"): "2 4 4 - 5 5 5",
    ("SXT", "A"): "2 6 6 - 7 7 7",
    ("PUSH", "W"): "4 4 4 4 5 5 5",
    ("PUSH", "A"): "5 6 6 5 7 7 7",
}
CALLA = "5 6 6 5 5 7 7"

# Table 4-19: MOVA and BRA.
TABLE_4_19 = """
Rn      1 3 4 4 4
@Rn     3 5 - - -
@Rn+    3 5 - - -
#N      2 3 - - -
x(Rn)   4 6 - - -
EDE     4 6 - - -
&EDE    4 6 - - -
"""


def rows(table):
    for line in table.strip().splitlines():
        source, *cells = line.split()
        yield source, dict(zip(TARGETS, cells, strict=True))


def cases(name):
    for source, cells in rows(TABLE_4_10):
        for target, cell in cells.items():
            cycles = int(cell) - (name in ("MOV", "BIT", "CMP") and target not in ("Rm", "PC"))
            if not (target == "PC" and name in ("BIT", "CMP")):
                yield source, target, cycles


def extended_cases(name):
    for source, cells in rows(TABLE_4_18):
        for target, cell in cells.items():
            for width in "BWA":
                cycles = int(cell.split("/")[width == "A"])
                if target not in ("Rm", "PC") and name in ("MOV", "BIT", "CMP"):
                    cycles -= 2 if width == "A" else 1
                if target == "PC" and source in ("#N", "x(Rn)", "EDE", "&EDE") and name in ("MOV", "ADD", "SUB"):
                    cycles -= 1
                if not (target == "PC" and name in ("BIT", "CMP")):
                    yield source, target, width, cycles


def prepare(bench):
    """Operands that are in RAM and even, whatever the mode."""
    bench[5], bench[6], bench[7] = RAM + 0x20, 0x2222, RAM + 0x30
    for offset in range(0, 0x100, 4):
        bench.put(RAM + offset, 0x1E00, 0)


def symbol(bytes_before):
    """A symbolic source counts from its own word."""
    return w.sym(RAM + 0x40 - (CODE + bytes_before) & 0xFFFFF)


def target_of(target, bytes_before):
    """And so does a symbolic destination."""
    return w.sym(RAM + 0x60 - (CODE + bytes_before) & 0xFFFFF) if target == "EDE" else TARGETS[target]


LENGTH = {"x(Rn)": 2, "EDE": 2, "&EDE": 2, "#N": 2}
"""Bytes beyond the first word that a source takes."""


def measure(bench, program, what, cycles, stays=True):
    """Cycles as in the table; length as assembled."""
    prepare(bench)
    assert bench.run(program) == cycles, what
    if stays:
        assert bench[0] == CODE + 2 * len(program), what


@pytest.mark.parametrize("name", w.DOUBLE)
def test_double_operands(bench, name):
    for source, target, cycles in cases(name):
        into = target_of(target, 2 + LENGTH.get(source, 0))
        program = w.double(name, SOURCES[source], into)
        measure(bench, program, f"{source} to {target}", cycles, target != "PC")


@pytest.mark.parametrize("name", w.DOUBLE)
def test_extended_double_operands(bench, name):
    for source, target, width, cycles in extended_cases(name):
        operand = symbol(4) if source == "EDE" else SOURCES[source]
        program = w.extended_double(name, operand, target_of(target, 4 + LENGTH.get(source, 0)), width)
        measure(bench, program, f".{width} {source} to {target}", cycles, target != "PC")


@pytest.mark.parametrize("name", SINGLE)
def test_single_operands(bench, name):
    for source, cell in zip(SOURCES, SINGLE[name].split(), strict=True):
        if cell != "-":
            measure(bench, w.single(name, SOURCES[source]), source, int(cell), name != "CALL")


@pytest.mark.parametrize(("name", "width"), EXTENDED)
def test_extended_single_operands(bench, name, width):
    for source, cell in zip(SOURCES, EXTENDED[name, width].split(), strict=True):
        if cell != "-":
            operand = symbol(4) if source == "EDE" else SOURCES[source]
            measure(bench, w.extended_single(name, operand, width), source, int(cell))


def test_calla(bench):
    for source, cell in zip(SOURCES, CALLA.split(), strict=True):
        operand = symbol(2) if source == "EDE" else SOURCES[source]
        measure(bench, w.calla(operand), source, int(cell), False)
        assert bench[0] == (RAM + 0x20 if source == "Rn" else 0x1E00)


def test_a_stack_relative_operand_costs_one_more(bench):
    """The footnote of table 4-17."""
    bench.put(0x3B04, 0x1E00, 0)
    bench[1] = 0x3B00
    assert bench.run(w.calla(w.idx(w.SP, 4))) == 6
    bench[1] = 0x3B00
    assert bench.run(w.extended_single("PUSH", w.idx(w.SP, 4), "W")) == 6
    bench[1] = 0x3B00
    assert bench.run(w.extended_single("PUSH", w.idx(w.SP, 4), "A")) == 8


def test_mova(bench):
    for source, cells in rows(TABLE_4_19):
        for target, cell in cells.items():
            if cell != "-":
                into = w.idx(w.PC, RAM + 0x60 - (CODE + 2)) if target == "EDE" else TARGETS[target]
                operand = symbol(2) if source == "EDE" else SOURCES[source]
                measure(bench, w.mova(operand, into), f"{source} to {target}", int(cell), target != "PC")


@pytest.mark.parametrize("name", ["CMPA", "ADDA", "SUBA"])
def test_address_arithmetic(bench, name):
    prepare(bench)
    assert bench.run(w.address(name, w.reg(5), 6)) == 1
    assert bench.run(w.address(name, w.imm(0x12344), 6)) == 3
    if name != "CMPA":
        assert bench.run(w.address(name, w.reg(5), w.PC)) == 3
        assert bench.run(w.address(name, w.imm(0x12344), w.PC)) == 3


@pytest.mark.parametrize("width", ["W", "A"])
def test_many_registers(bench, width):
    """Table 4-17: PUSHM and POPM take 2 + n cycles, 2 + 2n with .A; the rotations n."""
    for count in range(1, 13):
        each = 2 if width == "A" else 1
        assert bench.run(w.pushm(count, 15, width)) == 2 + each * count
        assert bench.run(w.popm(count, 15, width)) == 2 + each * count
        assert bench[1] == 0x3C00
    for name in ("RRCM", "RRAM", "RLAM", "RRUM"):
        for count in range(1, 5):
            assert bench.run(w.rotate(name, count, 9, width)) == count


def test_repetitions_take_one_cycle_each_and_one_more(bench):
    """Table 4-18, footnote 1, and 1 + n of table 4-17."""
    for count in range(1, 17):
        assert bench.run(w.extended_double("ADD", w.reg(5), w.reg(6), repeat=count - 1)) == count + 1
        assert bench.run(w.extended_single("RRC", w.reg(6), repeat=count - 1)) == count + 1
        bench[8] = 0xFFF0 | count - 1
        assert bench.run(w.extended_double("ADD", w.reg(5), w.reg(6), repeat=w.reg(8))) == count + 1


@pytest.mark.parametrize("name", w.JUMPS)
def test_jumps_take_two_cycles_either_way(bench, name):
    for flags in (0, 1, 2, 4, 0x100, 0x104):
        bench[2] = flags
        assert bench.run(w.jump(name, 3)) == 2


def test_returns(bench):
    """Table 4-8."""
    bench[1] = 0x3B00
    bench.put(0x3B00, 0x1E00, 0, 0, 0)
    assert bench.run(w.RET) == 4
    bench[1] = 0x3B00
    assert bench.run(w.RETI) == 5
    bench[1] = 0x3B00
    assert bench.run(w.mova(w.inc(w.SP), w.reg(w.PC))) == 5, "RETA"


@pytest.mark.parametrize("value", w.CONSTANTS)
def test_generated_constants_cost_what_registers_cost(bench, value):
    assert bench.run(w.double("MOV", w.gen(value), w.reg(6))) == 1
    assert bench[6] == value & 0xFFFF
    assert bench.run(w.double("MOV", w.gen(value), w.mem(RAM))) == 3
    assert bench.run(w.single("PUSH", w.gen(value))) == 3
