"""Linear layers with nothing between become one where that is smaller; the float net computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freeml.ir.graph import Brought, Graph, execute
from freeml.ops.clip import Clip
from freeml.ops.conv import Conv
from freeml.ops.maxpool import MaxPool
from freeml.ops.reshape import Reshape
from freeml.passes.driver import run_passes
from freeml.passes.merge import MergeLinear, merged_pair
from freeml.passes.standard import PASSES
from ops.sketch import Sketch

RELU = Clip(low=0.0, high=float("inf"))


def merged(sketch: Sketch, *outputs: str) -> Graph:
    """The graph after the pass, checked to compute what it did before."""
    graph = sketch.graph(*outputs)
    changed = run_passes(graph, (MergeLinear(),))
    inputs = dict(sketch.samples(3))
    before, after = execute(graph, inputs), execute(changed, inputs)
    for name in graph.outputs:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)
    return changed


def weights(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.constants[stage.inputs[1]].shape for stage in graph.stages() if len(stage.inputs) > 1]


def test_the_end_of_the_paper_s_net() -> None:
    """Net S: three convolutions with ReLU and pool, then 256-256-64-10 with nothing between."""
    s = Sketch(seed=3)
    pool = MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0)))
    x = s.input(1, 3, 32, 32)
    for channels in (64, 128, 64):
        x = s.add(pool, s.add(RELU, s.conv(x, channels, (3, 3))))
    x = s.add(Reshape(shape=(1, 256)), x)
    for outputs in (256, 64, 10):
        x = s.dense(x, outputs)
    graph = s.graph()
    changed = run_passes(graph, PASSES)
    assert sum(a.size for a in graph.constants.values()) == 232_330
    assert weights(changed)[-1] == (256, 10)
    assert sum(a.size for a in changed.constants.values()) == 232_330 - 256 * 257 - 64 * 257 - 650 + 2_570
    inputs = dict(s.samples(2))
    before, after = (execute(g, inputs)[x] for g in (graph, changed))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_rounded_once() -> None:
    """The product of three layers is the float64 product, rounded at the end."""
    s = Sketch(seed=4)
    x = s.input(1, 30)
    for outputs in (30, 20, 5):
        x = s.dense(x, outputs)
    changed = merged(s)
    w1, b1, w2, b2, w3, b3 = (np.asarray(s.constants[f"c{i}"], dtype=np.float64) for i in range(6))
    (stage,) = changed.stages()
    np.testing.assert_array_equal(changed.constants[stage.inputs[1]], (w1 @ (w2 @ w3)).astype(np.float32))
    np.testing.assert_array_equal(changed.constants[stage.inputs[2]], ((b1 @ w2 + b2) @ w3 + b3).astype(np.float32))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_biases(first: bool, second: bool) -> None:
    s = Sketch(seed=5)
    s.dense(s.dense(s.input(1, 4, 6), 9, bias=first), 5, bias=second)
    changed = merged(s)
    assert weights(changed) == [(6, 5)]
    assert len(next(changed.stages()).inputs) == 2 + (first or second)


def test_the_last_clamp_stays() -> None:
    s = Sketch(seed=5)
    y = s.add(RELU, s.dense(s.dense(s.input(1, 6), 9), 5))
    changed = run_passes(s.graph(y), PASSES)
    (node,) = changed.nodes
    assert node.op.clamp == (0.0, float("inf"))  # type: ignore[attr-defined]


def test_convolutions() -> None:
    """1x1 behind, strided and padded before; 1x1 before a padded one only without a bias that padding lacks."""
    s = Sketch(seed=6)
    x = s.conv(s.input(1, 3, 9, 7), 20, (3, 3), strides=(2, 1), pads=((1, 1), (0, 2)), dilations=(1, 2))
    graph = merged(s, s.conv(x, 4, (1, 1)))
    assert weights(graph) == [(4, 3, 3, 3)]
    s = Sketch(seed=6)
    graph = merged(s, s.conv(s.conv(s.input(1, 3, 12), 20, (1,)), 4, (3,), strides=(2,), dilations=(2,)))
    assert weights(graph) == [(4, 3, 3)]
    for bias, layers in ((False, 1), (True, 2)):
        s = Sketch(seed=6)
        x = s.conv(s.input(1, 3, 6, 6), 20, (1, 1), bias=bias)
        assert len(weights(merged(s, s.conv(x, 4, (3, 3), pads=((1, 1), (1, 1)))))) == layers
    s = Sketch(seed=6)
    assert weights(merged(s, s.conv(s.conv(s.input(1, 3), 20, ()), 4, ()))) == [(4, 3)]
    s = Sketch(seed=6)
    y = s.add(RELU, s.conv(s.conv(s.input(1, 3, 9, 7), 20, (3, 3)), 4, (1, 1)))
    (node,) = run_passes(s.graph(y), PASSES).nodes
    assert node.op.clamp == (0.0, float("inf"))  # type: ignore[attr-defined]


def test_fewer_products_alone_are_not_enough() -> None:
    """1x1 on a large map before a strided 3x3: as one it would multiply less, and store more."""
    s = Sketch(seed=6)
    x = s.conv(s.input(1, 8, 9, 9), 6, (1, 1), bias=False)
    assert len(weights(merged(s, s.conv(x, 4, (3, 3), strides=(2, 2))))) == 2


@pytest.mark.parametrize("how", ["larger", "clamped", "read twice", "output", "brought", "strided", "grouped", "3x3"])
def test_what_stays(how: str) -> None:
    s = Sketch(seed=7)
    outputs: list[str] = []
    if how in ("strided", "grouped", "3x3"):
        x = s.conv(s.input(1, 4, 8, 8), 20, (3, 3), group=2 if how == "grouped" else 1)
        s.conv(x, 4, (3, 3) if how == "3x3" else (1, 1), strides=(2, 2) if how == "strided" else None)
    else:
        hidden = s.dense(s.input(1, 10), 3 if how == "larger" else 12)
        x = s.add(RELU, hidden) if how == "clamped" else hidden
        last = s.dense(x, 8)
        outputs = [last]
        if how == "read twice":
            outputs.append(s.add(RELU, hidden))
        elif how == "output":
            outputs.append(hidden)
    graph = s.graph(*outputs)
    if how == "brought":
        form = Brought(scale=np.array([0.1]), zero_point=np.array([0]), bits=8)
        graph = replace(graph, brought={hidden: form})
    changed = run_passes(graph, PASSES)
    layers = [n for n in changed.nodes if isinstance(n.op, Conv) or n.op.kind == "Dense"]
    assert len(layers) == 2


def test_brought_weights_stay() -> None:
    s = Sketch(seed=7)
    s.dense(s.dense(s.input(1, 10), 12), 8)
    form = Brought(scale=np.array([0.1]), zero_point=np.array([0]), bits=8)
    assert len(MergeLinear().apply(replace(s.graph(), brought={"c2": form})).nodes) == 2


def test_a_pair_by_name() -> None:
    """Whatever its size, as long as it computes the same."""
    s = Sketch(seed=8)
    x = s.dense(s.dense(s.input(1, 10), 3), 8)
    s.dense(s.add(RELU, x), 4)
    graph = s.graph()
    found = merged_pair(graph, "n0")
    assert found is not None
    assert weights(found) == [(10, 8), (8, 4)]
    inputs = dict(s.samples(3))
    np.testing.assert_allclose(execute(found, inputs)["v3"], execute(graph, inputs)["v3"], rtol=1e-4, atol=1e-5)
    assert merged_pair(graph, "n1") is None
    assert merged_pair(graph, "nowhere") is None
