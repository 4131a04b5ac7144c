"""Folding and fusing change where numbers are computed, never what the float net computes."""

import numpy as np
import pytest

from freeml.ir.graph import execute
from freeml.ops.add import Add
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.clip import Clip
from freeml.ops.dense import Dense
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.reshape import Reshape
from freeml.ops.sub import Sub
from freeml.ops.transpose import Transpose
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from ops.sketch import Sketch

RELU = Clip(low=0.0, high=float("inf"))
POOL = MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0)))


def kinds(graph):
    return [type(node.op).__name__ for node in graph.nodes]


def same_numbers(sketch, *outputs):
    """The graph after all passes, checked to compute what it did before."""
    graph = sketch.graph(*outputs)
    changed = run_passes(graph, PASSES)
    inputs = dict(sketch.samples(3))
    before, after = execute(graph, inputs), execute(changed, inputs)
    for name in graph.outputs:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-4, atol=1e-4)
    return changed


def batch_norm(sketch, x, axis=1):
    channels = sketch.shape(x)[axis]
    parts = [sketch.normal(channels), sketch.normal(channels), sketch.normal(channels)]
    variance = sketch.constant(np.abs(np.random.default_rng(3).normal(size=channels)) + 0.1)
    return sketch.add(BatchNorm(epsilon=1e-3), x, *parts, variance)


def test_batch_norm_relu_and_more_scales_vanish_into_the_convolution():
    s = Sketch(seed=1)
    x = s.conv(s.input(1, 3, 8, 8), 5, (3, 3))
    x = s.add(Mul(), batch_norm(s, x), s.normal(5, 1, 1))
    x = s.add(Sub(), s.normal(1, 5, 1, 1), s.add(Add(), x, s.constant(0.25)))
    graph = same_numbers(s, s.add(RELU, x))
    assert kinds(graph) == ["Conv"]
    assert graph.nodes[0].op.clamp == (0.0, float("inf"))


def test_a_batch_norm_on_the_input_becomes_a_depthwise_convolution():
    s = Sketch(seed=1)
    graph = same_numbers(s, s.conv(batch_norm(s, s.input(1, 3, 8, 8)), 4, (3, 3), pads=((1, 1), (1, 1))))
    assert kinds(graph) == ["Conv", "Conv"]
    assert graph.nodes[0].op.group == 3


def test_a_value_read_twice_is_left_as_it_is():
    s = Sketch(seed=1)
    x = s.conv(s.input(1, 3, 8, 8), 4, (3, 3))
    graph = same_numbers(s, s.add(Mul(), x, s.normal(4, 1, 1)), s.add(RELU, x))
    assert kinds(graph) == ["Conv", "Mul", "Clip"]


def test_a_scale_along_another_axis_is_not_folded():
    s = Sketch(seed=1)
    graph = same_numbers(s, s.add(Mul(), s.conv(s.input(1, 3, 8, 8), 6, (3, 3)), s.normal(6, 1)))
    assert kinds(graph) == ["Conv", "Mul"]


def test_a_scale_after_a_clamp_is_not_folded():
    s = Sketch(seed=1)
    x = s.add(RELU, s.conv(s.input(1, 3, 8, 8), 4, (3, 3)))
    assert kinds(same_numbers(s, s.add(Mul(), x, s.constant(-2.0)))) == ["Conv", "Mul"]


@pytest.mark.parametrize("squeezed", [False, True])
def test_a_keras_block_becomes_one_convolution_and_its_pool(squeezed):
    """Transpose, Conv, Transpose (and a squeeze), bias, batch norm as Mul and Add, Relu, back, MaxPool."""
    s = Sketch(seed=2)
    height = 1 if squeezed else 8
    x = s.add(Transpose(perm=(0, 3, 1, 2)), s.input(1, height, 8, 3))
    x = s.conv(x, 6, (1, 3) if squeezed else (3, 3), bias=False)
    x = s.add(Transpose(perm=(0, 2, 3, 1)), x)
    if squeezed:
        x = s.add(Reshape(shape=(1, 6, 6)), x)
    for op in (Add(), Mul(), Add()):
        x = s.add(op, x, s.normal(6))
    x = s.add(RELU, x)
    if squeezed:
        x = s.add(Reshape(shape=(1, 1, 6, 6)), x)
    x = s.add(Transpose(perm=(0, 3, 1, 2)), x)
    pool = MaxPool(kernel=(1, 2), strides=(1, 2), dilations=(1, 1), pads=((0, 0), (0, 0))) if squeezed else POOL
    graph = same_numbers(s, s.add(pool, x))
    assert kinds(graph) == ["Transpose", "Conv", "MaxPool"]
    assert [len(group) for group in fusion_groups(graph)] == [2]


def test_dense_layers_take_scales_along_their_outputs():
    s = Sketch(seed=2)
    x = s.add(Dense(), s.input(1, 5, 7), s.normal(7, 4), s.normal(4))
    assert kinds(same_numbers(s, s.add(RELU, s.add(Mul(), x, s.normal(4))))) == ["Dense"]
    s = Sketch(seed=2)
    x = s.add(Dense(), s.input(1, 4, 7), s.normal(7, 4), s.normal(4))
    assert kinds(same_numbers(s, s.add(Mul(), x, s.normal(4, 1)))) == ["Dense", "Mul"]


def test_zero_padding_joins_the_window():
    s = Sketch(seed=2)
    pad = Pad(pads=((0, 0), (0, 0), (1, 0), (0, 2)), mode="constant", value=0.0)
    graph = same_numbers(s, s.conv(s.add(pad, s.input(1, 3, 8, 8)), 4, (3, 3)))
    assert kinds(graph) == ["Conv"]
    assert graph.nodes[0].op.pads == ((1, 0), (0, 2))
    for pads, mode, value in (
        (pad.pads, "edge", 0.0),
        (pad.pads, "constant", 1.0),
        (((0, 0), (1, 0), *pad.pads[2:]), "constant", 0.0),
    ):
        s = Sketch(seed=2)
        x = s.add(Pad(pads=pads, mode=mode, value=value), s.input(1, 3, 8, 8))
        assert "Pad" in kinds(same_numbers(s, s.conv(x, 4, (3, 3))))


def test_views_that_undo_each_other_go_and_outputs_keep_their_names():
    s = Sketch(seed=2)
    x = s.conv(s.input(1, 3, 4, 4), 2, (1, 1))
    there = s.add(Transpose(perm=(0, 2, 3, 1)), x)
    back = s.add(Transpose(perm=(0, 3, 1, 2)), there)
    flat = s.add(Reshape(shape=(1, 4, 8)), s.add(Reshape(shape=(1, 32)), back))
    graph = same_numbers(s, s.add(RELU, flat))
    assert kinds(graph) == ["Conv", "Reshape"]
    s = Sketch(seed=2)
    x = s.conv(s.input(1, 3, 4, 4), 2, (1, 1))
    there = s.add(Transpose(perm=(0, 2, 3, 1)), x)
    graph = same_numbers(s, there, s.add(Transpose(perm=(0, 3, 1, 2)), there))
    assert graph.outputs == (there, s.nodes[-1].outputs[0])


@pytest.mark.parametrize(("stride", "fused"), [(2, True), (1, False)])
def test_only_pools_whose_windows_do_not_overlap_join(stride, fused):
    s = Sketch(seed=2)
    pool = MaxPool(kernel=(2, 2), strides=(stride, stride), dilations=(1, 1), pads=((0, 0), (0, 0)))
    graph = s.graph(s.add(pool, s.conv(s.input(1, 3, 8, 8), 4, (3, 3))))
    assert bool(fusion_groups(graph)) == fused


def test_a_sum_joins_the_later_of_its_two_convolutions():
    s = Sketch(seed=2)
    x = s.input(1, 3, 8, 8)
    one, two = s.conv(x, 4, (3, 3)), s.conv(x, 4, (3, 3))
    graph = s.graph(s.add(Add(), one, two))
    assert fusion_groups(graph) == ((graph.nodes[1].name, graph.nodes[2].name),)
