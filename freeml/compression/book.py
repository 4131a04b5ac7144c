"""Codebooks: the few int8 numbers that all weights of a layer share, found by k-means.

A weight is its output channel's step times a level of the book. Levels and steps are found together, each the least
squares for the others (S. P. Lloyd, 1982, with a gain for each channel); they are trained afterwards as shared weights
are in Deep Compression (S. Han et al., 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from freeml.ir.types import FloatArray, IntArray
from freeml.ops.storage import PackedBits

LARGEST_LEVEL = 127
ITERATIONS = 20

TAILS: Mapping[PackedBits, float] = {2: 1.5, 4: 2.7}
"""Where the levels over the spread end at first, in root mean squares of a channel: those of normal weights (J. Max,
1960)."""

LEAST_GAIN = 1e-9
"""Of a channel, relative to the layer's largest: one of zeros has a step too."""


def find_book(rows: FloatArray, bits: PackedBits, steps: FloatArray) -> tuple[FloatArray, tuple[int, ...]]:
    """Steps (channels,), above zero, and at most 2**bits ascending levels in -127..127 for weights (channels, length).

    The search begins once with the signed numbers of so many bits times `steps` (channels,), above zero, and once with
    levels over the spread of the weights; the better end counts, so it is hardly ever worse than those numbers are.
    """
    gains = np.sqrt((rows**2).mean(axis=1))
    if not gains.any():
        return steps, (0,)
    gains = np.maximum(gains, LEAST_GAIN * gains.max())
    half = 1 << (bits - 1)
    spread = TAILS[bits] * (np.arange(-half, half) + 0.5) / (half - 0.5)
    ends = [_book(rows, steps, np.arange(-half, half, dtype=np.float64)), _book(rows, gains, spread)]
    _, found, levels = min(ends, key=lambda end: end[0])
    return found, tuple(int(level) for level in levels)


def whole_levels(levels: FloatArray) -> tuple[int, ...]:
    """Trained levels as they are stored."""
    return tuple(int(level) for level in np.unique(np.clip(np.round(levels), -LARGEST_LEVEL, LARGEST_LEVEL)))


def on_book(numbers: FloatArray, levels: Sequence[int]) -> FloatArray:
    """The nearest level to each number (any shape)."""
    book = np.array(levels, dtype=np.float64)
    return book[_nearest(numbers, book)]


def _book(rows: FloatArray, gains: FloatArray, levels: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """The squared error, the steps and the whole levels that k-means ends with from here."""
    for _ in range(ITERATIONS):
        levels = _levels(rows, gains, levels)
        gains = _gains(rows, gains, levels)
    unit = float(np.abs(levels).max()) / LARGEST_LEVEL
    levels = np.unique(np.round(levels / unit))
    steps = _gains(rows, gains * unit, levels)
    found = levels[_nearest(rows / steps[:, None], levels)] * steps[:, None]
    return float(((found - rows) ** 2).sum()), steps, levels


def _nearest(numbers: FloatArray, levels: FloatArray) -> IntArray:
    """Which of the ascending levels is nearest to each number (any shape)."""
    found: IntArray = np.searchsorted((levels[1:] + levels[:-1]) / 2, numbers)
    return found


def _levels(rows: FloatArray, gains: FloatArray, levels: FloatArray) -> FloatArray:
    """The levels of least squares for the weights that are nearest to each now; one that has none stays."""
    places = _nearest(rows / gains[:, None], levels).ravel()
    power = np.bincount(places, np.broadcast_to(gains[:, None] ** 2, rows.shape).ravel(), len(levels))
    moment = np.bincount(places, (rows * gains[:, None]).ravel(), len(levels))
    return np.sort(np.where(power > 0, moment / np.where(power > 0, power, 1.0), levels))


def _gains(rows: FloatArray, gains: FloatArray, levels: FloatArray) -> FloatArray:
    """The gains of least squares for the levels that the weights are nearest to now."""
    numbers = levels[_nearest(rows / gains[:, None], levels)]
    power = (numbers**2).sum(axis=1)
    found = (rows * numbers).sum(axis=1) / np.where(power > 0, power, 1.0)
    found = np.where(found > 0, found, gains)
    return np.maximum(found, LEAST_GAIN * float(found.max()))
