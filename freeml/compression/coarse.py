"""Weights of 4 or 2 bits: a layer's float weights on a grid of few numbers, which its integer weights then are.

A coarse layer is told by the format that its weights bring (`Graph.brought`): symmetric, one step for each output
channel, and a codebook where the numbers are not all that fit the bits. Quantization keeps it as it keeps a quantized
model's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from freeml.compression.book import LARGEST_LEVEL, find_book, on_book
from freeml.ir.graph import Brought, Graph
from freeml.ir.types import Array, FloatArray, QType
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.storage import PackedBits

LEAST_STEP = 1e-4
"""Of a channel, relative to the layer's largest: the bias of a channel that is all but dead must fit its units too."""

CLIPS = np.linspace(0.25, 1.0, 31)
"""Shares of a channel's largest weight that its grid may end at."""

GOLDEN = 0.6180339887498949
"""Multiples of it, without their whole parts, are spread evenly over 0 to 1."""

BOOK_BITS: tuple[PackedBits, ...] = (2,)
"""Bits of weights that the search gives a book: of 2 bits multiples of one step use three of four codes, and trained
weights of 4 bits gain next to nothing by it (docs/compression.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """What an integer net will round: `values` by name to their formats, and, where `weights`, all weights to 8 bits
    that are not coarse."""

    values: Mapping[str, QType]
    weights: bool


NO_ROUNDING = Rounding(values={}, weights=False)


def largest_number(bits: PackedBits) -> int:
    """The grid's end: as far below zero as above."""
    return int((1 << (bits - 1)) - 1)


def weight_axes(graph: Graph) -> dict[str, int]:
    """The output channels' axis of every layer's weights that may be coarse, by constant name."""
    uses = Counter(v for stage in graph.stages() for v in stage.inputs)
    found = {}
    for stage in graph.stages():
        if isinstance(stage.op, (Conv, Dense)):
            name = stage.inputs[1]
            array = graph.constants.get(name)
            if array is not None and array.dtype == np.float32 and uses[name] == 1:
                found[name] = 0 if isinstance(stage.op, Conv) else 1
    return found


def coarse_bits(graph: Graph) -> dict[str, PackedBits]:
    """Bits of every coarse layer's weights, by constant name."""
    return {name: 4 if b.bits == 4 else 2 for name, b in graph.brought.items() if b.bits in (2, 4)}


def without_formats(graph: Graph) -> Graph:
    """The graph without the formats and statistics it came with: they do not outlive retraining."""
    return replace(graph, brought={}, statistics={})


def with_all_bits(graph: Graph, name: str) -> Graph:
    """The graph with 8 bits again for the weights `name`, where they are coarse.

    They are moved by up to an eighth of their step, up and down in turns: training will spread them, and until then
    what they take must not be read from a grid that they are about to leave.
    """
    if name not in graph.brought:
        return graph
    brought, weights = graph.brought[name], graph.constants[name]
    along = [1] * weights.ndim
    along[weight_axes(graph)[name]] = len(brought.scale)
    shares = (np.arange(1, weights.size + 1) * GOLDEN % 1 - 0.5).reshape(weights.shape)
    apart = np.diff(brought.levels).min(initial=LARGEST_LEVEL) if brought.levels else 1  # steps between levels
    moved: Array = (weights + shares / 4 * apart * brought.scale.reshape(along)).astype(np.float32)
    return replace(
        graph,
        constants={**graph.constants, name: moved},
        brought={other: found for other, found in graph.brought.items() if other != name},
    )


def coarsen(graph: Graph, name: str, bits: PackedBits, *, book: bool | None = None) -> Graph:
    """The graph with the weights `name` of so many bits, at the least squared error that is found.

    Each channel has a step. With a `book` (None: where `BOOK_BITS` says so) the weights are levels that the layer
    chooses times it, without one small whole multiples.
    """
    axis = weight_axes(graph)[name]
    weights = np.moveaxis(graph.constants[name].astype(np.float64), axis, 0)
    rows = weights.reshape(weights.shape[0], -1)
    steps = _uniform_steps(rows, bits)
    if not (bits in BOOK_BITS if book is None else book):
        return on_grid(graph, name, steps, bits)
    steps, levels = find_book(rows, bits, steps)
    return on_grid(graph, name, steps, bits, levels)


def _uniform_steps(rows: FloatArray, bits: PackedBits) -> FloatArray:
    """Steps (channels,) of weights (channels, length), each that of least squared error for its channel."""
    q = largest_number(bits)
    largest = np.abs(rows).max(axis=1)
    steps = np.where(largest > 0, largest, 1.0)[:, np.newaxis] * CLIPS / q
    error = [((np.clip(np.round(rows / s[:, None]), -q, q) * s[:, None] - rows) ** 2).sum(axis=1) for s in steps.T]
    best: FloatArray = steps[np.arange(len(rows)), np.argmin(error, axis=0)]
    return best


def on_grid(graph: Graph, name: str, steps: FloatArray, bits: PackedBits, levels: tuple[int, ...] = ()) -> Graph:
    """The graph with the weights `name` brought to multiples of `steps`, one for each output channel: the whole ones
    that fit the bits or, with a book, its `levels`."""
    axis, q = weight_axes(graph)[name], largest_number(bits)
    finer = LARGEST_LEVEL / largest_number(4) if levels else 1.0  # steps of a book are smaller, biases are not
    least = max(LEAST_STEP * finer * float(steps.max()), float(np.finfo(np.float32).tiny))
    exact = np.maximum(steps, least).astype(np.float32).astype(np.float64)
    along = [1] * graph.constants[name].ndim
    along[axis] = len(steps)
    multiples = graph.constants[name] / exact.reshape(along)
    numbers = on_book(multiples, levels) if levels else np.clip(np.round(multiples), -q, q)
    array: Array = (numbers * exact.reshape(along)).astype(np.float32)
    brought = Brought(scale=exact, zero_point=np.zeros(len(steps), dtype=np.int64), bits=bits, axis=axis, levels=levels)
    return replace(graph, constants={**graph.constants, name: array}, brought={**graph.brought, name: brought})
