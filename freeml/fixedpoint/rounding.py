"""THE rounding rule: round half up, floor(v + 1/2), wherever a number loses bits.

It is the cheapest rule that is the same on every board: an addition and an arithmetic right shift, no look at the sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freeml.ir.types import FloatArray, IntArray

INT32_MAX = 2**31 - 1


def round_half_up(values: FloatArray) -> IntArray:
    """floor(v + 1/2) as int64."""
    result: IntArray = np.floor(np.asarray(values, dtype=np.float64) + 0.5).astype(np.int64)
    return result


def nearest(value: float) -> int:
    """The same for one number, however large."""
    return math.floor(value + 0.5)


def shift_round(values: IntArray, shift: int) -> IntArray:
    """v / 2**shift, rounded half up. `shift` is 0 or more."""
    if shift == 0:
        return values
    shifted: IntArray = (values + (np.int64(1) << np.int64(shift - 1))) >> np.int64(shift)
    return shifted


def divide_round(numerator: IntArray, denominator: IntArray) -> IntArray:
    """numerator / denominator, rounded half up, for a numerator of 0 or more and a denominator above 0."""
    quotient: IntArray = (numerator + denominator // 2) // denominator
    return quotient


@dataclass(frozen=True, slots=True, kw_only=True)
class Requant:
    """Turns an accumulator into an output number: clamp(round(acc * M) + zero_point, low, high).

    M of channel c is multipliers[c] * 2**(pre_shift - 32 - shift): the accumulator is shifted left by `pre_shift`
    (right, dropping bits, when negative: only for 64-bit accumulators), multiplied by a 31-bit number, and the high
    word of the product is rounded half up by `shift` (1..30) bits. Rounding the high word alone equals rounding the
    whole product, because the rounding constant is a multiple of 2**32.

    One multiplier, or one per channel of the last axis; the shifts are common to the layer.
    """

    multipliers: tuple[int, ...]
    pre_shift: int
    shift: int
    zero_point: int
    low: int
    high: int

    def apply(self, accumulator: IntArray) -> IntArray:
        """Requantize an int64 array whose last axis is the channel axis (when there is one multiplier per channel)."""
        shifted = _shift_left(accumulator, self.pre_shift)
        assert int(np.max(np.abs(shifted), initial=0)) <= INT32_MAX + 1, "the overflow proof of this layer is wrong"
        high_word = (shifted * np.asarray(self.multipliers, dtype=np.int64)) >> np.int64(32)
        result: IntArray = np.clip(shift_round(high_word, self.shift) + self.zero_point, self.low, self.high)
        return result


def _shift_left(values: IntArray, shift: int) -> IntArray:
    shifted: IntArray = values << np.int64(shift) if shift >= 0 else values >> np.int64(-shift)
    return shifted


def make_requant(
    factors: FloatArray, *, accumulator_bound: int, zero_point: int, low: int, high: int, wide: bool = False
) -> Requant | None:
    """Fixed-point form of the real factors (one, or one per channel; positive).

    `accumulator_bound` is the proved largest magnitude of the accumulator; `wide` says it is a 64-bit one. Returns None
    when the factor cannot be expressed without overflow for an accumulator that large.
    """
    factors = np.atleast_1d(np.asarray(factors, dtype=np.float64))
    largest = float(factors.max())
    assert largest > 0 and np.isfinite(largest)
    exponent = int(np.floor(np.log2(largest))) + 1  # largest = mantissa * 2**exponent, mantissa in [0.5, 1)
    # M = m * 2**(pre - 32 - shift) with m in [2**30, 2**31): exponent = pre - 1 - shift
    pre_shift = 0
    while wide and (accumulator_bound >> -pre_shift) > INT32_MAX:
        pre_shift -= 1
    shift = pre_shift - 1 - exponent
    if shift < 1:
        pre_shift += 1 - shift
        shift = 1
    shift = min(shift, 30)  # a factor below 2**-31 keeps fewer multiplier bits
    multipliers = np.minimum(round_half_up(factors * 2.0 ** (32 + shift - pre_shift)), INT32_MAX)
    bound = accumulator_bound << pre_shift if pre_shift >= 0 else accumulator_bound >> -pre_shift
    if bound > INT32_MAX:
        return None
    return Requant(
        multipliers=tuple(int(m) for m in multipliers),
        pre_shift=pre_shift,
        shift=shift,
        zero_point=zero_point,
        low=low,
        high=high,
    )
