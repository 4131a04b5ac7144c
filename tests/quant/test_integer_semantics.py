"""The integer operators against loops in plain Python integers, written from the formulas and from nothing else.

A zero point is subtracted from every input, padding included, before it meets a weight: what freeml folds into the bias
and into the padding value must come out the same. Requantization is an exact fraction rounded half up.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from numpy.typing import NDArray

from freeml.fixedpoint.rounding import Requant
from freeml.ir.types import QType
from freeml.ops.add import Add
from freeml.ops.averagepool import AveragePool
from freeml.ops.binary import QSum
from freeml.ops.conv import QConv
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul, QMul
from freeml.ops.sub import Sub
from ops.compiled import compiled
from ops.sketch import Sketch

Integers = NDArray[np.int64]


def requantized(requant: Requant, accumulator: int, channel: int = 0) -> int:
    """clamp(round half up(acc * M) + zero point), M an exact fraction."""
    multiplier = requant.multipliers[channel if len(requant.multipliers) > 1 else 0]
    exact = Fraction(accumulator) * multiplier * Fraction(2) ** (requant.pre_shift - 32 - requant.shift)
    return min(max(floor(exact + Fraction(1, 2)) + requant.zero_point, requant.low), requant.high)


def with_offset(graph_input: Sketch, offset: float) -> dict[str, NDArray[np.float32]]:
    """Samples that are not centred, so that no zero point is 0."""
    return {name: array + np.float32(offset) for name, array in graph_input.samples(3).items()}


CONVOLUTIONS = {
    "padded": ((2, 5, 6), (3, 2, 3, 3), (1, 1), (1, 1), ((1, 2), (2, 0)), 1),
    "strided and dilated": ((2, 7, 6), (4, 2, 2, 3), (2, 1), (2, 2), ((1, 1), (2, 2)), 1),
    "grouped": ((4, 4, 4), (6, 2, 2, 2), (1, 1), (1, 1), ((1, 0), (0, 1)), 2),
    "depthwise": ((3, 5, 4), (3, 1, 3, 3), (1, 2), (1, 1), ((1, 1), (1, 1)), 3),
    "depthwise with two outputs each": ((2, 4, 4), (4, 1, 2, 2), (1, 1), (1, 1), ((0, 1), (1, 0)), 2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("width", ["int8", "int16"])
def test_convolutions(name: str, width: str) -> None:
    shape, weights_shape, strides, dilations, pads, group = CONVOLUTIONS[name]
    sketch = Sketch(seed=3)
    y = sketch.conv(
        sketch.input(1, *shape), weights_shape[0], weights_shape[2:], strides=strides, dilations=dilations, pads=pads,
        group=group,
    )  # fmt: skip
    samples = with_offset(sketch, 0.8)
    net = compiled(sketch.graph(y), samples, width=width)  # type: ignore[arg-type]
    (stage,) = net.qgraph.stages()
    op, x_type = stage.op, net.qgraph.types["x"]
    assert isinstance(op, QConv)
    assert width == "int16" or x_type.zero_point != 0
    stored, bias = net.qgraph.constants[stage.inputs[1]], net.qgraph.constants[stage.inputs[2]]
    weights = np.moveaxis(stored, -1, 0)[:, np.newaxis] if op.depthwise else np.moveaxis(stored, -1, 1)
    assert weights.shape == weights_shape
    # the bias as it was before the zero point was folded into it
    plain_bias = bias + x_type.zero_point * weights.reshape(weights.shape[0], -1).sum(axis=1)
    probes = net.probes(samples)["x"][2:5]
    found = op.run((probes, stored[np.newaxis], bias[np.newaxis]))[0]
    for sample in range(len(probes)):
        expected = _convolution(probes[sample, 0], x_type, weights, plain_bias, op, strides, dilations, pads, group)
        np.testing.assert_array_equal(found[sample, 0], expected)


def _convolution(
    x: Integers, type_: QType, weights: Integers, bias: Integers, op: QConv, strides: tuple[int, ...],
    dilations: tuple[int, ...], pads: tuple[tuple[int, int], ...], group: int,
) -> Integers:  # fmt: skip
    outputs, depth, kernel_h, kernel_w = weights.shape
    height, width = (
        (n + sum(p) - (k - 1) * d - 1) // s + 1
        for n, p, k, d, s in zip(x.shape[1:], pads, (kernel_h, kernel_w), dilations, strides, strict=True)
    )
    y = np.zeros((outputs, height, width), dtype=np.int64)
    for o, row, column in itertools.product(range(outputs), range(height), range(width)):
        total = int(bias[o])
        for c, ky, kx in itertools.product(range(depth), range(kernel_h), range(kernel_w)):
            iy = row * strides[0] - pads[0][0] + ky * dilations[0]
            ix = column * strides[1] - pads[1][0] + kx * dilations[1]
            if 0 <= iy < x.shape[1] and 0 <= ix < x.shape[2]:  # elsewhere lies a real 0
                channel = o // (outputs // group) * depth + c
                total += int(weights[o, c, ky, kx]) * (int(x[channel, iy, ix]) - type_.zero_point)
        y[o, row, column] = requantized(op.requant, total, o)
    return y


@pytest.mark.parametrize("include_pad", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_averages_divide_by_what_counts(include_pad: bool, ceil_mode: bool) -> None:
    """The multiplier of a count is scale / count: each window is compared with its own exact mean."""
    sketch = Sketch()
    pool = AveragePool(
        kernel=(3, 2), strides=(2, 2), dilations=(1, 1), pads=((1, 1), (0, 1)), ceil_mode=ceil_mode,
        count_include_pad=include_pad,
    )  # fmt: skip
    y = sketch.add(pool, sketch.input(1, 2, 6, 5))
    samples = with_offset(sketch, -0.5)
    net = compiled(sketch.graph(y), samples)
    (stage,) = net.qgraph.stages()
    x_type, y_type = net.qgraph.types["x"], net.qgraph.types[y]
    probes = net.probes(samples)["x"]
    found = stage.op.run((probes,))[0]
    for sample, c, row, column in itertools.product(range(len(probes)), range(2), *map(range, found.shape[3:])):
        rows = range(row * 2 - 1, row * 2 + 2)
        columns = range(column * 2, column * 2 + 2)
        inside = [(i, j) for i in rows for j in columns if 0 <= i < 6 and 0 <= j < 5]
        counted = sum(-1 <= i < 7 and 0 <= j < 6 for i in rows for j in columns) if include_pad else len(inside)
        total = sum(int(probes[sample, 0, c, i, j]) - x_type.zero_point for i, j in inside)
        exact = Fraction(total) * Fraction(x_type.scale) / Fraction(y_type.scale) / counted + y_type.zero_point
        low, high = exact - Fraction(3, 4), exact + Fraction(3, 4)
        value = int(found[sample, 0, c, row, column])
        assert min(max(floor(low), -128), 127) <= value <= min(max(floor(high) + 1, -128), 127)


def test_maxima_never_take_padding() -> None:
    sketch = Sketch()
    pool = MaxPool(kernel=(2, 2), strides=(1, 1), dilations=(2, 1), pads=((1, 1), (1, 0)))
    y = sketch.add(pool, sketch.input(1, 1, 4, 3))
    net = compiled(sketch.graph(y), sketch.samples())
    lowest = np.full((1, 1, 1, 4, 3), -128)
    (stage,) = net.qgraph.stages()
    assert (stage.op.run((lowest,))[0] == -128).all()
    x = np.arange(12).reshape(1, 1, 1, 4, 3)
    np.testing.assert_array_equal(stage.op.run((x,))[0][0, 0, 0], [[3, 4, 5], [6, 7, 8], [9, 10, 11], [6, 7, 8]])


@pytest.mark.parametrize("width", ["int8", "int16"])
@pytest.mark.parametrize("op", [Add(), Sub(), Mul()], ids=lambda op: op.kind)
def test_two_operands(op: Add | Sub | Mul, width: str) -> None:
    sketch = Sketch()
    y = sketch.add(op, sketch.input(1, 7, name="a"), sketch.input(1, 7, name="b"))
    samples = with_offset(sketch, 0.4)
    net = compiled(sketch.graph(y), samples, width=width)  # type: ignore[arg-type]
    (stage,) = net.qgraph.stages()
    probes = net.probes(samples)
    a, b = (probes[name].astype(object) - net.qgraph.types[name].zero_point for name in ("a", "b"))
    found = stage.op.run((probes["a"], probes["b"]))[0]
    integer = stage.op
    if isinstance(integer, QSum):
        accumulators = a * integer.factors[0] + b * integer.factors[1]
        ratio = abs(integer.factors[0] / integer.factors[1])
        assert ratio == pytest.approx(net.qgraph.types["a"].scale / net.qgraph.types["b"].scale, rel=1e-4)
        assert (integer.factors[1] < 0) == isinstance(op, Sub)
    else:
        assert isinstance(integer, QMul)
        accumulators = a * b
    expected = [requantized(integer.requant, int(v)) for v in accumulators.ravel()]
    np.testing.assert_array_equal(found.ravel(), expected)


def test_a_dead_branch_does_not_stop_the_compile() -> None:
    """A value that calibration never saw other than 0 gets the range of what it is computed from."""
    sketch = Sketch()
    x = sketch.input(1, 5)
    dead = sketch.add(Mul(), x, sketch.constant(0.0))
    y = sketch.add(Add(), x, dead)
    for width in ("int8", "int16"):
        net = compiled(sketch.graph(y), sketch.samples(), width=width)  # type: ignore[arg-type]
        assert net.qgraph.types[dead].scale == pytest.approx(net.qgraph.types["x"].scale, rel=1e-3)


def test_inputs_beyond_any_integer_saturate_on_their_own_side() -> None:
    from freeml.quant.quantize import quantize_input

    type_ = QType(shape=(1,), dtype="int8", scale=1e-6, zero_point=3)
    found = quantize_input(np.array([3e38, -3e38, 1e30, -1e30, 0.0], np.float32), type_)
    assert found.tolist() == [127, -128, 127, -128, 3]
