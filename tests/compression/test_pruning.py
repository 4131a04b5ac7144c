"""Zeros: as the board reads weights, where they cost least, kept through training, channels and interruptions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

import blobs
from compiling import contents
from freeml.compression.allocate import Cuts, Estimator, allocate
from freeml.compression.budget import Budget
from freeml.compression.channels import find_channels
from freeml.compression.checkpoint import Kept
from freeml.compression.coarse import coarse_bits, coarsen, without_formats
from freeml.compression.graphtext import from_text
from freeml.compression.head import find_head
from freeml.compression.pruning import SHARES, Zeros, board_rows, ways_to_zero
from freeml.compression.scores import change_costs, salience
from freeml.compression.train import Lesson, make_lesson, make_pages, retrain
from freeml.data import Dataset, load_dataset
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.pipeline import compile_model
from freeml.plan.layout import to_channels_last
from freeml.plan.storage import ALIKE, FEW_BYTES
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.searching import search_folder
from freeml.targets import get
from ops.nets import nets

FRAMED, FRAME = (1, 16, 16), 4


def framed(noise: float = 0.0) -> dict[str, np.ndarray]:
    """The blobs in a frame of zeros or of noise: three of four inputs say nothing."""
    pads, rng = ((0, 0), (0, 0), (FRAME, FRAME), (FRAME, FRAME)), np.random.default_rng(5)
    padded = {name: np.pad(a, pads) if name.startswith("x") else a for name, a in blobs.arrays().items()}
    return {
        name: (a + noise * rng.normal(size=a.shape)).astype(np.float32) if name.startswith("x") else a
        for name, a in padded.items()
    }


def save_framed(path: Path, hidden: int = 40) -> Path:
    """Two dense layers over all of the frame: random features under a last layer that least squares found."""
    rng, found = np.random.default_rng(3), framed()
    x, y = found["x_train"].reshape(-1, 256), found["y_train"]
    first = rng.normal(size=(256, hidden)) / 8
    last = np.linalg.lstsq(np.maximum(x @ first, 0), np.eye(blobs.CLASSES)[y] * 8 - 4, rcond=None)[0]
    nodes = [
        helper.make_node("Flatten", ["image"], ["f"]),
        helper.make_node("MatMul", ["f", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in {"w1": first, "w2": last}.items()]
    graph = helper.make_graph(
        nodes, "framed", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", *FRAMED))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


@pytest.fixture(scope="module")
def framed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_framed(tmp_path_factory.mktemp("framed") / "framed.onnx")


@pytest.fixture(scope="module")
def framed_graph(framed_model: Path) -> Graph:
    return run_passes(import_onnx(framed_model), PASSES)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return run_passes(import_onnx(blobs.save_model(tmp_path_factory.mktemp("zeros") / "blobs.onnx")), PASSES)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(blobs.arrays(), (1, *blobs.IMAGE), seed=0)


@pytest.fixture(scope="module")
def framed_data() -> Dataset:
    return load_dataset(framed(), (1, *FRAMED), seed=0)


def lesson_of(graph: Graph, dataset: Dataset) -> Lesson:
    return make_lesson(graph, find_head(graph), dataset.train)


def estimator(dataset: Dataset, graph: Graph) -> Estimator:
    inputs = {graph.inputs[0]: dataset.train.x[:8].reshape(8, *graph.types[graph.inputs[0]].shape)}
    return Estimator(board=get("msp430"), precision=Precision(), prices=None, inputs=inputs, whole_bytes=500)


def ways(graph: Graph, dataset: Dataset, masks: dict[str, np.ndarray] | None = None) -> list[Zeros]:
    rows = estimator(dataset, graph).rows(graph)
    return ways_to_zero(
        graph, rows, masks or {}, salience(graph, rows, find_head(graph), lesson_of(graph, dataset), seed=0)
    )


@settings(max_examples=40)
@given(net=nets())
def test_rows_are_those_of_the_board(net: tuple[Graph, dict[str, np.ndarray]]) -> None:
    """Each float weight at the place where its integer is."""
    graph, samples = without_formats(net[0]), net[1]
    integers = quantize(
        graph, observe(graph, samples), precision=Precision(), method="minmax", groups=fusion_groups(graph)
    )
    found = board_rows(graph, integers)
    weights = {s.outputs[0]: s.inputs[1] for s in graph.stages() if len(s.inputs) > 1}
    names = {n.name: weights[n.stages[0].outputs[0]] for n in integers.nodes if isinstance(n.op, (QConv, QDense))}
    planned, seen = to_channels_last(integers), set()
    for node in planned.nodes:
        name = names.get(node.name, "")
        if name not in found:
            assert not isinstance(node.op, QDense) or node.op.wide
            continue
        seen.add(name)
        assert sorted(found[name].ravel()) == list(range(graph.constants[name].size))
        value = node.stages[0].inputs[1]
        rows = planned.constants[value].reshape(found[name].shape)
        exact = graph.constants[name].ravel()[found[name]].astype(np.float64)
        steps = (rows * exact).sum(axis=1, keepdims=True) / np.maximum((rows**2).sum(axis=1, keepdims=True), 1)
        assert (np.abs(rows * steps - exact) <= np.abs(steps)).all()
    assert seen == set(found)


def test_zeros_save_what_they_say(graph: Graph, dataset: Dataset) -> None:
    """In the plan, but for kept weights that quantization makes zero, and for forms of more bytes and fewer cycles."""
    judge = estimator(dataset, graph)
    before = judge.need(graph).flash
    found = ways(graph, dataset)
    assert len(found) >= 10
    for way in found:
        saved = before - judge.need(way.apply(graph)).flash
        stored = way.mask.size - way.saved_bytes
        assert abs(saved - way.saved_bytes) <= max((ALIKE - 1) * stored, FEW_BYTES) + 8
    again = ways(found[0].apply(graph), dataset, {found[0].name: found[0].mask})
    for way in (way for way in again if way.name == found[0].name):
        assert not np.any(way.mask & ~found[0].mask)


def test_blocks_are_whole_where_the_board_reads_them(graph: Graph, dataset: Dataset) -> None:
    rows = estimator(dataset, graph).rows(graph)
    name = max(rows, key=lambda n: rows[n].size)
    found = [w for w in ways(graph, dataset) if w.name == name]
    blocks = {w: w.mask.ravel()[rows[name]].reshape(-1, 4) for w in found}
    whole = [w for w in found if np.array_equal(blocks[w].any(axis=1), blocks[w].all(axis=1))]
    assert len(whole) == len(SHARES[4]) == len(found) - len(SHARES[1])
    assert [float(w.mask.mean()) for w in whole] == pytest.approx(SHARES[4], abs=0.02)


def test_what_inputs_never_say_goes_first_and_costs_nothing(framed_graph: Graph, framed_data: Dataset) -> None:
    head, lesson = find_head(framed_graph), lesson_of(framed_graph, framed_data)
    found = [w for w in ways(framed_graph, framed_data) if framed_graph.constants[w.name].shape[0] == 256]
    costs = change_costs(
        framed_graph, {w: (w.name, w.apply(framed_graph).constants[w.name]) for w in found}, head, lesson, seed=0
    )
    inside = np.pad(np.ones((8, 8), dtype=bool), FRAME).ravel()
    for way in found:
        left = way.mask.any(axis=1)
        if way.mask.mean() < 0.25 - 1e-9:
            assert not left[~inside].any()
            assert costs[way] > 1e-3
        else:
            assert way.mask[inside].all()
            assert costs[way] == 0.0


def test_masks_follow_channels_and_give_way_to_bits(graph: Graph, dataset: Dataset) -> None:
    channels = find_channels(graph)
    found = {way.name: way for way in ways(graph, dataset)}
    cuts = Cuts(units=frozenset(channels.units[::3]), kept=found)
    smaller, masks = cuts.apply(graph, channels), cuts.masks({}, channels)
    assert set(masks) == set(found)
    for name, mask in masks.items():
        assert mask.shape == smaller.constants[name].shape
        np.testing.assert_array_equal(smaller.constants[name] != 0, mask)
    coarse = next(iter(masks))
    assert set(Cuts(bits={coarse: 4}).masks(masks, find_channels(smaller))) == set(masks) - {coarse}
    lesson = lesson_of(graph, dataset)
    trained = retrain(
        smaller, find_head(smaller), lesson, lesson, make_pages(lesson, lesson, seed=0), epochs=3, seed=0,
        show=lambda _: None, masks=masks,
    )  # fmt: skip
    for name, mask in masks.items():
        assert not np.array_equal(trained.constants[name], smaller.constants[name])
        np.testing.assert_array_equal(trained.constants[name] != 0, mask)


def test_zeros_end_few_bits(graph: Graph, dataset: Dataset) -> None:
    way = max(ways(graph, dataset), key=lambda w: w.saved_bytes)
    coarse = coarsen(graph, way.name, 4)
    better = [w for w in ways(coarse, dataset) if w.name == way.name]
    assert 0 < len(better) < len([w for w in ways(graph, dataset) if w.name == way.name])
    assert coarse_bits(coarse)
    assert not coarse_bits(better[0].apply(coarse))


def test_allocation_takes_the_zeros_that_cost_nothing(framed_graph: Graph, framed_data: Dataset) -> None:
    judge, channels = estimator(framed_data, framed_graph), find_channels(framed_graph)
    head, lesson = find_head(framed_graph), lesson_of(framed_graph, framed_data)
    changed = {w: (w.name, w.apply(framed_graph).constants[w.name]) for w in ways(framed_graph, framed_data)}
    zeros = change_costs(framed_graph, changed, head, lesson, seed=0)
    limit = judge.need(framed_graph).flash - 5_000
    scores = dict.fromkeys(channels.units, 1.0)
    cuts = allocate(framed_graph, channels, scores, {}, zeros, judge, flash=limit, ram=1e9)
    assert cuts.kept
    assert not cuts.units
    assert judge.need(cuts.apply(framed_graph, channels)).flash <= limit
    assert not allocate(framed_graph, channels, scores, {}, zeros, judge, flash=1e9, ram=1e9)


def test_an_interrupted_search_keeps_its_zeros(framed_model: Path, tmp_path: Path) -> None:
    """Weights without their zeros are in the firmware, and the same ones when the search was interrupted."""
    data = framed(0.1)  # weights that meet zeros alone would not be trained anyway
    options = Options(budget=Budget(flash_bytes=9_600, max_drop_points=50))
    whole = compile_model(framed_model, options=options, data=data, output=tmp_path / "whole")
    assert re.search(rb"fm_dot_(block|delta|bitmap)_", whole.files["model.c"])
    seen: list[object] = []

    def stop(row: object) -> None:
        seen.append(row)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_model(framed_model, options=options, data=data, output=tmp_path / "out", on_round=stop)
    (path,) = search_folder(tmp_path / "out").glob("*.trial.json")
    kept = from_text(path.read_text())
    assert isinstance(kept, Kept)
    assert kept.state is not None
    for name, mask in kept.state.masks.items():
        np.testing.assert_array_equal(kept.state.graph.constants[name] != 0, mask)
    assert kept.state.masks
    again = compile_model(framed_model, options=options, data=data, output=tmp_path / "out")
    assert again.files == whole.files
    assert contents(tmp_path / "out")
