"""Removing channels: the smaller graph computes what the whole one does once nobody reads those channels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.compression.channels import KEPT, Channels, find_channels, remove
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph, execute
from freeml.ops.add import Add
from freeml.ops.base import FloatOp
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.prelu import PRelu
from freeml.ops.reshape import Reshape
from freeml.ops.slice import Slice
from freeml.ops.softmax import Softmax
from freeml.ops.transpose import Transpose
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from ops.nets import nets
from ops.sketch import Sketch

MODELS = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx"))


def silenced(graph: Graph, channels: Channels, removed: frozenset[int]) -> Graph:
    """The whole graph with zero weights wherever a convolution or dense layer reads a removed channel."""
    constants = {name: array.copy() for name, array in graph.constants.items()}
    for stage in graph.stages():
        source = channels.labels.get(stage.inputs[0])
        reads = isinstance(stage.op, Dense) or (isinstance(stage.op, Conv) and stage.op.group == 1)
        if source is None or not reads:
            continue
        gone = np.isin(source.ids, sorted(removed))
        weights = constants[stage.inputs[1]]
        np.moveaxis(weights, 0 if isinstance(stage.op, Dense) else 1, 0)[gone] = 0.0
    return replace(graph, constants=constants)


def check(graph: Graph, samples: dict[str, np.ndarray], removed: frozenset[int]) -> Graph:
    """Outputs of the smaller graph equal those of the silenced one."""
    channels = find_channels(graph)
    smaller = remove(graph, channels, removed)
    expected, found = execute(silenced(graph, channels, removed), samples), execute(smaller, samples)
    for name in graph.outputs:
        if graph.types[name].dtype == "int64":
            continue
        scale = max(1.0, float(np.abs(expected[name]).max()))
        np.testing.assert_allclose(found[name], expected[name], atol=2e-5 * scale, rtol=0, err_msg=name)
    return smaller


def inputs(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=(3, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_example_nets(path: Path) -> None:
    """A third of everything that can go, and all of it."""
    graph = run_passes(import_onnx(path), PASSES)
    channels = find_channels(graph)
    for removed in (frozenset(sorted(channels.floor())[::3]), channels.floor()):
        smaller = check(graph, inputs(graph), removed)
        assert sum(a.size for a in smaller.constants.values()) < sum(a.size for a in graph.constants.values())
        assert [smaller.types[v] for v in graph.outputs] == [graph.types[v] for v in graph.outputs]


@settings(max_examples=120)
@given(nets(), st.randoms(use_true_random=False))
def test_random_nets(net: tuple[Graph, dict[str, np.ndarray]], chance: object) -> None:
    graph, samples = net
    channels = find_channels(graph)
    floor = sorted(channels.floor())
    removed = frozenset(unit for unit in floor if chance.random() < 0.6)  # type: ignore[attr-defined]
    check(graph, samples, removed)


def units(*counts: int, op: FloatOp | None = None) -> list[int]:
    """Sizes of a chain's families: dense layers of so many outputs with an operator between them."""
    sketch = Sketch()
    value = sketch.input(1, 5)
    for count in counts:
        value = sketch.dense(value, count)
        if op is not None:
            value = sketch.add(op, value)
    sketch.dense(value, 2)
    return [len(family) for family in find_channels(sketch.graph()).families]


def test_families_of_a_chain() -> None:
    assert units(7, 4) == [7, 4]
    assert units(7, 4, op=Clip(low=0.0, high=1.0)) == [7, 4]
    assert units(7, 4, op=Softmax(axis=1)) == []


def test_the_residual_net() -> None:
    """One family for each inner convolution, one for each residual stream."""
    graph = run_passes(import_onnx(next(p for p in MODELS if p.stem == "resnet")), PASSES)
    assert sorted(len(family) for family in find_channels(graph).families) == [12, 12, 28, 28, 28]


def test_depthwise_goes_with_its_input() -> None:
    graph = run_passes(import_onnx(next(p for p in MODELS if p.stem == "dscnn")), PASSES)
    channels = find_channels(graph)
    assert [len(family) for family in channels.families] == [16, 32, 64, 96]
    smaller = remove(graph, channels, frozenset(channels.families[1][:5]))
    groups = [stage.op.group for stage in smaller.stages() if isinstance(stage.op, Conv)]
    assert groups == [1, 16, 1, 27, 1, 64, 1]


def test_flatten_takes_a_block_of_rows() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(1, 1, 6, 6), 4, (3, 3))
    pooled = sketch.add(MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0))), x)
    sketch.dense(sketch.add(Reshape(shape=(1, 16)), pooled), 3)
    graph = sketch.graph()
    channels = find_channels(graph)
    smaller = check(graph, inputs(graph), frozenset(channels.units[1:3]))
    assert smaller.constants["c2"].shape == (8, 3)


def test_channels_last_then_flatten() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(1, 1, 4, 4), 4, (3, 3))
    moved = sketch.add(Transpose(perm=(0, 2, 3, 1)), x)
    sketch.dense(sketch.add(Reshape(shape=(1, 16)), moved), 3)
    graph = sketch.graph()
    channels = find_channels(graph)
    assert channels.labels["v2"].ids.tolist() == [1, 2, 3, 4] * 4
    check(graph, inputs(graph), frozenset((2, 4)))


def test_operands_cut_along() -> None:
    """Slopes, gains of a squeeze-and-excitation, and a concatenation lose the same channels."""
    sketch = Sketch()
    x = sketch.conv(sketch.input(1, 2, 5), 4, (1,))
    y = sketch.add(PRelu(), x, sketch.normal(4, 1))
    gain = sketch.conv(y, 4, (5,))
    scaled = sketch.add(Mul(), y, gain)
    both = sketch.add(Concat(axis=1), scaled, sketch.conv(y, 3, (1,)))
    sketch.conv(both, 2, (2,))
    graph = sketch.graph()
    channels = find_channels(graph)
    assert sorted(len(f) for f in channels.families) == [3, 4]
    check(graph, inputs(graph), frozenset((1, 3, channels.units[-1])))


@pytest.mark.parametrize("how", ["output", "slice", "shared", "input sum", "grouped"])
def test_what_is_never_removed(how: str) -> None:
    sketch = Sketch()
    x = sketch.conv(source := sketch.input(1, 4, 6), 4, (1,))
    if how == "slice":
        x = sketch.add(Slice(starts=(0, 0, 0), steps=(1, 1, 1), sizes=(1, 3, 6)), x)
    elif how == "shared":
        x = sketch.add(sketch.nodes[0].op, x, *sketch.nodes[0].inputs[1:])
    elif how == "input sum":
        x = sketch.add(Add(), x, source)
    elif how == "grouped":
        x = sketch.conv(x, 4, (1,), group=2)
    last = sketch.conv(x, 3, (1,))
    graph = sketch.graph(*((x, last) if how == "output" else (last,)))
    assert find_channels(graph).units == ()


def test_the_last_channel_stays() -> None:
    sketch = Sketch()
    sketch.dense(sketch.dense(sketch.input(1, 3), 4), 2)
    graph = sketch.graph()
    channels = find_channels(graph)
    assert len(channels.units) == 4
    assert len(channels.floor()) == 3
    assert KEPT not in channels.units
    with pytest.raises(ValueError, match="one channel left"):
        remove(graph, channels, frozenset(channels.units))
