"""Ranges of activations, observed on calibration inputs (never on the test split).

Methods: `minmax` holds everything seen; `percentile` drops the outermost 0.01 %; `mse` picks the clipping whose
rounding and clipping error together is smallest on the values seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import nearest, round_half_up
from freeml.ir.graph import Graph, execute
from freeml.ir.types import Array, FloatArray

RangeMethod: TypeAlias = Literal["minmax", "percentile", "mse"]
CHUNK = 64
KEPT_PER_VALUE = 65_536
PERCENTILE = 99.99
LARGEST = float(np.finfo(np.float32).max)
CLIPPINGS = tuple(1.0 - 0.025 * step for step in range(21))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What calibration saw of one value: extremes, a sample (float32), and per channel (axis 1) mean and reach."""

    low: float
    high: float
    sample: FloatArray
    channel_mean: FloatArray
    channel_reach: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Every float value of a graph on the calibration inputs."""

    values: Mapping[str, Observed]
    samples: int

    def range(self, value: str, method: RangeMethod) -> tuple[float, float]:
        """(low, high) for an 8-bit format of `value`, holding zero."""
        seen = self.values[value]
        low, high = min(seen.low, 0.0), max(seen.high, 0.0)
        if method == "percentile":
            tail = (100.0 - PERCENTILE) / 2
            low_p, high_p = np.percentile(seen.sample, (tail, 100.0 - tail))
            return min(float(low_p), 0.0), max(float(high_p), 0.0)
        if method == "mse" and high > low:
            return _least_error(seen.sample, low, high)
        return low, high


def _least_error(sample: FloatArray, low: float, high: float) -> tuple[float, float]:
    """The common clipping of both ends with the least mean squared error at 256 levels."""
    best, best_error = (low, high), np.inf
    for clipping in CLIPPINGS:
        scale = (high - low) * clipping / 255.0
        lowest = nearest(low * clipping / scale)
        rounded = np.clip(round_half_up(sample / scale), lowest, lowest + 255) * scale
        error = float(np.mean((rounded - sample) ** 2))
        if error < best_error:
            best, best_error = (low * clipping, high * clipping), error
    return best


def observe(graph: Graph, inputs: Mapping[str, Array]) -> Observations:
    """Run the float graph over the calibration inputs (leading sample axis) and record every value.

    Raises QuantizationError for the first value that is not finite, or beyond float32.
    """
    samples = next(iter(inputs.values())).shape[0]
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    kept: dict[str, list[Array]] = {}
    sums: dict[str, FloatArray] = {}
    reach: dict[str, FloatArray] = {}
    for start in range(0, samples, CHUNK):
        chunk = {name: array[start : start + CHUNK] for name, array in inputs.items()}
        count = next(iter(chunk.values())).shape[0]
        for name, array in execute(graph, chunk).items():
            if graph.types[name].dtype != "float32":
                continue
            if not float(np.abs(array).max()) <= LARGEST:  # NaN is not, either
                first = float(np.ravel(array)[int(np.argmax(~(np.abs(array) <= LARGEST)))])
                raise QuantizationError(
                    f"value {name}: expected finite float32 numbers on the calibration inputs, found {first}; check "
                    "the data and the weights of the layers before it"
                )
            low[name] = min(low.get(name, np.inf), float(array.min()))
            high[name] = max(high.get(name, -np.inf), float(array.max()))
            share = max(1, KEPT_PER_VALUE * count // samples)
            step = max(1, array.size // share)
            kept.setdefault(name, []).append(np.ravel(array)[::step].astype(np.float32))
            by_channel = _by_channel(array)
            sums[name] = sums.get(name, np.zeros(1)) + by_channel.mean(axis=1) * count
            reach[name] = np.maximum(reach.get(name, np.zeros(1)), np.abs(by_channel).max(axis=1))
    return Observations(
        samples=samples,
        values=MappingProxyType(
            {
                name: Observed(
                    low=low[name],
                    high=high[name],
                    sample=np.concatenate(kept[name]),
                    channel_mean=sums[name] / samples,
                    channel_reach=reach[name],
                )
                for name in low
            }
        ),
    )


def _by_channel(array: Array) -> FloatArray:
    """(channels, everything else); a value without a channel axis counts as one channel."""
    if array.ndim < 3:
        return array.reshape(1, -1)
    return np.moveaxis(array, 2, 0).reshape(array.shape[2], -1)
