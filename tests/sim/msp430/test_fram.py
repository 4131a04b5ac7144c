"""FRAM: wait states, the cache in front of it, and the count of its writes (SLAU367, chapter "FRAM controller A")."""

from __future__ import annotations

import pytest

from freeml.sim.machine import MachineFaultError

from . import words as w
from .conftest import RAM

DATA = 0x8000


def waits(bench, number):
    bench.run(w.double("MOV", w.imm(0xA500 | number << 4), w.mem(0x140)))
    assert bench.machine.wait_states == number


def cost(bench, *program):
    """Cycles, cache misses and writes of a program in SRAM, which needs no cache itself."""
    before = bench.machine.counts()
    bench.run(*program, at=RAM)
    used = bench.machine.counts() - before
    return used.cycles, used.nv_reads, used.nv_writes


def read(address, width="W"):
    return w.double("MOV", w.mem(address), w.reg(6), width)


@pytest.mark.parametrize("number", range(8))
def test_a_miss_waits_and_a_hit_does_not(bench, number):
    waits(bench, number)
    assert cost(bench, read(DATA)) == (3 + number, 1, 0)
    assert cost(bench, read(DATA)) == (3, 0, 0)
    assert cost(bench, read(DATA + 7, "B")) == (3, 0, 0), "lines are 64 bits"
    assert cost(bench, read(DATA + 8)) == (3 + number, 1, 0)


def test_two_sets_of_two_lines(bench):
    waits(bench, 1)
    even = [DATA, DATA + 0x10, DATA + 0x20]
    for address in (even[0], even[1], DATA + 8, DATA + 0x18):
        assert cost(bench, read(address))[1] == 1
    for address in (even[0], even[1], DATA + 8, DATA + 0x18):
        assert cost(bench, read(address))[1] == 0, "four lines are held"
    assert cost(bench, read(even[0]))[1] == 0
    assert cost(bench, read(even[2]))[1] == 1, "replaces even[1], which was used longer ago"
    assert cost(bench, read(even[0]))[1] == 0
    assert cost(bench, read(even[1]))[1] == 1
    assert cost(bench, read(DATA + 8))[1] == 0, "the other set is untouched"


def test_instructions_are_fetched_through_the_cache(bench):
    """Eight one-word instructions lie in two lines; the second time around they are held."""
    waits(bench, 1)
    before = bench.machine.counts()
    loop = [*[w.NOP] * 7, w.jump("JMP", -8)]
    bench.run(*loop, at=0x5000, count=8)
    first = bench.machine.counts() - before
    assert (first.nv_reads, first.cycles) == (2, 7 + 2 + 2)
    bench.machine.run(max_instructions=800)
    assert bench.machine.counts().nv_reads - before.nv_reads == 2


def test_an_instruction_across_lines_needs_both(bench):
    waits(bench, 2)
    before = bench.machine.counts()
    bench.run(w.double("MOV", w.imm(1), w.reg(5)), at=0x5006)
    used = bench.machine.counts() - before
    assert (used.nv_reads, used.cycles) == (2, 2 + 4)


def test_writes_are_counted_and_wait(bench):
    for number in (0, 1):
        waits(bench, number)
        assert cost(bench, w.double("MOV", w.reg(6), w.mem(DATA))) == (3 + number, 0, 1)
        assert cost(bench, w.double("MOV", w.reg(6), w.mem(DATA + 1), "B")) == (3 + number, 0, 1)
        assert cost(bench, w.double("MOV", w.reg(6), w.mem(0x1800))) == (3 + number, 0, 1), "information memory is FRAM"
        assert cost(bench, w.double("MOV", w.reg(6), w.mem(RAM + 0x100))) == (3, 0, 0)
        assert cost(bench, w.extended_double("MOV", w.reg(6), w.mem(DATA), "A")) == (5 + 2 * number, 0, 2)


def test_a_write_reaches_a_cached_line(bench):
    waits(bench, 1)
    bench[5] = 0x4321
    bench.run(read(DATA), w.double("MOV", w.reg(5), w.mem(DATA)), read(DATA))
    assert bench[6] == 0x4321


def test_the_password(bench):
    with pytest.raises(MachineFaultError, match=r"word write to 0x00140 with a wrong password"):
        bench.run(w.double("MOV", w.imm(0x0010), w.mem(0x140)))
    bench.run(w.double("MOV", w.mem(0x140), w.reg(5)))
    assert bench[5] == 0x9600, "as it reads"


def test_fast_clocks_need_wait_states(bench):
    """Data sheet SLASE54, "Recommended operating conditions": up to 8 MHz without."""
    unlock = w.double("MOV", w.imm(0xA500), w.mem(0x160))
    fast = w.double("MOV", w.imm(0x0048), w.mem(0x162))  # DCORSEL, DCOFSEL 4: 16 MHz
    undivided = w.double("MOV", w.imm(0), w.mem(0x166))
    assert bench.machine.mclk_hz == 1_000_000
    bench.run(unlock, fast)
    assert bench.machine.mclk_hz == 2_000_000
    with pytest.raises(MachineFaultError, match="FRAM at 16 MHz without wait states"):
        bench.run(undivided)
    waits(bench, 1)
    bench.run(undivided)
    assert bench.machine.mclk_hz == 16_000_000
