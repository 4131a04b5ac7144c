"""The multiplier, from the text of SLAU367, chapter "32-bit hardware multiplier": modes, operand sizes, saturation, fractions,
examples, and how soon results may be read."""

from __future__ import annotations

import random

import pytest

from freeml.sim.machine import MachineFaultError

from . import words as w

OP1 = {"MPY": 0x4C0, "MPYS": 0x4C2, "MAC": 0x4C4, "MACS": 0x4C6}
OP1_32 = {"MPY": 0x4D0, "MPYS": 0x4D4, "MAC": 0x4D8, "MACS": 0x4DC}
OP2, RESLO, RESHI, SUMEXT, OP2L, OP2H, CTL0 = 0x4C8, 0x4CA, 0x4CC, 0x4CE, 0x4E0, 0x4E2, 0x4EC
RES = (0x4E4, 0x4E6, 0x4E8, 0x4EA)
MPYC, MPYFRAC, MPYSAT = 1, 4, 8
MODES = tuple(OP1)
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WAIT = [w.NOP] * 12


def put(address, value, width="W"):
    return w.double("MOV", w.imm(value), w.mem(address), width)


def get(address, register):
    return w.double("MOV", w.mem(address), w.reg(register))


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def operand1(mode, bits, value):
    if bits == 8:
        return [put(OP1[mode], value & 0xFF, "B")]
    if bits == 16:
        return [put(OP1[mode], value)]
    high = put(OP1_32[mode] + 2, value >> 16 & 0xFF, "B") if bits == 24 else put(OP1_32[mode] + 2, value >> 16)
    return [put(OP1_32[mode], value), high]


def operand2(bits, value):
    if bits == 8:
        return [put(OP2, value & 0xFF, "B")]
    if bits == 16:
        return [put(OP2, value)]
    return [put(OP2L, value), put(OP2H, value >> 16 & 0xFF, "B") if bits == 24 else put(OP2H, value >> 16)]


def results(bench, *program):
    """Run a multiplication and read RES3:RES0, SUMEXT and MPY32CTL0."""
    reads = [*(get(address, 8 + n) for n, address in enumerate(RES)), get(SUMEXT, 12), get(CTL0, 13)]
    bench.run(*program, *WAIT, *reads)
    return sum(bench[8 + n] << 16 * n for n in range(4)), bench[12], bench[13]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits1", [8, 16, 24, 32])
@pytest.mark.parametrize("bits2", [8, 16, 24, 32])
def test_every_mode_and_size(bench, mode, bits1, bits2):
    rng = random.Random(f"{mode}{bits1}{bits2}")
    is_signed, adds = mode.endswith("S"), mode.startswith("MAC")
    wide = bits1 > 16 or bits2 > 16
    size = 64 if wide else 32
    pairs = [(rng.choice(EDGES), rng.choice(EDGES)) for _ in range(10)]
    pairs += [(rng.getrandbits(32), rng.getrandbits(32)) for _ in range(10)]
    for a, b in pairs:
        a, b = a & (1 << bits1) - 1, b & (1 << bits2) - 1
        start = rng.choice((0, 1, rng.getrandbits(64), 2**64 - 1, 2**63 - 1, 0x7FFFFFFF, 2**64 - 2**31))
        load = [put(address, start >> 16 * n) for n, address in enumerate(RES)]
        found, sumext, control = results(bench, *load, *operand1(mode, bits1, a), *operand2(bits2, b))
        product = (signed(a, bits1) * signed(b, bits2)) if is_signed else a * b
        total = product + start if adds else product
        assert found == total & (1 << 64) - 1, (a, b, start)
        cut = (1 << size) - 1
        before = start & cut if adds else 0
        if is_signed:
            exact = signed(before, size) + product
            assert sumext == (0xFFFF if found >> (size - 1) & 1 else 0), "the extended sign of the result"
            assert control & MPYC == (exact < 0), "the sign of the exact result"
        else:
            assert sumext == control & MPYC == (before + product) >> size, "the carry of the result"
        kept = {"MPY": 0, "MPYS": 1, "MAC": 2, "MACS": 3}[mode] << 4 | (bits1 > 16) << 6 | (bits2 > 16) << 7
        assert control & ~MPYC == kept


def test_the_three_registers_of_the_16_bit_multiplier(bench):
    bench.run(put(OP1["MPYS"], -2), put(OP2, 3), get(RESLO, 5), get(RESHI, 6), get(SUMEXT, 7))
    assert (bench[5], bench[6], bench[7]) == (0xFFFA, 0xFFFF, 0xFFFF)


def test_operand_1_stays(bench):
    """ "Writing OP2 starts the operation"; OP1 need not be written again."""
    bench.run(put(OP1["MPY"], 7), put(OP2, 6), get(RESLO, 5), put(OP2, 8), get(RESLO, 6))
    assert (bench[5], bench[6]) == (42, 56)


def test_registers_read_back(bench):
    bench.run(put(OP1_32["MPYS"], 0x5678), put(OP1_32["MPYS"] + 2, 0x1234), put(OP2L, 0xDEF0), put(OP2H, 0x9ABC), *WAIT)
    for address, value in (
        (0x4C0, 0x5678), (0x4C6, 0x5678), (0x4D0, 0x5678), (0x4DE, 0x1234), (OP2, 0xDEF0), (OP2L, 0xDEF0), (OP2H, 0x9ABC),
    ):  # fmt: skip
        bench.run(get(address, 5))
        assert bench[5] == value, hex(address)
    bench.run(put(SUMEXT, 0x1234), get(SUMEXT, 5))
    assert bench[5] == 0xFFFF, "read-only: the sign of the product is still there"
    bench.run(put(CTL0, 0xFFFF), get(CTL0, 5))
    assert bench[5] == 0x3FD, "all bits but the reserved ones, MPYDLY32 and MPYDLYWRTEN among them"
    bench.run(w.double("MOV", w.mem(RESLO), w.reg(5), "B"), w.double("MOV", w.mem(RESLO + 1), w.reg(6), "B"))
    assert bench[5] <= 0xFF


# --- fractional and saturation mode -----------------------------------------------------------------------------------


def test_fractions_are_shifted_when_read(bench):
    """Q15: 0.5 * 0.5; the register itself stays as it was."""
    bench.run(put(CTL0, MPYFRAC), put(OP1["MPYS"], 0x4000), put(OP2, 0x4000), get(RES[1], 5))
    bench.run(put(CTL0, 0x10), get(RES[1], 6))
    assert (bench[5], bench[6]) == (0x2000, 0x1000)


def test_fractions_of_32_bits(bench):
    found, _, _ = results(bench, put(CTL0, MPYFRAC), *operand1("MPYS", 32, 0x60000000), *operand2(32, 0xC0000000))
    assert signed(found >> 32, 32) / 2**31 == -0.375


def test_minus_one_squared_saturates(bench):
    """The guide's note: the result +1.0 is out of range and gives the most positive one."""
    found, _, _ = results(bench, put(CTL0, MPYFRAC | MPYSAT), put(OP1["MPYS"], 0x8000), put(OP2, 0x8000))
    assert found & 0xFFFFFFFF == 0x7FFFFFFF
    found, _, _ = results(bench, put(CTL0, MPYFRAC), put(OP1["MPYS"], 0x8000), put(OP2, 0x8000))
    assert found & 0xFFFFFFFF == 0x80000000, "without saturation"
    program = [*operand1("MPYS", 32, 0x80000000), *operand2(32, 0x80000000)]
    found, _, _ = results(bench, put(CTL0, MPYFRAC | MPYSAT), *program)
    assert found == 0x7FFFFFFFFFFFFFFF


def preload(*words_low_first):
    return [put(address, value) for address, value in zip(RES, words_low_first, strict=True)]


def test_example_of_saturation_in_fractional_mode(bench):
    """7FFF_FA60 + 50h * 12h overflows before any shift."""
    program = [put(CTL0, MPYFRAC | MPYSAT), *preload(0xFA60, 0x7FFF, 0, 0)]
    found, _, control = results(bench, *program, put(OP1["MACS"], 0x50, "B"), put(OP2, 0x12, "B"))
    assert found & 0xFFFFFFFF == 0x7FFFFFFF
    assert control & MPYC == 0


def test_example_of_a_32_bit_operation_before_a_16_bit_one(bench):
    """The guide's listing "Mixing 32x24 multiplication with 16x16 MACS operation"."""
    program = [
        put(CTL0, MPYSAT),
        put(OP1_32["MPY"], 0x52C5), put(OP1_32["MPY"] + 2, 0x6153), put(OP2L, 0x01AB), put(OP2H, 0x23, "B"),
    ]  # fmt: skip
    found, _, control = results(bench, *program)
    assert found == 0x000D_4F06_A6EA_0E97
    assert control & MPYC == 0
    found, _, _ = results(bench, put(OP1["MACS"], 0xCCC3), put(OP2, 0xFFB6))
    assert found & 0xFFFFFFFF == 0x7FFFFFFF, "the sum begins from an already saturated value"


def test_example_of_a_stale_carry(bench):
    """The guide's second listing: MPYC set with a result of zero saturates to 8000_0000."""
    program = [*preload(0, 0, 0, 0), put(CTL0, MPYSAT | MPYC)]
    found, _, _ = results(bench, *program, put(OP1["MACS"], 0x82, "B"), put(OP2, 0x4F, "B"))
    assert found & 0xFFFFFFFF == 0x80000000


@pytest.mark.parametrize(("bits", "lowest", "highest"), [(16, -(2**31), 2**31 - 1), (32, -(2**63), 2**63 - 1)])
def test_saturating_sums(bench, bits, lowest, highest):
    """A running sum in saturation mode is what a sum of clamped integers is."""
    rng = random.Random(bits)
    size = 2 * bits
    bench.run(put(CTL0, MPYSAT), *preload(0, 0, 0, 0))
    expected = 0
    for _ in range(60):
        a, b = (rng.choice((rng.getrandbits(bits), 1 << bits - 1, (1 << bits - 1) - 1)) for _ in range(2))
        found, _, _ = results(bench, *operand1("MACS", bits, a), *operand2(bits, b))
        expected = max(lowest, min(highest, expected + signed(a, bits) * signed(b, bits)))
        assert signed(found, size) == expected


def test_unsigned_products_are_not_saturated(bench):
    found, _, _ = results(bench, put(CTL0, MPYSAT), put(OP1["MPY"], 0xFFFF), put(OP2, 0xFFFF))
    assert found == 0xFFFE0001


# --- when results may be read -----------------------------------------------------------------------------------------

DIRECT, INDIRECT = 3, 2
"""The cycle of MOV &RES, Rn and of MOV @Rn, Rm in which the result is read."""


def delays(bits1, bits2, saturates):
    """The tables "Result availability": cycles until RES0 to RES3 after OP2 or OP2L, and after OP2H."""
    wide1, wide2 = bits1 > 16, bits2 > 16
    if not saturates:
        return {
            (False, False): ((3, 3, 4, 4), None),
            (True, False): ((3, 5, 6, 7), None),
            (False, True): ((3, 5, 6, 7), (0, 3, 4, 4)),
            (True, True): ((3, 8, 10, 11), (0, 3, 5, 6)),
        }[wide1, wide2]
    return {
        (False, False): ((3, 3, 4, 4), None),
        (True, False): ((7,) * 4, None),
        (False, True): ((7,) * 4, (4,) * 4),
        (True, True): ((11,) * 4, (6,) * 4),
    }[wide1, wide2]


@pytest.mark.parametrize("mode", [0, MPYFRAC, MPYSAT, MPYSAT | MPYFRAC])
@pytest.mark.parametrize("bits1", [16, 32])
@pytest.mark.parametrize("bits2", [16, 32])
def test_results_are_not_there_before_their_time(bench, mode, bits1, bits2):
    low, high = delays(bits1, bits2, bool(mode & MPYSAT))
    for number, address in enumerate(RES):
        for wait in range(12):
            # The last write is the last cycle of a MOV of a register to an absolute address, which takes three.
            bench[5], bench[6] = 0x1234, address
            start = [put(CTL0, mode), *operand1("MPYS", bits1, 0x12345678)]
            if bits2 == 16:
                start += [w.double("MOV", w.reg(5), w.mem(OP2))]
                earliest = low[number]
            else:
                start += [w.double("MOV", w.reg(5), w.mem(OP2L)), w.double("MOV", w.reg(5), w.mem(OP2H))]
                earliest = max(low[number] - 3, high[number])
            read = w.double("MOV", w.at(6), w.reg(7))
            bench.load(*start, *[w.NOP] * wait, read)
            bench.machine.run(max_instructions=len(start) + wait)
            if wait + INDIRECT >= earliest:
                bench.machine.run(max_instructions=1)
            else:
                early = earliest - wait - INDIRECT
                with pytest.raises(MachineFaultError, match=rf"reads RES{number} {early} cycles too early"):
                    bench.machine.run(max_instructions=1)


def test_direct_reads_need_no_wait_after_16_by_16(bench):
    """The guide: results of 16 x 16 can be read with the next instruction, but for the indirect modes."""
    bench.run(put(OP1["MPY"], 3), put(OP2, 4), get(RESLO, 5))
    assert bench[5] == 12
    bench[6] = RESLO
    with pytest.raises(MachineFaultError, match="reads RESLO 1 cycles too early"):
        bench.run(put(OP1["MPY"], 3), put(OP2, 4), w.double("MOV", w.at(6), w.reg(5)))
    bench.run(put(OP1["MPY"], 3), put(OP2, 4), w.NOP, w.double("MOV", w.at(6), w.reg(5)))
    assert bench[5] == 12


@pytest.mark.parametrize("address", [RESLO, RES[2], OP2L, 0x4D0, CTL0, 0x4C1])
def test_bytes_are_taken_where_byte_forms_exist(bench, address):
    with pytest.raises(MachineFaultError, match="only takes whole words"):
        bench.run(put(address, 1, "B"))
