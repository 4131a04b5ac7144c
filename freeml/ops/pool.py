"""What the two pools share: window handling around borders, the layout rule, the values of their templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from freeml.errors import GraphError
from freeml.ir.types import FloatArray, IntArray, Shape, TensorType
from freeml.ops.base import CRequant
from freeml.ops.windows import Plane, Window, channels_back, channels_last


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """Values of the pool templates. With `counted`, the divisor is looked up by the number of counted positions.

    `input_zero` is the zero point of the input. Window rows and columns beyond `counted_h` / `counted_w` (input plus
    end padding) do not count towards the divisor; without `include_pad` those outside the input do not either.
    """

    plane: Plane
    kind: Literal["max", "average"]
    suffix: str
    lowest: int
    input_zero: int
    requant: CRequant | None
    counted: bool
    include_pad: bool
    counted_h: int
    counted_w: int
    channels: int


def infer_pool(window: Window, x: TensorType, kind: str) -> tuple[TensorType, ...]:
    """(N, C, *out)."""
    if len(x.shape) != len(window.kernel) + 2 or not 3 <= len(x.shape) <= 4:
        raise GraphError(
            f"{kind} over {len(window.kernel)} axes expected a map of 1 or 2 spatial axes, found {x.shape}"
        )
    for (before, after), reach in zip(window.pads, window.reach, strict=True):
        if max(before, after) >= reach:
            raise GraphError(
                f"{kind} expected padding smaller than the kernel's extent {reach}, found {(before, after)}"
            )
    if (window_counts(window, x.shape[2:], False) == 0).any():
        raise GraphError(
            f"{kind} expected every window to hold some of the map {x.shape[2:]}, found one all in padding"
        )
    return (TensorType(shape=(*x.shape[:2], *window.out_extents(x.shape[2:]))),)


def max_windows(window: Window, x: FloatArray | IntArray, last: bool, lowest: float | int) -> FloatArray | IntArray:
    """Maximum over every window; positions outside the input never win."""
    patches = window.extract(channels_last(x, last), lowest)
    axes = tuple(range(2 + len(window.kernel), 2 + 2 * len(window.kernel)))
    return channels_back(patches.max(axis=axes), last)


def window_sums(window: Window, x: FloatArray | IntArray) -> FloatArray | IntArray:
    """Sum over every window of a channels-last x; positions outside the input count as 0."""
    axes = tuple(range(2 + len(window.kernel), 2 + 2 * len(window.kernel)))
    return window.extract(x, 0).sum(axis=axes)  # type: ignore[no-any-return]


def window_counts(window: Window, extents: Shape, include_pad: bool) -> IntArray:
    """Positions of each window that count towards the average: shape = output extents."""
    counts = np.ones((), dtype=np.int64)
    out = window.out_extents(extents)
    for axis, extent in enumerate(extents):
        before, after = window.pads[axis]
        starts = np.arange(out[axis]) * window.strides[axis] - before
        taps = starts[:, np.newaxis] + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (-before, extent + after) if include_pad else (0, extent)
        counts = np.multiply.outer(counts, ((taps >= low) & (taps < high)).sum(axis=1))
    return counts
