"""What an exit looks at: a map pooled on a small grid, or all of it; and which grids a budget of bytes buys.

A *slice* is what one exit adds to the branch: one or two parts, each a pool of the map whose numbers, flattened, meet
their own weights. Features are in units of the map (its integers less the zero point, times scale).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from freeml.ir.types import Array, QType, Shape

if TYPE_CHECKING:
    from torch import Tensor

PartKind = Literal["max", "average", "whole"]

GRIDS = (1, 2, 3, 4)
"""Cells per axis that are tried."""

MOST_READ = 1.7
"""How often an element is read, in the mean, by windows that overlap where a grid does not divide a map."""

GROUPS = (2, 4, 8, 16)
"""Neighbours in a vector that are pooled together."""

PER_DENSE_BYTES = 8
"""A dense layer's constants for each output beside its weights: a bias and a multiplier."""

PER_READ, PER_OUTPUT = 3.5, 12.0
"""What an element read by a pool and a number rescaled cost, in multiply-accumulates: by the cost model, 40 cycles an
element where products of examples take 10 to 13 each (MSP430, zig)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One pool of a map (1, channels, *spatial): windows of `kernel` every `strides`; "whole" takes it as it is.
    `words` is how many numbers come out, `reads` how many elements are looked at."""

    kind: PartKind
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    words: int
    reads: int

    @property
    def text(self) -> str:
        """max 5x5, or whole."""
        return self.kind if self.kind == "whole" else f"{self.kind} {'x'.join(map(str, self.kernel))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The features of one exit."""

    parts: tuple[Part, ...]

    @property
    def words(self) -> int:
        """Features."""
        return sum(part.words for part in self.parts)

    def constant_bytes(self, classes: int) -> int:
        """Of the 8-bit weights, and what comes with them."""
        return classes * (self.words + PER_DENSE_BYTES * len(self.parts))

    def macs(self, classes: int) -> float:
        """What pooling, products and sums cost, in multiply-accumulates."""
        pooled = sum(PER_READ * p.reads + PER_OUTPUT * p.words * (p.kind == "average") for p in self.parts)
        return pooled + classes * (self.words + 2 * PER_OUTPUT * len(self.parts))


def map_shape(shape: Shape) -> Shape:
    """A stored value as a map (1, channels, *spatial): a vector is one channel of its numbers side by side."""
    return (1, 1, int(np.prod(shape, dtype=np.int64))) if is_vector(shape) else shape


def is_vector(shape: Shape) -> bool:
    """Whether a value has no spatial axes, or only such of extent 1."""
    return len(shape) not in (3, 4) or all(extent == 1 for extent in shape[2:])


def _windows(extents: Shape, cells: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(kernel, strides) of a grid of so many cells on each axis (all of them on a shorter one)."""
    counts = [min(cells, extent) for extent in extents]
    strides = tuple(extent // count for extent, count in zip(extents, counts, strict=True))
    kernel = tuple(e - (n - 1) * s for e, n, s in zip(extents, counts, strides, strict=True))
    read = np.prod([k * n / e for k, n, e in zip(kernel, counts, extents, strict=True)])
    return (kernel, strides) if read <= MOST_READ else None


def _part(kind: PartKind, channels: int, extents: Shape, kernel: tuple[int, ...], strides: tuple[int, ...]) -> Part:
    cells = int(np.prod([(e - k) // s + 1 for e, k, s in zip(extents, kernel, strides, strict=True)]))
    reads = 0 if kind == "whole" else channels * cells * int(np.prod(kernel))
    return Part(kind=kind, kernel=kernel, strides=strides, words=channels * cells, reads=reads)


def slices_of(shape: Shape) -> tuple[Slice, ...]:
    """Every slice that is tried for a value of this shape."""
    if is_vector(shape):
        size = int(np.prod(shape, dtype=np.int64))
        found = [Slice(parts=(_part("whole", size, (1,), (1,), (1,)),))]
        for group in GROUPS:
            if size >= 4 * group and size % group == 0:
                parts = [_part(kind, 1, (size,), (group,), (group,)) for kind in ("max", "average")]
                found += [Slice(parts=(part,)) for part in parts]
        return tuple(found)
    channels, extents = shape[1], shape[2:]
    whole = _part("whole", channels, extents, (1,) * len(extents), (1,) * len(extents))
    found = [Slice(parts=(whole,))]
    for cells in GRIDS:
        windows = _windows(extents, cells)
        if windows is None or all(k == 1 for k in windows[0]):
            continue
        kinds: tuple[PartKind, ...] = ("max", "average")
        largest, average = (_part(kind, channels, extents, *windows) for kind in kinds)
        found += [Slice(parts=(largest,)), Slice(parts=(average,)), Slice(parts=(largest, average))]
    return tuple(dict.fromkeys(found))


def pooled(values: Tensor, type_: QType, part: Part) -> Array:
    """Features (samples, words), float32, of the integers of a map (samples, *shape)."""
    real = (values - type_.zero_point) * type_.scale
    return np.ascontiguousarray(pool(real, type_.shape, part).numpy(), dtype=np.float32)


def pool(real: Tensor, shape: Shape, part: Part) -> Tensor:
    """Features (samples, words) of values of `shape` each, as numbers."""
    from torch.nn import functional

    if part.kind != "whole":
        shape = map_shape(shape)
        maps = real.reshape(len(real), *shape[1:])
        if len(shape) == 3:
            pooling = functional.max_pool1d if part.kind == "max" else functional.avg_pool1d
        else:
            pooling = functional.max_pool2d if part.kind == "max" else functional.avg_pool2d
        real = pooling(maps, part.kernel, part.strides)
    return real.reshape(len(real), -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A slice and the share of right answers that a linear layer on it gives."""

    slice: Slice
    accuracy: float


def choose_slices(
    options: Sequence[Sequence[Scored]], *, classes: int, budget_bytes: int, most_macs: float, tolerance: float
) -> tuple[Slice, ...] | None:
    """One slice for each exit: the fewest bytes whose mean accuracy is within `tolerance` of the best that the budget
    and the cost allow; None where nothing is within both."""
    front: list[tuple[int, float, float, tuple[Slice, ...]]] = [(0, 0.0, 0.0, ())]
    for scored in options:
        grown = [
            (size + s.slice.constant_bytes(classes), macs + s.slice.macs(classes), score + s.accuracy, (*past, s.slice))
            for (size, macs, score, past), s in product(front, scored)
        ]
        front = _undominated([g for g in grown if g[0] <= budget_bytes and g[1] <= most_macs])
    if not front:
        return None
    best = max(score for _, _, score, _ in front)
    return min((f for f in front if f[2] >= best - tolerance * len(options)), key=lambda f: (f[0], f[1], -f[2]))[3]


def _undominated(
    found: list[tuple[int, float, float, tuple[Slice, ...]]],
) -> list[tuple[int, float, float, tuple[Slice, ...]]]:
    """Those for which no other has as few bytes, as little cost and as high a score."""
    kept: list[tuple[int, float, float, tuple[Slice, ...]]] = []
    for item in sorted(found, key=lambda f: (f[0], f[1], -f[2])):
        if not any(other[1] <= item[1] and other[2] >= item[2] for other in kept):
            kept.append(item)
    return kept
