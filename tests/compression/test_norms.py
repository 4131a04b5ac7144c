"""Batch norms while a net is trained: they change nothing at first, and nothing when they are folded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compression.test_coarse import all_coarse
from hypothesis import given, settings

from freeml.compression.coarse import coarse_bits
from freeml.compression.norms import normed_layers
from freeml.compression.twin import Twin, gains_name, run
from freeml.ir.graph import Graph
from freeml.ops.clip import Clip
from freeml.ops.reshape import Reshape
from ops.nets import nets
from ops.sketch import Sketch


def tensors(graph: Graph, samples: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(samples[name]) for name in graph.inputs}


def check_outputs(graph: Graph, found: dict[str, np.ndarray], expected: dict[str, np.ndarray], bound: float) -> None:
    for name in graph.outputs:
        if graph.types[name].dtype == "float32":
            scale = max(1.0, float(np.abs(expected[name]).max()))
            assert float(np.abs(found[name] - expected[name]).max()) <= bound * scale, name


def within(twin: Twin, samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a net in training gives, in a batch of these samples."""
    return {name: value.detach().numpy() for name, value in twin(tensors(twin.graph, samples)).items()}


@settings(max_examples=40)
@given(net=nets())
def test_norms_begin_and_end_as_nothing(net: tuple[Graph, dict[str, np.ndarray]]) -> None:
    """Put in and folded again they leave what the net computes, with the samples they were put in for."""
    graph, samples = net
    expected, twin = run(graph, samples), Twin(graph)
    twin.normalise(tensors(graph, samples))
    check_outputs(graph, run(twin.to_graph(), samples), expected, 1e-3)
    check_outputs(graph, within(twin, samples), expected, 1e-3)


def net() -> Sketch:
    sketch = Sketch()
    one = sketch.add(Clip(low=0.0, high=6.0), sketch.conv(sketch.input(1, 3, 8, 8), 6, (3, 3)))
    two = sketch.conv(sketch.conv(one, 6, (3, 3), group=6), 5, (1, 1))
    flat = sketch.add(Reshape(shape=(1, 80)), two)
    sketch.dense(sketch.dense(flat, 4), 3)
    return sketch


def trained(twin: Twin, samples: dict[str, np.ndarray], steps: int = 8) -> None:
    x = tensors(twin.graph, samples)
    for _ in range(steps):
        twin(x)[twin.graph.outputs[0]].square().mean().backward()
        with torch.no_grad():
            for tensor in twin.parameters.values():
                assert tensor.grad is not None
                tensor -= 0.02 * torch.sign(tensor.grad)
                tensor.grad = None


@pytest.mark.parametrize("bits", [None, 2, 4])
def test_a_trained_net_is_folded_with_the_statistics_of_its_batches(bits: int | None) -> None:
    """After training the folded net is what the norms say with the statistics they have gathered."""
    sketch = net()
    graph = sketch.graph() if bits is None else all_coarse(sketch.graph(), bits)
    samples, twin = sketch.samples(64), Twin(graph)
    twin.normalise(tensors(graph, samples))
    trained(twin, samples)
    back = twin.to_graph()
    assert coarse_bits(back) == coarse_bits(graph)
    changed = run(graph, samples)[graph.outputs[0]] - run(back, samples)[graph.outputs[0]]
    assert float(np.abs(changed).max()) > 0.01
    for _ in range(100):  # the statistics come to be those of these samples
        expected = within(twin, samples)
    # 0.02: torch gathers the variance of a sample, not that of these 64, and a dense layer has no more numbers than that
    check_outputs(graph, run(twin.to_graph(), samples), expected, 0.02)


def test_only_layers_with_layers_behind_them_have_norms() -> None:
    graph = net().graph()
    stages = [stage for stage in graph.stages() if len(stage.inputs) > 2]
    assert normed_layers(graph) == {stage.inputs[1]: stage.inputs[2] for stage in stages[:-1]}


def test_gains_are_trained() -> None:
    sketch = net()
    twin = Twin(sketch.graph())
    twin.normalise(tensors(twin.graph, sketch.samples(32)))
    names = {gains_name(name) for name in normed_layers(twin.graph)}
    before = {name: twin.parameters[name].detach().clone() for name in names}
    trained(twin, sketch.samples(32), steps=1)
    assert all((twin.parameters[name] != gains).any() for name, gains in before.items())


def test_a_batch_of_one_is_taken_by_what_is_known() -> None:
    """A single sample has no statistics of a dense layer: those of earlier batches count, and do not change."""
    sketch = Sketch()
    sketch.dense(sketch.dense(sketch.input(1, 5), 4), 3)
    graph, twin = sketch.graph(), Twin(sketch.graph())
    twin.normalise(tensors(graph, sketch.samples(64)))
    one = sketch.samples(1, seed=7)
    check_outputs(graph, within(twin, one), run(graph, one), 1e-4)


def test_a_dead_channel_stays_finite() -> None:
    sketch = net()
    graph = sketch.graph()
    name = next(iter(normed_layers(graph)))
    array = graph.constants[name].copy()
    array[0] = 0.0
    twin = Twin(Graph(
        name=graph.name, inputs=graph.inputs, outputs=graph.outputs, types=graph.types, nodes=graph.nodes,
        constants={**graph.constants, name: array},
    ))  # fmt: skip
    twin.normalise(tensors(graph, sketch.samples(32)))
    trained(twin, sketch.samples(32))
    assert all(np.isfinite(array).all() for array in twin.to_graph().constants.values())
