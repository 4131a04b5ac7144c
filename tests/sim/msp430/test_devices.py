"""Interrupts, sleep, timer, serial port, registers that only store."""

from __future__ import annotations

import pytest

from freeml.sim.image import Image, Segment
from freeml.sim.machine import MachineFaultError
from freeml.sim.msp430 import Msp430Machine

from . import words as w
from .conftest import CODE, RAM, STACK

HANDLER = 0x5000
GIE, CPUOFF = 8, 0x10
LPM0, LPM3, LPM4 = 0x10, 0xD0, 0xF0
VECTORS = {"timer ccr0": 0xFFEA, "timer": 0xFFE8, "uart": 0xFFF0, "dma": 0xFFE4, "watchdog": 0xFFF2}
HOLD = [0x40B2, 0x5A80, 0x015C]
"""MOV #0x5A80, &WDTCTL."""


def put(address, value):
    return w.double("MOV", w.imm(value), w.mem(address))


def get(address, register):
    return w.double("MOV", w.mem(address), w.reg(register))


def handle(bench, vector, *instructions):
    """Install an interrupt handler."""
    bench.put(VECTORS[vector], HANDLER)
    bench.machine.write(HANDLER, w.pack(*instructions))


def sleep(bits):
    return w.double("BIS", w.imm(bits), w.reg(w.SR))


# --- timer --------------------------------------------------------------------------------------------------------------


def test_timestamps(bench):
    """SMCLK is MCLK after reset; TA0R then counts cycles."""
    bench.run(put(0x340, 0x0224), get(0x350, 5), *[w.NOP] * 100, get(0x350, 6))
    assert bench[6] - bench[5] == 103
    bench.run(put(0x340, 0x02E4), get(0x350, 5), *[w.NOP] * 80, get(0x350, 6))
    assert bench[6] - bench[5] == 10, "divided by 8"
    bench.run(put(0x360, 4), put(0x340, 0x02E4), *[w.NOP] * 397, get(0x350, 6))
    assert bench[6] == 10, "and by 5"


def test_the_timer_wraps(bench):
    bench.run(HOLD, put(0x350, 0xFFF0), put(0x340, 0x0220), *[w.NOP] * 30, get(0x350, 5), get(0x340, 6))
    assert bench[5] == (0xFFF0 + 33) & 0xFFFF
    assert bench[6] & 1, "TAIFG"
    bench.run(put(0x352, 9), put(0x340, 0x0214), *[w.NOP] * 20, get(0x350, 5), get(0x342, 6), get(0x340, 7))
    assert bench[5] == 23 % 10, "up mode: CCR0 + 1 ticks"
    assert (bench[6] & 1, bench[7] & 1) == (1, 1)
    bench.run(put(0x352, 8), put(0x340, 0x0234), *[w.NOP] * 10, get(0x350, 5))
    assert bench[5] == 16 - 13, "up/down mode"


def test_the_slow_clock(bench):
    """ACLK: 32768 Hz after reset, at 1 MHz of MCLK."""
    bench.run(HOLD, put(0x340, 0x0124))
    bench.load(w.jump("JMP", -1))
    bench.machine.run(max_cycles=100_000)
    bench.run(get(0x350, 5))
    assert bench[5] == 3276


def test_a_timer_interrupt_is_taken_and_returned_from(bench):
    handle(bench, "timer ccr0", w.double("MOV", w.reg(w.SR), w.reg(9)), w.double("ADD", w.gen(1), w.reg(5)), w.RETI)
    bench[5] = 0
    bench.run(HOLD, put(0x352, 49), put(0x342, 0x10), put(0x340, 0x0214), w.double("BIS", w.imm(GIE | 1), w.reg(w.SR)))
    bench.load(w.jump("JMP", -1), at=0x6000)
    bench.machine.run(max_cycles=500)
    assert bench[5] in (9, 10)
    assert bench[9] == 0, "SR is cleared on entry"
    assert bench[1] in (STACK, STACK - 4)


def test_entry_takes_six_cycles_and_saves_20_bits_of_pc(bench):
    handle(bench, "timer ccr0", w.NOP)
    bench.run(HOLD, put(0x342, 0x11), at=0x20000)
    bench.run(w.double("BIS", w.imm(GIE | 0x40), w.reg(w.SR)), at=0x2A004)
    before = bench.machine.counts()
    bench.machine.run(max_instructions=1)
    assert (bench.machine.counts() - before).cycles == 6 + 1
    assert bench[0] == HANDLER + 2
    assert bench[1] == STACK - 4
    assert (bench.word(STACK - 4), bench.word(STACK - 2)) == (0x2000 | GIE | 0x40, 0xA008)
    assert bench[2] == 0x40, "SCG0 stays"
    bench.machine.write(HANDLER + 2, w.pack(w.RETI))
    bench.run(get(0x342, 5), at=HANDLER + 0x10)
    assert bench[5] & 1 == 0, "CCIFG of CCR0 is cleared on acceptance"


def test_nothing_is_taken_without_gie(bench):
    handle(bench, "timer", w.NOP)
    bench.run(HOLD, put(0x340, 0x0223), *[w.NOP] * 10)
    assert bench[0] < HANDLER


def test_the_shared_vector_tells_its_source(bench):
    handle(bench, "timer", get(0x36E, 5), get(0x36E, 6), get(0x36E, 7), w.RETI)
    bench.run(HOLD, put(0x344, 0x11), put(0x346, 0x11), put(0x340, 0x0003), w.double("BIS", w.imm(GIE), w.reg(w.SR)))
    bench.machine.run(max_instructions=4)
    assert (bench[5], bench[6], bench[7]) == (2, 4, 14)


def test_priorities(bench):
    handle(bench, "dma", w.NOP)
    bench.put(VECTORS["timer ccr0"], HANDLER + 0x100)
    bench.machine.write(HANDLER + 0x100, w.pack(w.NOP))
    bench.run(HOLD, put(0x510, 0x0C), put(0x342, 0x11), w.double("BIS", w.imm(GIE), w.reg(w.SR)))
    bench.machine.run(max_instructions=1)
    assert bench[0] == HANDLER + 0x102


# --- sleep --------------------------------------------------------------------------------------------------------------


def test_a_timer_wakes_the_cpu(bench):
    """The handler clears CPUOFF in the saved SR, as the guide shows; time passes meanwhile."""
    handle(bench, "timer ccr0", w.double("BIC", w.imm(LPM0), w.idx(w.SP, 0)), w.RETI)
    bench.run(HOLD, put(0x352, 999), put(0x342, 0x10), put(0x340, 0x0214))
    begun = bench.machine.counts().cycles
    bench.load(sleep(GIE | LPM0), w.double("MOV", w.imm(0x55), w.reg(5)))
    assert bench.machine.run(max_instructions=4) == "instructions"
    assert bench[5] == 0x55
    assert bench.machine.counts().cycles - begun == 999 + 6 + 5 + 5 + 2, "to CCR0, entry, BIC, RETI, MOV"


def test_smclk_stands_in_lpm3_and_aclk_does_not(bench):
    handle(bench, "timer ccr0", w.NOP)
    bench.run(HOLD, put(0x352, 99), put(0x342, 0x10), put(0x340, 0x0214))
    bench.load(sleep(GIE | LPM3))
    assert bench.machine.run() == "ended"
    assert bench.machine.run() == "ended", "and stays so"
    bench[2] = 0
    bench.run(put(0x340, 0x0114))
    bench.load(sleep(GIE | LPM3))
    assert bench.machine.run(max_instructions=2) == "instructions"
    assert bench[0] == HANDLER + 2


def test_lpm4_ends_the_program(bench):
    bench.run(HOLD)
    bench.load(sleep(LPM4), w.NOP)
    assert bench.machine.run() == "ended"
    assert bench[0] == CODE + 4


def test_a_sleeping_cpu_has_a_limit(bench):
    handle(bench, "timer ccr0", w.NOP)
    bench.run(HOLD, put(0x352, 0xFFFF), put(0x342, 0x10), put(0x340, 0x0214))
    at = bench.machine.counts().cycles
    bench.load(sleep(GIE | LPM0))
    assert bench.machine.run(max_cycles=5000) == "cycles"
    assert bench.machine.counts().cycles - at == 5000


def test_dma_ends_with_an_interrupt(bench):
    handle(bench, "dma", get(0x50E, 5), get(0x50E, 6), w.RETI)
    setup = [put(0x522, RAM), put(0x526, RAM + 64), put(0x52A, 4)]
    bench.run(HOLD, *setup, sleep(GIE), put(0x520, 0x1F15))
    bench.machine.run(max_instructions=2)
    assert (bench[5], bench[6]) == (4, 0), "channel 1"


def test_the_watchdog_as_interval_timer(bench):
    handle(bench, "watchdog", w.double("ADD", w.gen(1), w.reg(5)), w.RETI)
    bench[5] = 0
    bench.run(put(0x100, 1), put(0x15C, 0x5A00 | 0x10 | 0x08 | 7))
    bench.load(sleep(GIE), w.jump("JMP", -1))
    bench.machine.run(max_cycles=64 * 10 + 20)
    assert bench[5] == 10


# --- serial port --------------------------------------------------------------------------------------------------------

UART_8N1 = [HOLD, put(0x5C0, 0x0081), put(0x5C6, 4), put(0x5C8, 0x5551), put(0x5C0, 0x0080)]
"""115,200 baud from 8 MHz, which is 69.5 clocks a bit."""


def test_characters_take_their_time(bench):
    bench.run(*UART_8N1)
    bench.run(put(0x5CE, 65), get(0x5DC, 5), put(0x5CE, 66), get(0x5DC, 6), get(0x5CA, 7))
    assert (bench[5] & 2, bench[6] & 2, bench[7] & 1) == (2, 0, 1), "one on its way, one waiting"
    bench.run(*[w.NOP] * 700, get(0x5DC, 5), get(0x5CA, 6))
    assert (bench[5] & 2, bench[6] & 1) == (2, 1)
    bench.run(*[w.NOP] * 700, get(0x5CA, 6))
    assert bench[6] & 1 == 0
    assert bench.machine.take_output() == b"AB"
    assert bench.machine.take_output() == b""
    loop = [w.double("BIT", w.gen(2), w.mem(0x5DC)), w.jump("JZ", -3), put(0x5CE, 67), w.jump("JMP", -7)]
    bench.load(*loop)
    bench.machine.run(max_cycles=69_500)
    assert len(bench.machine.take_output()) in (100, 101, 102), "695 cycles each"


def test_characters_are_received_in_order(bench):
    bench.run(*UART_8N1, get(0x5DC, 5))
    assert bench[5] & 1 == 0
    bench.machine.feed(b"hi")
    bench.machine.feed(b"!")
    reads = [get(0x5DC, 5), get(0x5CC, 6), get(0x5CC, 7), get(0x5CC, 8), get(0x5DC, 9)]
    bench.run(*reads)
    assert (bench[5] & 1, bytes(bench.machine.registers[6:9]), bench[9] & 1) == (1, b"hi!", 0)


def test_a_snapshot_holds_the_unread_input(bench):
    bench.run(*UART_8N1)
    bench.machine.feed(b"abc")
    bench.run(get(0x5CC, 5))
    taken = bench.machine.snapshot()
    bench.machine.feed(b"d")
    bench.run(get(0x5CC, 5), get(0x5CC, 6), get(0x5CC, 7))
    assert bytes(bench.machine.registers[5:8]) == b"bcd"
    bench.machine.restore(taken)
    bench.run(get(0x5CC, 5), get(0x5CC, 6), get(0x5DC, 7))
    assert (bytes(bench.machine.registers[5:7]), bench[7] & 1) == (b"bc", 0)


def test_a_sleeping_program_waits_for_input(bench):
    handle(bench, "uart", get(0x5DE, 5), get(0x5CC, 6), w.RETI)
    bench.run(*UART_8N1, put(0x5DA, 1))
    bench.load(sleep(GIE | LPM3))
    assert bench.machine.run() == "input"
    assert bench.machine.run() == "input"
    bench.machine.feed(b"Z")
    assert bench.machine.run(max_instructions=2) == "instructions"
    assert (bench[5], bench[6]) == (2, ord("Z"))


def test_fm_board_wait_stops_until_it_is_fed():
    """A function of that name polls; the run stops at its first instruction while there is nothing."""
    wait = [w.double("BIT", w.gen(1), w.mem(0x5DC)), w.jump("JZ", -3), get(0x5CC, 12), w.RET]
    start = [w.double("MOV", w.imm(STACK), w.reg(w.SP)), *UART_8N1, w.single("CALL", w.imm(0x5000)), w.jump("JMP", -3)]
    image = Image(
        path=None,
        entry=CODE,
        segments=(
            Segment(address=CODE, data=w.pack(*start)),
            Segment(address=0x5000, data=w.pack(*wait)),
            Segment(address=0xFFFE, data=CODE.to_bytes(2, "little")),
        ),
        functions=(),
        symbols={"fm_board_wait": 0x5000},
    )
    machine = Msp430Machine(image)
    assert machine.run() == "input"
    assert machine.pc == 0x5000
    assert machine.run() == "input"
    machine.feed(b"xy")
    assert machine.run() == "input"
    assert machine.registers[12] == ord("y")
    assert machine.run(stops={0x5000}) == "input", "also where a breakpoint is"
    machine.feed(b"z")
    assert machine.run(stops={0x5000}, max_instructions=100) == "input"
    assert machine.registers[12] == ord("z")


def test_long_output_is_not_lost(bench):
    bench.run(*UART_8N1, put(0x5C6, 1), put(0x5C8, 0))
    bench.load(w.double("MOV", w.reg(5), w.mem(0x5CE)), w.double("ADD", w.gen(1), w.reg(5)), w.jump("JMP", -4))
    bench[5] = 0
    bench.machine.run(max_instructions=3 * 200_000)
    assert bench.machine.take_output() == bytes(n & 0xFF for n in range(200_000))


# --- registers that store -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [0x0A, 0x1E, 0x100, 0x130, 0x200, 0x20A, 0x27E, 0x320])
def test_plain_registers(bench, address):
    bench.run(
        put(address, 0x1234), get(address, 5), w.double("MOV", w.imm(0x56), w.mem(address + 1), "B"), get(address, 6)
    )
    assert (bench[5], bench[6]) == (0x1234, 0x5634)


def test_clock_registers(bench):
    """The DCO's table, the dividers and the lock."""
    unlock, lock = put(0x160, 0xA500), w.double("MOV", w.imm(0), w.mem(0x161), "B")
    bench.run(HOLD, put(0x140, 0xA510), unlock, put(0x166, 0))
    mhz = []
    for setting in (*range(0, 16, 2), *range(0x40, 0x50, 2)):
        bench.run(put(0x162, setting))
        mhz.append(bench.machine.mclk_hz / 1e6)
    assert mhz == [1, 2.67, 3.5, 4, 5.33, 7, 8, 8, 1, 5.33, 7, 8, 16, 21, 24, 24]
    bench.run(put(0x162, 0x0C), put(0x166, 0x0002), lock, get(0x160, 5))
    assert (bench.machine.mclk_hz, bench[5]) == (2_000_000, 0x9600)
    with pytest.raises(MachineFaultError, match="password"):
        bench.run(put(0x160, 0))
