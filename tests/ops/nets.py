"""Random small nets for hypothesis: every operator, random shapes and attributes, branches, several outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np
from hypothesis import strategies as st

from freeml.ir.graph import Brought, Graph
from freeml.ir.types import Shape
from freeml.ops.add import Add
from freeml.ops.argmax import ArgMax
from freeml.ops.averagepool import AveragePool
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.slice import Slice
from freeml.ops.softmax import Softmax
from freeml.ops.sub import Sub
from freeml.ops.tanh import Tanh
from freeml.ops.transpose import Transpose
from freeml.quant.quantize import format_from_range
from freeml.quant.ranges import observe
from ops.sketch import Sketch

MODES: tuple[Literal["constant", "edge", "reflect", "wrap"], ...] = ("constant", "constant", "edge", "reflect", "wrap")
LARGEST = 300
"""Elements of the largest value."""


@st.composite
def nets(draw: st.DrawFn) -> tuple[Graph, dict[str, np.ndarray]]:
    """A graph and inputs to calibrate it with, (6, *shape)."""
    sketch = Sketch(seed=draw(st.integers(0, 2**16)))
    rank = draw(st.sampled_from((2, 1, 2, 0)))
    channels = draw(st.integers(1, 6))
    values = [sketch.input(1, channels, *(draw(st.integers(2, 8)) for _ in range(rank)))]
    for _ in range(draw(st.integers(1, 3))):
        names = draw(st.sampled_from(BLOCKS)) if rank else ("dense", *draw(st.lists(STEP_NAMES, max_size=3)))
        for kind in (*names, *draw(st.lists(STEP_NAMES, max_size=2))):
            source = values[-1] if draw(st.integers(0, 4)) else draw(st.sampled_from(values))
            made = STEPS[kind](draw, sketch, source, values)
            if made is not None:
                values.append(made)
    values.append(sketch.add(Clip(low=-0.5, high=2.0), values[-1]))  # so that there is something to compute
    outputs = [values[-1]]
    produced = [v for node in sketch.nodes for v in node.outputs]
    outputs += draw(st.lists(st.sampled_from(produced), max_size=2))
    if draw(st.integers(0, 7)) == 0:
        axis = draw(st.integers(0, len(sketch.shape(values[-1])) - 1))
        last = draw(st.booleans())
        outputs.append(sketch.add(ArgMax(axis=axis, keepdims=draw(st.booleans()), select_last_index=last), values[-1]))
    return sketch.graph(*dict.fromkeys(outputs)), dict(sketch.samples(6))


@st.composite
def quantized_nets(draw: st.DrawFn) -> tuple[Graph, dict[str, np.ndarray]]:
    """A net that brings formats for some of its values, as one with QuantizeLinear and DequantizeLinear does."""
    graph, samples = draw(nets())
    seen = observe(graph, samples)
    brought = {}
    for name in (*graph.inputs, *(v for node in graph.nodes for v in node.outputs)):
        if graph.types[name].dtype != "float32" or draw(st.integers(0, 2)) == 0:
            continue
        low, high = seen.range(name, "minmax")
        factor = draw(st.sampled_from((1.0, 0.6, 1.7)))
        bits = draw(st.sampled_from((8, 8, 16)))
        type_ = format_from_range((), "int8" if bits == 8 else "int16", (low or -1.0) * factor, (high or 1.0) * factor)
        zero_point = draw(st.sampled_from((type_.zero_point, 0)))
        brought[name] = Brought(scale=np.array([type_.scale]), zero_point=np.array([zero_point]), bits=bits)
    return replace(graph, brought=brought), samples


def _fits(shape: Shape) -> bool:
    return 0 < prod(shape) <= LARGEST


def _is_map(sketch: Sketch, x: str) -> bool:
    return len(sketch.shape(x)) in (3, 4) and sketch.shape(x)[0] == 1


def _window(
    draw: st.DrawFn, extents: Shape, *, padded: bool
) -> tuple[Shape, Shape, Shape, tuple[tuple[int, int], ...]]:
    """(kernel, strides, dilations, pads) that fit the extents."""
    kernel, strides, dilations, pads = [], [], [], []
    for extent in extents:
        dilation = draw(st.sampled_from((1, 1, 1, 2, 3)))
        size = draw(st.integers(1, min(4, (extent - 1) // dilation + 1)))
        limit = size - 1  # padding of a whole kernel would make windows without any input
        before, after = (draw(st.integers(0, limit)), draw(st.integers(0, limit))) if padded else (0, 0)
        kernel.append(size)
        strides.append(draw(st.integers(1, 3)))
        dilations.append(dilation)
        pads.append((before, after))
    return tuple(kernel), tuple(strides), tuple(dilations), tuple(pads)


def _conv(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
    if not _is_map(sketch, x):
        return None
    shape = sketch.shape(x)
    kernel, strides, dilations, pads = _window(draw, shape[2:], padded=draw(st.booleans()))
    channels = shape[1]
    group = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    outputs = group * draw(st.integers(1, max(1, 6 // group)))
    if outputs * prod(shape[2:]) > LARGEST:
        return None
    return sketch.conv(
        x, outputs, kernel, strides=strides, dilations=dilations, pads=pads, group=group, bias=draw(st.booleans())
    )


def _pool(average: bool) -> Callable[[st.DrawFn, Sketch, str, list[str]], str | None]:
    def step(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
        if not _is_map(sketch, x):
            return None
        extents = sketch.shape(x)[2:]
        kernel, strides, dilations, pads = _window(draw, extents, padded=draw(st.booleans()))
        shape = draw(st.sampled_from(("any", "apart", "global")))
        if shape == "global":
            kernel, strides, dilations, pads = extents, extents, (1,) * len(extents), ((0, 0),) * len(extents)
        elif shape == "apart":  # what a convolution takes in
            strides, dilations = tuple(max(pair) for pair in zip(kernel, strides, strict=True)), (1,) * len(extents)
        ceil = draw(st.booleans())
        if not average:
            return sketch.add(
                MaxPool(kernel=kernel, strides=strides, dilations=dilations, pads=pads, ceil_mode=ceil), x
            )
        counted = draw(st.booleans())
        op = AveragePool(
            kernel=kernel, strides=strides, dilations=dilations, pads=pads, ceil_mode=ceil, count_include_pad=counted
        )
        return sketch.add(op, x)

    return step


def _dense(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    return sketch.dense(x, draw(st.integers(1, 8)), bias=draw(st.booleans()))


def _unary(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    op = draw(
        st.sampled_from(
            (
                Clip(low=0.0, high=float("inf")),
                Clip(low=0.0, high=1.5),
                Clip(low=-0.75, high=float("inf")),
                Sigmoid(),
                Tanh(),
                HardSigmoid(alpha=1 / 6),
                HardSwish(),
            )
        )
    )
    return sketch.add(op, x)


def _prelu(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    shape = sketch.shape(x)
    if draw(st.booleans()) or len(shape) < 2:
        return sketch.add(PRelu(), x, sketch.constant(draw(st.sampled_from((0.1, -0.5, 2.0, 0.0)))))
    return sketch.add(PRelu(), x, sketch.normal(shape[1], *(1,) * (len(shape) - 2)))


def _binary(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
    shape = sketch.shape(x)
    op = draw(st.sampled_from((Add(), Sub(), Mul(), Add(clamp=(0.0, float("inf"))), Sub(clamp=(-0.5, 0.5)))))
    like = [v for v in values if _broadcasts(shape, sketch.shape(v))]
    if draw(st.integers(0, 2)):
        other = draw(st.sampled_from(like))
    else:
        kept = draw(st.integers(0, len(shape)))
        other = sketch.normal(*(n if draw(st.booleans()) else 1 for n in shape[kept:]))
    return sketch.add(op, *((x, other) if draw(st.booleans()) else (other, x)))


def _broadcasts(one: Shape, two: Shape) -> bool:
    try:
        return _fits(np.broadcast_shapes(one, two))
    except ValueError:
        return False


def _concat(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
    shape = sketch.shape(x)
    axis = draw(st.integers(0 if shape[0] != 1 else min(1, len(shape) - 1), len(shape) - 1))
    rest = [n for i, n in enumerate(shape) if i != axis]
    like = [
        v
        for v in values
        if len(sketch.shape(v)) == len(shape) and [n for i, n in enumerate(sketch.shape(v)) if i != axis] == rest
    ]
    parts = [x, *draw(st.lists(st.sampled_from(like), min_size=1, max_size=2))]
    if draw(st.integers(0, 3)) == 0:
        parts.insert(draw(st.integers(0, len(parts))), sketch.normal(*shape))
    total = sum(sketch.shape(v)[axis] for v in parts)
    return sketch.add(Concat(axis=axis), *parts) if total * prod(rest) <= LARGEST else None


def _slice(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    starts, steps, sizes = [], [], []
    for extent in sketch.shape(x):
        start = draw(st.integers(0, extent - 1))
        step = draw(st.sampled_from((-2, -1, 1, 1, 2, 3)))
        room = (extent - 1 - start) // step if step > 0 else start // -step
        starts.append(start)
        steps.append(step)
        sizes.append(draw(st.integers(1, room + 1)))
    return sketch.add(Slice(starts=tuple(starts), steps=tuple(steps), sizes=tuple(sizes)), x)


def _transpose(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    rank = len(sketch.shape(x))
    perm = (0, *(axis + 1 for axis in draw(st.permutations(range(rank - 1))))) if rank else ()
    return sketch.add(Transpose(perm=perm), x)


def _pad(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
    shape = sketch.shape(x)
    mode = draw(st.sampled_from(MODES))
    pads = tuple((0, 0) if i == 0 else (draw(st.integers(0, 2)), draw(st.integers(0, 2))) for i in range(len(shape)))
    if not _fits(tuple(n + sum(p) for n, p in zip(shape, pads, strict=True))):
        return None
    return sketch.add(Pad(pads=pads, mode=mode, value=draw(st.sampled_from((0.0, 0.0, 0.4, -30.0)))), x)


def _resize(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
    tables = []
    for axis, extent in enumerate(sketch.shape(x)):
        size = extent if axis < 2 else draw(st.integers(1, 2 * extent))
        nearest = tuple(i * extent // size for i in range(size))
        anywhere = st.lists(st.integers(0, extent - 1), min_size=1, max_size=4).map(tuple)  # what Gather becomes
        tables.append(draw(anywhere) if axis and draw(st.integers(0, 3)) == 0 else nearest)
    return sketch.add(Resize(indices=tuple(tables)), x) if _fits(tuple(map(len, tables))) else None


def _reshape(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    size = prod(sketch.shape(x))
    one = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    two = draw(st.sampled_from([n for n in range(1, one + 1) if one % n == 0]))
    return sketch.add(
        Reshape(shape=draw(st.sampled_from(((1, size), (1, size // one, one), (1, size // one, one // two, two))))), x
    )


def _mean(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str | None:
    rank = len(sketch.shape(x))
    axes = draw(st.lists(st.integers(1, max(1, rank - 1)), min_size=1, unique=True))
    if rank < 2:
        return None
    keepdims = draw(st.booleans()) or len(axes) == rank - 1
    return sketch.add(ReduceMean(axes=tuple(sorted(axes)), keepdims=keepdims), x)


def _softmax(draw: st.DrawFn, sketch: Sketch, x: str, values: list[str]) -> str:
    axis = draw(st.integers(0, len(sketch.shape(x)) - 1))
    return sketch.add(draw(st.sampled_from((Softmax(axis=axis), LogSoftmax(axis=axis)))), x)


STEPS: dict[str, Callable[[st.DrawFn, Sketch, str, list[str]], str | None]] = {
    "average": _pool(average=True),
    "binary": _binary,
    "concat": _concat,
    "conv": _conv,
    "dense": _dense,
    "maximum": _pool(average=False),
    "mean": _mean,
    "pad": _pad,
    "prelu": _prelu,
    "reshape": _reshape,
    "resize": _resize,
    "slice": _slice,
    "softmax": _softmax,
    "transpose": _transpose,
    "unary": _unary,
}
"""How a net grows by one node: (draw, sketch, value to read, values so far) -> new value, None where it does not fit."""

STEP_NAMES = st.sampled_from(sorted(STEPS))
BLOCKS = (
    ("conv", "unary", "maximum"),
    ("conv", "prelu", "average"),
    ("conv", "binary", "unary"),
    ("conv", "unary", "conv", "binary", "unary", "average"),
    ("conv", "maximum"),
    ("conv", "transpose", "conv"),
    ("conv", "average", "reshape", "dense", "unary"),
    ("maximum", "conv"),
    ("conv", "conv", "concat"),
)
"""Sequences that nets in the wild are made of, and that fusion and layout planning look for."""
