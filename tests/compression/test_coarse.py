"""Weights of few bits: on their grid in the float net, in the twin and in the integers, and packed in the program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import blobs
from freeml.compression.allocate import Cuts, Estimator, Need, allocate, fewer_bits, floor, quicker
from freeml.compression.channels import find_channels, remove
from freeml.compression.coarse import coarse_bits, coarsen, largest_number, weight_axes, with_all_bits
from freeml.compression.head import find_head
from freeml.compression.scores import coarseness, importance
from freeml.compression.train import make_lesson, make_pages, retrain, right_answers
from freeml.compression.twin import Twin, run, step_name
from freeml.data import Dataset, load_dataset
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph, execute
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.plan.cost import load_cost_model
from freeml.plan.layout import to_channels_last
from freeml.plan.storage import pack_weights
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.targets import get
from ops.nets import nets

BITS = st.sampled_from((2, 4))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return run_passes(import_onnx(blobs.save_model(tmp_path_factory.mktemp("coarse") / "blobs.onnx")), PASSES)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(blobs.arrays(), (1, *blobs.IMAGE), seed=0)


def all_coarse(graph: Graph, bits: int = 4) -> Graph:
    for name in weight_axes(graph):
        graph = coarsen(graph, name, bits, book=False)
    return graph


def integer_weights(graph: Graph, samples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of every layer, by its first output."""
    seen = observe(graph, samples)
    qgraph = quantize(graph, seen, precision=Precision(), method="minmax", groups=fusion_groups(graph))
    return {
        stage.outputs[0]: qgraph.constants[stage.inputs[1]]
        for stage in qgraph.stages()
        if isinstance(stage.op, (QConv, QDense))
    }


@settings(max_examples=40)
@given(net=nets(), bits=BITS)
def test_the_integers_are_on_the_grid(net: tuple[Graph, dict[str, np.ndarray]], bits: int) -> None:
    """What quantization makes of coarse weights: whole numbers of few bits that stand for the very float weights."""
    graph, samples = net
    coarse = all_coarse(graph, bits)
    found = integer_weights(coarse, samples)
    for stage in coarse.stages():
        name = stage.inputs[1] if len(stage.inputs) > 1 else ""
        if name in coarse_bits(coarse):
            steps = coarse.brought[name].scale
            axis = weight_axes(coarse)[name]
            numbers = np.round(np.moveaxis(coarse.constants[name].astype(np.float64), axis, -1) / steps)
            assert np.abs(numbers).max() <= largest_number(bits)
            assert sorted(found[stage.outputs[0]].ravel()) == sorted(numbers.ravel().astype(int))


@settings(max_examples=40)
@given(net=nets(), bits=BITS)
def test_the_twin_of_a_coarse_net(net: tuple[Graph, dict[str, np.ndarray]], bits: int) -> None:
    graph, samples = net
    coarse = all_coarse(graph, bits)
    expected, found = execute(coarse, samples), run(coarse, samples)
    for name in graph.outputs:
        if graph.types[name].dtype == "float32":
            scale = max(1.0, float(np.abs(expected[name]).max()))
            assert float(np.abs(found[name] - expected[name]).max()) <= 1e-4 * scale, name
    back = Twin(coarse).to_graph()
    for name, bits_now in coarse_bits(coarse).items():
        np.testing.assert_allclose(back.constants[name], coarse.constants[name], rtol=1e-5, atol=1e-9)
        assert coarse_bits(back)[name] == bits_now


def test_the_grid_is_better_than_one_to_the_largest_weight(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    name = next(iter(weight_axes(graph)))
    heavy = np.sign(rng.normal(size=graph.constants[name].shape)) * rng.exponential(size=graph.constants[name].shape)
    graph = Graph(
        name=graph.name, inputs=graph.inputs, outputs=graph.outputs, types=graph.types, nodes=graph.nodes,
        constants={**graph.constants, name: heavy.astype(np.float32)},
    )  # fmt: skip
    found = coarsen(graph, name, 2, book=False)
    top = np.abs(heavy).reshape(len(heavy), -1).max(axis=1).reshape(-1, 1, 1, 1)
    plain = np.round(heavy / top) * top
    assert ((found.constants[name] - heavy) ** 2).sum() < 0.9 * ((plain - heavy) ** 2).sum()


def test_slopes_reach_weights_and_steps(graph: Graph) -> None:
    twin = Twin(all_coarse(graph))
    x = torch.randn((8, *graph.types[graph.inputs[0]].shape), generator=torch.Generator().manual_seed(0))
    twin({graph.inputs[0]: x})[graph.outputs[0]].square().sum().backward()
    for name in weight_axes(graph):
        for parameter in (twin.parameters[name], twin.parameters[step_name(name)]):
            assert parameter.grad is not None
            assert bool(parameter.grad.abs().sum() > 0)


def test_formats_go_along_with_channels(graph: Graph) -> None:
    """Removing channels of a coarse net is making the smaller net coarse by the same steps."""
    coarse, channels = all_coarse(graph), find_channels(graph)
    removed = frozenset(channels.units[::3])
    smaller = remove(coarse, find_channels(coarse), removed)
    plain = remove(graph, channels, removed)
    assert set(coarse_bits(smaller)) == set(weight_axes(graph))
    for name, axis in weight_axes(smaller).items():
        assert smaller.brought[name].scale.shape == (plain.constants[name].shape[axis],)
        numbers = np.moveaxis(smaller.constants[name], axis, -1) / smaller.brought[name].scale
        np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-4)


def test_retraining_mends_what_rounding_broke(graph: Graph, dataset: Dataset) -> None:
    head = find_head(graph)
    lesson, validation = make_lesson(graph, head, dataset.train), make_lesson(graph, head, dataset.val)
    coarse = all_coarse(graph, 2)
    trained = retrain(
        coarse, head, lesson, validation, make_pages(lesson, validation, seed=0), epochs=20, seed=0, show=lambda _: None
    )
    assert coarse_bits(trained) == dict.fromkeys(weight_axes(graph), 2)
    before, after = (right_answers(net, head, validation).mean() for net in (coarse, trained))
    assert before < 0.5
    assert after > before + 0.2


def test_scores_tell_two_bits_from_four(graph: Graph, dataset: Dataset) -> None:
    head = find_head(graph)
    lesson = make_lesson(graph, head, dataset.train)
    options = [(name, bits) for name in weight_axes(graph) for bits in (2, 4)]
    found = coarseness(graph, options, head, lesson, seed=0)
    for name in weight_axes(graph):
        assert 0 < found[name, 4] < found[name, 2]


def estimator(dataset: Dataset, graph: Graph) -> Estimator:
    inputs = {graph.inputs[0]: dataset.train.x[:8].reshape(8, *graph.types[graph.inputs[0]].shape)}
    return Estimator(board=get("msp430"), precision=Precision(), prices=None, inputs=inputs, whole_bytes=500)


def test_allocation_takes_bits_and_channels(graph: Graph, dataset: Dataset) -> None:
    """A budget of a sixth of the weights takes both; what is estimated is what a program with packed weights takes."""
    head, channels = find_head(graph), find_channels(graph)
    lesson = make_lesson(graph, head, dataset.train)
    judge = estimator(dataset, graph)
    scores = importance(graph, channels, head, lesson, seed=0)
    coarse = coarseness(graph, fewer_bits(graph), head, lesson, seed=0)
    least = judge.need(floor(graph, channels, packs=True)).flash
    limit = least + (judge.need(graph).flash - least) / 6
    cuts = allocate(graph, channels, scores, coarse, {}, judge, flash=limit, ram=1e9)
    assert cuts.units
    assert cuts.bits
    smaller = cuts.apply(graph, channels)
    assert judge.need(smaller).flash <= limit
    assert all(coarse_bits(smaller)[name] == bits for name, bits in cuts.bits.items())


@pytest.mark.parametrize("bits", [2, 4])
def test_bits_given_back_are_counted_at_once(graph: Graph, dataset: Dataset, bits: int) -> None:
    """What a layer takes with all its bits again is what it takes once training has spread its weights, and they stay
    about where they were."""
    coarse, judge, chance = all_coarse(graph, bits), estimator(dataset, graph), np.random.default_rng(0)
    for name in weight_axes(graph):
        back = with_all_bits(coarse, name)
        assert set(coarse_bits(back)) == set(coarse_bits(coarse)) - {name}
        before, after = coarse.constants[name], back.constants[name]
        assert np.square(after - before).sum() < 0.1 * np.square(before).sum()
        spread = chance.normal(size=before.shape).astype(np.float32)
        trained = replace(back, constants={**back.constants, name: spread})
        assert judge.need(back).flash == judge.need(trained).flash
        assert judge.need(back).flash > judge.need(coarse).flash


def test_time_is_made_to_follow_by_bits(graph: Graph, dataset: Dataset) -> None:
    """Layers get bits back until the net is as quick as it must be, and no longer; as far as that goes."""
    judge = replace(estimator(dataset, graph), prices=load_cost_model("msp430", "zig"))
    coarse, plain = all_coarse(graph), judge.need(graph)
    slow = judge.need(coarse)
    assert slow.cycles > plain.cycles
    found = quicker(coarse, judge, replace(plain, cycles=(slow.cycles + plain.cycles) // 2))
    assert 0 < len(coarse_bits(found)) < len(coarse_bits(coarse))
    assert judge.need(found).cycles <= (slow.cycles + plain.cycles) // 2
    assert not coarse_bits(quicker(coarse, judge, replace(plain, cycles=plain.cycles // 2)))
    assert quicker(coarse, judge, slow) is coarse


def test_nothing_goes_where_nothing_lacks(graph: Graph, dataset: Dataset) -> None:
    channels, judge = find_channels(graph), estimator(dataset, graph)
    need: Need = judge.need(graph)
    assert not allocate(graph, channels, {}, {}, {}, judge, flash=need.flash, ram=need.ram)
    assert not Cuts()


def test_coarse_nets_pack(graph: Graph, dataset: Dataset, tmp_path: Path) -> None:
    samples = {graph.inputs[0]: dataset.train.x[:8].reshape(8, *graph.types[graph.inputs[0]].shape)}
    coarse = all_coarse(graph)
    seen = observe(coarse, samples)
    qgraph = to_channels_last(
        quantize(coarse, seen, precision=Precision(), method="minmax", groups=fusion_groups(coarse))
    )
    packed = [s.op.packed for s in pack_weights(qgraph, 500).stages() if isinstance(s.op, (QConv, QDense))]
    assert [p is not None and (p.bits, p.book) for p in packed] == [(4, ())] * 3
    assert [p is not None and p.whole for p in packed] == [True, False, False]
