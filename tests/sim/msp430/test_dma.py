"""The DMA controller (SLAU367, chapter "DMA controller"): addressing, sizes, transfer modes, cycles, flags."""

from __future__ import annotations

import pytest

from freeml.sim.machine import MachineFaultError

from . import words as w
from .conftest import RAM

DMAREQ, DMAIE, DMAIFG, DMAEN, SRCBYTE, DSTBYTE = 1, 4, 8, 0x10, 0x40, 0x80
STAY, DOWN, UP = 0, 2, 3
SINGLE, BLOCK, BURST, REPEATED_SINGLE, REPEATED_BLOCK = 0, 1, 2, 4, 5
FAR = 0x30000


def put(address, value):
    return w.double("MOV", w.imm(value), w.mem(address))


def start(source, target, size, *, channel=0, mode=BLOCK, src=UP, dst=UP, flags=0):
    """Instructions that set up a channel, and as the last one that which triggers it."""
    base = 0x510 + 0x10 * channel
    control = mode << 12 | dst << 10 | src << 8 | flags | DMAEN
    return [
        w.extended_double("MOV", w.imm(source), w.mem(base + 2), "A"),
        w.extended_double("MOV", w.imm(target), w.mem(base + 6), "A"),
        put(base + 0xA, size),
        put(base, control | DMAREQ),
    ]


def run(bench, program):
    """Cycles between the triggering instruction (4 of its own) and the one after it."""
    bench.run(*program[:-1])
    before = bench.machine.counts().cycles
    bench.run(program[-1], w.NOP)
    return bench.machine.counts().cycles - before - 4 - 1


@pytest.mark.parametrize("channel", range(6))
def test_blocks_of_words_from_above_64_k(bench, channel):
    bench.put(FAR, *range(0x1111, 0x1111 + 10))
    assert run(bench, start(FAR, RAM, 10, channel=channel)) == 2 * 10 + 2
    assert [bench.word(RAM + 2 * n) for n in range(10)] == list(range(0x1111, 0x1111 + 10))
    bench.run(
        w.double("MOV", w.mem(0x510 + 0x10 * channel), w.reg(5)),
        w.double("MOV", w.mem(0x51A + 0x10 * channel), w.reg(6)),
    )
    assert bench[5] & (DMAEN | DMAIFG | DMAREQ) == DMAIFG, "disabled at the end of the block, the flag set"
    assert bench[6] == 10, "the size is there again"


def test_to_above_64_k_and_two_words_of_address(bench):
    bench.put(RAM, 0xABCD)
    program = [put(0x512, RAM), put(0x514, 0), put(0x516, FAR & 0xFFFF), put(0x518, FAR >> 16), put(0x51A, 1)]
    bench.run(*program, put(0x510, BLOCK << 12 | DMAEN | DMAREQ), w.NOP)
    assert bench.word(FAR) == 0xABCD
    bench.run(w.extended_double("MOV", w.mem(0x516), w.reg(5), "A"))
    assert bench[5] == FAR
    bench.run(put(0x516, 0x1234), w.extended_double("MOV", w.mem(0x516), w.reg(5), "A"))
    assert bench[5] == 0x1234, "a word instruction clears the upper bits"


@pytest.mark.parametrize(
    ("src", "dst", "flags", "expected"),
    [
        (UP, STAY, 0, {RAM + 8: 0x0807}),
        (STAY, UP, 0, {RAM + 8: 0x0201, RAM + 14: 0x0201}),
        (DOWN, UP, 0, {RAM + 8: 0x0201, RAM + 10: 0xEEEE}),
        (UP, DOWN, 0, {RAM + 8: 0x0201, RAM + 6: 0x0403, RAM + 4: 0x0605}),
        (UP, UP, SRCBYTE | DSTBYTE, {RAM + 8: 0x0201, RAM + 10: 0x0403}),
        (UP, UP, SRCBYTE, {RAM + 8: 0x0001, RAM + 10: 0x0002, RAM + 12: 0x0003, RAM + 14: 0x0004}),
        (UP, UP, DSTBYTE, {RAM + 8: 0x0301, RAM + 10: 0x0705}),
    ],
)
def test_increments_and_sizes(bench, src, dst, flags, expected):
    bench.put(RAM - 2 + 0x100, 0xEEEE, 0x0201, 0x0403, 0x0605, 0x0807)
    run(bench, start(RAM + 0x100, RAM + 8, 4, src=src, dst=dst, flags=flags))
    for address, value in expected.items():
        assert bench.word(address) == value, hex(address)


def test_single_transfers_take_four_cycles_and_one_trigger_each(bench):
    bench.put(FAR, 1, 2, 3)
    program = start(FAR, RAM, 3, mode=SINGLE)
    assert run(bench, program) == 4
    assert (bench.word(RAM), bench.word(RAM + 2)) == (1, 0xA5A5)
    control = SINGLE << 12 | UP << 10 | UP << 8 | DMAEN | DMAREQ
    bench.run(put(0x510, control), w.NOP, put(0x510, control), w.NOP)
    assert (bench.word(RAM + 2), bench.word(RAM + 4)) == (2, 3)
    bench.run(w.double("MOV", w.mem(0x510), w.reg(5)))
    assert bench[5] & (DMAEN | DMAIFG) == DMAIFG


def test_repeated_blocks_stay_enabled(bench):
    bench.put(FAR, 7, 8)
    program = start(FAR, RAM, 2, mode=REPEATED_BLOCK)
    run(bench, program)
    bench.put(RAM, 0, 0)
    bench.run(program[-1], w.NOP)
    assert (bench.word(RAM), bench.word(RAM + 2)) == (7, 8)


def test_bursts_leave_the_cpu_its_share(bench):
    """Two cycles after every four transfers."""
    bench.put(FAR, *range(8))
    program = start(FAR, RAM, 8, mode=BURST)
    bench.run(*program)
    bench.load(*[w.NOP] * 10)
    seen = []
    for _ in range(4):
        bench.machine.run(max_instructions=1)
        seen.append(sum(bench.word(RAM + 2 * n) == n for n in range(8)))
    assert seen == [4, 4, 8, 8]


def test_the_lowest_channel_goes_first(bench):
    bench.put(FAR, 1)
    bench.put(FAR + 2, 2)
    low, high = start(FAR, RAM, 1, channel=0), start(FAR + 2, RAM, 1, channel=3)
    bench.run(*high[:-1], *low[:-1])
    # Both in one store: DMAEN was set before, and the two requests come from the last instruction of either channel.
    bench.run(high[-1], low[-1], w.NOP)
    assert bench.word(RAM) == 1, "one after the other"


def test_into_the_multiplier(bench):
    """Operands may come by DMA, as they do in TI's examples."""
    bench.put(RAM, 100, 200)
    bench.run(put(0x4C0, 3))
    run(bench, start(RAM + 2, 0x4C8, 1, dst=STAY))
    bench.run(w.double("MOV", w.mem(0x4CA), w.reg(5)))
    assert bench[5] == 600


def test_what_is_not_modelled_or_not_mapped(bench):
    bench.run(put(0x500, 14))
    with pytest.raises(MachineFaultError, match="DMA channel 0 waits for trigger 14, which is not modelled"):
        bench.run(*start(FAR, RAM, 1))
    bench.run(put(0x500, 0))
    with pytest.raises(MachineFaultError, match=r"DMA channel 2: word write to 0x44000, which is not mapped"):
        bench.run(*start(FAR, 0x43FFE, 2, channel=2), w.NOP)


def test_a_block_can_be_stopped_in_the_middle(bench):
    bench.put(FAR, *range(1, 51))
    bench.run(*start(FAR, RAM, 50))
    at = bench.machine.counts().cycles
    assert bench.machine.run(max_cycles=21) == "cycles"
    assert bench.machine.counts().cycles - at == 21
    done = sum(bench.word(RAM + 2 * n) == n + 1 for n in range(50))
    assert done == 10
    middle = bench.machine.snapshot()
    bench.load(w.NOP)
    bench.machine.run(max_instructions=1)
    assert bench.word(RAM + 98) == 50
    bench.machine.restore(middle)
    assert bench.word(RAM + 98) != 50
