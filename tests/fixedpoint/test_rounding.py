"""The rounding rule: Python against C, both against exact rational arithmetic, and the error of a requantization."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.fixedpoint.rounding import INT32_MAX, Requant, divide_round, make_requant, round_half_up, shift_round
from freeml.ops.prelu import signed_requant

RANDOM = 1_000_000
POWERS = np.array([1 << n for n in range(31)], dtype=np.int64)
NEAR_POWERS = np.concatenate([POWERS - 1, POWERS, POWERS + 1])
EDGES = np.unique(np.concatenate([NEAR_POWERS, -NEAR_POWERS, [INT32_MAX, -INT32_MAX - 1]]))
SMALL = EDGES[np.abs(EDGES) <= 2**30]


def exact(value: Fraction) -> int:
    """floor(v + 1/2)."""
    return floor(value + Fraction(1, 2))


def random_int32(count=RANDOM, seed=0):
    """All magnitudes equally often."""
    rng = np.random.default_rng(seed)
    return rng.integers(-(2**31), 2**31, size=count) >> rng.integers(0, 31, size=count)


def test_python_rounds_half_up():
    values = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -0.51, 0.49])
    assert round_half_up(values).tolist() == [-2, -1, 0, 1, 2, 3, -1, 0]
    for shift in range(31):
        for value in range(-300, 300):
            assert int(shift_round(np.int64(value), shift)) == exact(Fraction(value, 2**shift))
    for denominator in range(1, 50):
        for numerator in range(300):
            assert divide_round(np.int64(numerator), np.int64(denominator)) == exact(Fraction(numerator, denominator))


def test_products(probe):
    a, b = np.meshgrid(EDGES, EDGES)
    assert np.array_equal(probe("mulhi", a, b), (a * b) >> 32)
    a, b = random_int32(seed=1), random_int32(seed=2)
    assert np.array_equal(probe("mulhi", a, b), (a * b) >> 32)
    narrow = np.unique(np.clip(EDGES, -(2**15), 2**15 - 1))
    a, b = np.meshgrid(narrow, narrow)
    assert np.array_equal(probe("mul16", a, b), a * b)


def test_shift_round_exhaustively_near_zero(probe):
    values = np.arange(-40_000, 40_001)
    for shift in range(1, 31):
        assert np.array_equal(probe("shift_round", values, shift), shift_round(values, shift))


def test_shift_round_at_edges_and_at_random(probe):
    for shift in range(1, 31):
        values = np.concatenate([SMALL, random_int32(50_000, seed=shift) >> 1])
        assert np.array_equal(probe("shift_round", values, shift), shift_round(values, shift))
        assert np.array_equal(probe("shift_left", SMALL >> shift, shift), (SMALL >> shift) << shift)
        unsigned = np.abs(values)
        assert np.array_equal(probe("shift_round_u32", unsigned, shift), shift_round(unsigned, shift))


def test_divide_round(probe):
    rng = np.random.default_rng(3)
    denominator = 1 + (rng.integers(0, 2**32 - 1, size=RANDOM) >> rng.integers(0, 32, size=RANDOM))
    numerator = rng.integers(0, 2**32, size=RANDOM) >> rng.integers(0, 32, size=RANDOM)
    fits = numerator + denominator // 2 < 2**32
    numerator, denominator = numerator[fits], denominator[fits]
    assert fits.mean() > 0.5
    assert np.array_equal(probe("divide_round", numerator, denominator), divide_round(numerator, denominator))
    a, b = np.meshgrid(np.arange(600), np.arange(1, 600))
    assert np.array_equal(probe("divide_round", a, b), divide_round(a, b))


@pytest.mark.parametrize("pre_shift", range(12))
@pytest.mark.parametrize("shift", [1, 2, 7, 15, 29, 30])
def test_requant_python_is_c_is_exact(probe, pre_shift, shift):
    """Any multiplier of either sign, accumulators up to the edge of what fits; clamps tight and wide."""
    rng = np.random.default_rng(shift * 31 + pre_shift)
    multipliers = np.concatenate([[0, 1, -1, INT32_MAX, -INT32_MAX, 2**30, -(2**30)], random_int32(13, seed=shift)])
    multipliers = np.maximum(multipliers, -INT32_MAX)
    accumulators = np.concatenate([EDGES, random_int32(2_000, seed=pre_shift)]) >> pre_shift
    limits = ((0, -(2**30), 2**30), (-128, -128, 127), (int(rng.integers(-128, 128)), -40, 90), (7, -32768, 32767))
    for zero_point, low, high in limits:
        requant = Requant(
            multipliers=tuple(int(m) for m in multipliers), pre_shift=pre_shift, shift=shift,
            zero_point=zero_point, low=low, high=high,
        )  # fmt: skip
        grid = np.repeat(accumulators[:, np.newaxis], len(multipliers), axis=1)
        python = requant.apply(grid)
        assert np.array_equal(probe("requant", grid, multipliers, pre_shift, shift, zero_point, low, high), python)
        for row, column in zip(rng.integers(0, len(grid), 50), rng.integers(0, len(multipliers), 50), strict=True):
            product = int(grid[row, column]) * int(multipliers[column])
            rounded = exact(Fraction(product * 2**pre_shift, 2 ** (32 + shift)))
            assert python[row, column] == min(max(rounded + zero_point, low), high)


@pytest.mark.parametrize("drop", [0, 1, 5, 16, 31])
def test_wide_requant_python_is_c(probe, drop):
    dropped = np.random.default_rng(drop).integers(0, 1 << drop, 100_000)
    accumulators = (random_int32(100_000, seed=drop) << drop) + dropped
    for multiplier, shift in ((INT32_MAX, 1), (2**30, 9), (1_234_567_891, 16), (3, 30)):
        requant = Requant(
            multipliers=(multiplier,), pre_shift=-drop, shift=shift, zero_point=-3, low=-32768, high=32767
        )
        found = probe("requant_wide", accumulators, multiplier, drop, shift, -3, -32768, 32767)
        assert np.array_equal(found, requant.apply(accumulators))


# --- how near a requantization is to the real factor ------------------------------------------------------------------

FACTORS = st.floats(min_value=1e-12, max_value=1e6).map(np.float64)


def without_clamp(requant: Requant) -> Requant:
    """The same with bounds that nothing reaches."""
    return replace(requant, low=-(2**62), high=2**62)


@settings(max_examples=400, deadline=None)
@given(
    factors=st.lists(FACTORS, min_size=1, max_size=4),
    bound=st.integers(1, 2**31 - 1),
    position=st.floats(-1, 1),
    zero_point=st.integers(-32768, 32767),
)
def test_requant_is_near_the_real_product(factors, bound, position, zero_point):
    """|fixed - real| <= 1/2 + |acc| * 2**(pre_shift - 32 - shift): one rounding and one unit of the multiplier."""
    requant = make_requant(np.array(factors), accumulator_bound=bound, zero_point=zero_point, low=-128, high=127)
    if requant is None:
        assert bound * max(factors) >= 2**28, "refused a factor that fits"
        return
    assert 1 <= requant.shift <= 30
    assert bound << requant.pre_shift <= INT32_MAX
    if max(factors) >= 2.0**-31:
        assert max(requant.multipliers) >= 2**30, "the largest factor must use all bits of the multiplier"
    accumulator = round(position * bound)
    results = without_clamp(requant).apply(np.full((1, len(factors)), accumulator)) - zero_point
    for result, factor in zip(results[0], factors, strict=True):
        unit = Fraction(2) ** (requant.pre_shift - 32 - requant.shift)
        error = abs(int(result) - accumulator * Fraction(float(factor)))
        assert error <= Fraction(1, 2) + abs(accumulator) * unit
    clamped = requant.apply(np.full((1, len(factors)), accumulator))
    assert np.array_equal(clamped, np.clip(results + zero_point, -128, 127))


@settings(max_examples=200, deadline=None)
@given(factor=st.floats(1e-12, 1e-4), bound=st.integers(2**31, 2**45), position=st.floats(-1, 1))
def test_wide_requant_is_near_the_real_product(factor, bound, position):
    """A wide accumulator first loses -pre_shift bits, which costs at most their worth times the factor."""
    requant = make_requant(np.array([factor]), accumulator_bound=bound, zero_point=0, low=-128, high=127, wide=True)
    if requant is None:
        assert bound * factor >= 2**28, "refused a factor that fits"
        return
    drop = max(-requant.pre_shift, 0)
    assert bound >> drop <= INT32_MAX
    accumulator = round(position * bound)
    result = int(without_clamp(requant).apply(np.array([accumulator]))[0])
    unit = Fraction(2) ** (requant.pre_shift - 32 - requant.shift)
    error = abs(result - accumulator * Fraction(factor))
    assert error <= Fraction(1, 2) + (abs(accumulator) + 2**drop) * unit + 2**drop * Fraction(factor)


@settings(max_examples=100, deadline=None)
@given(factor=FACTORS, bound=st.integers(1, 2**24), zero_point=st.integers(-128, 127))
def test_requant_is_monotone(factor, bound, zero_point):
    requant = make_requant(np.array([factor]), accumulator_bound=bound, zero_point=zero_point, low=-128, high=127)
    if requant is not None:
        results = requant.apply(np.unique(np.linspace(-bound, bound, 999).astype(np.int64)))
        assert (np.diff(results) >= 0).all()


@settings(max_examples=200, deadline=None)
@given(factors=st.lists(st.floats(-100, 100), min_size=1, max_size=5), accumulator=st.integers(-65535, 65535))
def test_signed_requant_is_near_the_real_product(factors, accumulator):
    """Signs and zeros cost nothing: the bound is the same as for positive factors."""
    requant = signed_requant(np.array(factors), 65535, 0, (-(2**40), 2**40))
    assert requant is not None
    results = requant.apply(np.full((1, len(factors)), accumulator))[0]
    unit = Fraction(2) ** (requant.pre_shift - 32 - requant.shift)
    for result, factor in zip(results, factors, strict=True):
        assert abs(int(result) - accumulator * Fraction(factor)) <= Fraction(1, 2) + abs(accumulator) * unit
