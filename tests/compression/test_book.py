"""Codebooks of weights: what k-means finds, what the twin trains, and what the integers, a checkpoint and cuts keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import blobs
from compiling import compiled, contents, flash
from freeml.artifact import Artifact
from freeml.compression.book import LARGEST_LEVEL
from freeml.compression.budget import Budget
from freeml.compression.channels import find_channels, remove
from freeml.compression.coarse import coarsen, weight_axes
from freeml.compression.graphtext import from_text, to_text
from freeml.compression.head import Head, find_head
from freeml.compression.train import Lesson, make_lesson, make_pages, retrain, right_answers
from freeml.compression.twin import Twin, levels_name, run, step_name
from freeml.data import load_dataset
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph, execute
from freeml.ir.types import FloatArray
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import Packed
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.pipeline import compile_model
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from ops.nets import nets

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "models"
BITS = st.sampled_from((2, 4))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return run_passes(import_onnx(blobs.save_model(tmp_path_factory.mktemp("book") / "blobs.onnx")), PASSES)


@pytest.fixture(scope="module")
def lessons(graph: Graph) -> tuple[Head, Lesson, Lesson]:
    dataset, head = load_dataset(blobs.arrays(), (1, *blobs.IMAGE), seed=0), find_head(graph)
    return head, make_lesson(graph, head, dataset.train), make_lesson(graph, head, dataset.val)


def booked(graph: Graph, bits: int) -> Graph:
    """Every layer's weights of a book."""
    for name in weight_axes(graph):
        graph = coarsen(graph, name, bits, book=True)
    return graph


def rows(graph: Graph, name: str) -> FloatArray:
    """Weights (output channels, length)."""
    moved = np.moveaxis(graph.constants[name].astype(np.float64), weight_axes(graph)[name], 0)
    return moved.reshape(len(moved), -1)


def lost(graph: Graph, coarse: Graph, name: str) -> float:
    """Squared error, relative to the squares of the weights."""
    return float(((rows(coarse, name) - rows(graph, name)) ** 2).sum() / (rows(graph, name) ** 2).sum())


@settings(max_examples=25)
@given(net=nets(), bits=BITS)
def test_the_integers_are_of_the_book(net: tuple[Graph, dict[str, np.ndarray]], bits: int) -> None:
    """What quantization makes of them: levels of the book, and the very float weights; the twin computes the same, and
    gives back what it was given."""
    graph, samples = net
    coarse = booked(graph, bits)
    integers = quantize(
        coarse, observe(coarse, samples), precision=Precision(), method="minmax", groups=fusion_groups(coarse)
    )
    found = {
        stage.outputs[0]: integers.constants[stage.inputs[1]]
        for stage in integers.stages()
        if isinstance(stage.op, (QConv, QDense))
    }
    for stage in coarse.stages():
        name = stage.inputs[1] if len(stage.inputs) > 1 else ""
        if name in weight_axes(coarse):
            levels = coarse.brought[name].levels
            assert 0 < len(levels) <= 1 << bits
            assert tuple(sorted(set(levels))) == levels
            assert max(map(abs, levels)) <= LARGEST_LEVEL
            numbers = np.round(rows(coarse, name) / coarse.brought[name].scale[:, np.newaxis])
            assert sorted(found[stage.outputs[0]].ravel()) == sorted(numbers.ravel().astype(int))
            assert set(found[stage.outputs[0]].ravel().tolist()) <= set(levels)
    back = Twin(coarse).to_graph()
    for name in weight_axes(coarse):
        assert back.brought[name].levels == coarse.brought[name].levels
        np.testing.assert_allclose(back.constants[name], coarse.constants[name], rtol=1e-5, atol=1e-9)
    expected, by_twin = execute(coarse, samples), run(coarse, samples)
    for name in graph.outputs:
        if graph.types[name].dtype == "float32":
            scale = max(1.0, float(np.abs(expected[name]).max()))
            assert float(np.abs(by_twin[name] - expected[name]).max()) <= 1e-4 * scale, name


@pytest.mark.parametrize("spread", ["normal", "laplace", "uniform"])
def test_a_book_is_nearer_than_multiples(graph: Graph, spread: str) -> None:
    """For weights of channels of unlike size."""
    rng = np.random.default_rng(3)
    draw = {"normal": rng.normal, "laplace": rng.laplace, "uniform": lambda size: rng.uniform(-1, 1, size)}[spread]
    weights = draw(size=(16, 60)) * np.logspace(-3, 0, 16)[:, np.newaxis]
    layer = next(name for name, axis in weight_axes(graph).items() if axis == 1)
    shape = (60, 16)
    graph = replace(
        graph,
        constants={**graph.constants, layer: weights.T.astype(np.float32)},
        types={**graph.types, layer: replace(graph.types[layer], shape=shape)},
    )
    for bits, share in ((2, 0.8), (4, 1.0)):
        book, multiples = (lost(graph, coarsen(graph, layer, bits, book=book), layer) for book in (True, False))
        assert book <= share * multiples, bits


@pytest.mark.parametrize("net", ["lenet5", "har", "dscnn", "resnet"])
def test_books_of_the_example_nets(net: str) -> None:
    """In every layer at most the error of multiples; `pytest -s` prints the table of docs/compression.md."""
    graph = run_passes(import_onnx(EXAMPLES / f"{net}.onnx"), PASSES)
    for bits in (4, 2):
        found = [
            [lost(graph, coarsen(graph, name, bits, book=book), name) for name in weight_axes(graph)]
            for book in (False, True)
        ]
        multiples, books = (np.array(errors) for errors in found)
        print(f"{net}, {bits} bits: {100 * multiples.mean():.2f} % -> {100 * books.mean():.2f} %, mean of layers")
        assert (books <= multiples + 1e-9).all()
        assert books.mean() < (0.7 if bits == 2 else 0.9) * multiples.mean()


def test_few_numbers_are_their_own_book(graph: Graph) -> None:
    """Four values, a step for each channel: found again, whatever they are."""
    rng = np.random.default_rng(5)
    name = next(iter(weight_axes(graph)))
    shape = graph.constants[name].shape
    steps = rng.uniform(0.5, 2.0, shape[0]).reshape(-1, 1, 1, 1)
    weights = rng.choice([-1.0, -0.2, 0.15, 0.7], size=shape) * steps
    graph = replace(graph, constants={**graph.constants, name: weights.astype(np.float32)})
    assert lost(graph, coarsen(graph, name, 2, book=True), name) < 1e-4
    zeros = replace(graph, constants={**graph.constants, name: np.zeros(shape, dtype=np.float32)})
    assert not coarsen(zeros, name, 4, book=True).constants[name].any()


def test_the_slope_of_a_level_is_the_sum_of_those_of_its_weights(graph: Graph) -> None:
    coarse = booked(graph, 2)
    twin = Twin(coarse)
    x = torch.randn((8, *graph.types[graph.inputs[0]].shape), generator=torch.Generator().manual_seed(0))
    twin({graph.inputs[0]: x})[graph.outputs[0]].square().sum().backward()
    for name in weight_axes(graph):
        weights, levels = twin.parameters[name], twin.parameters[levels_name(name)]
        steps = twin.parameters[step_name(name)].detach().exp()
        assert weights.grad is not None
        assert levels.grad is not None
        numbers = (weights.detach() / steps).round()
        expected = [float((weights.grad * steps)[numbers == level].sum()) for level in levels.detach()]
        np.testing.assert_allclose(levels.grad.numpy(), expected, rtol=1e-3, atol=1e-3 * max(map(abs, expected)))
        assert any(expected)


def test_training_through_the_book(graph: Graph, lessons: tuple[Head, Lesson, Lesson]) -> None:
    """It mends what rounding to 2 bits broke; levels and steps move, and the net that comes back is of its book."""
    head, lesson, validation = lessons
    coarse, pages = booked(graph, 2), make_pages(lesson, validation, seed=0)
    trained = retrain(coarse, head, lesson, validation, pages, epochs=20, seed=0, show=lambda _: None)
    before, after = (right_answers(net, head, validation).mean() for net in (coarse, trained))
    assert after > before + 0.1
    for name in weight_axes(graph):
        was, now = coarse.brought[name], trained.brought[name]
        assert now.levels != was.levels
        assert not np.array_equal(now.scale, was.scale)
        numbers = rows(trained, name) / now.scale[:, np.newaxis]
        np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-4)
        assert set(np.round(numbers).ravel().astype(int).tolist()) <= set(now.levels)


def test_what_was_stored_trains_on_to_the_same_bytes(graph: Graph, lessons: tuple[Head, Lesson, Lesson]) -> None:
    head, lesson, validation = lessons
    coarse = booked(graph, 2)
    again = from_text(to_text(coarse))
    assert to_text(again) == to_text(coarse)
    ends = []
    for net in (coarse, again):
        pages = make_pages(lesson, validation, seed=0)
        ends.append(retrain(net, head, lesson, validation, pages, epochs=2, seed=0, show=lambda _: None))
    assert to_text(ends[0]) == to_text(ends[1])
    assert to_text(ends[0].brought) != to_text(coarse.brought)


def test_books_go_along_with_channels(graph: Graph) -> None:
    coarse = booked(graph, 4)
    channels = find_channels(coarse)
    smaller = remove(coarse, channels, frozenset(channels.units[::3]))
    for name in weight_axes(smaller):
        kept, before = smaller.brought[name], coarse.brought[name]
        assert kept.levels == before.levels
        numbers = rows(smaller, name) / kept.scale[:, np.newaxis]
        assert set(np.round(numbers).ravel().astype(int).tolist()) <= set(before.levels)
        assert smaller.constants[name].size < coarse.constants[name].size


@pytest.fixture(scope="module")
def tight(plain: Artifact) -> Budget:
    """6 % of the weights: 2 bits somewhere."""
    return Budget(flash_bytes=flash(plain) - plain.report["bytes"]["weights"] * 94 // 100, max_drop_points=100.0)


@pytest.mark.nightly
def test_a_search_makes_books_and_goes_on_with_them(model: Path, tight: Budget, tmp_path: Path) -> None:
    """Interrupted behind the round that made one, it ends with the bytes of a search that was not."""
    whole = compiled(model, tight)
    layers = [stage for stage in whole.graph.stages() if isinstance(stage.op, (QConv, QDense))]
    books = {s.inputs[1]: s.op.packed.book for s in layers if isinstance(s.op.packed, Packed) and s.op.packed.bits == 2}
    assert books
    for name, book in books.items():
        assert set(whole.graph.constants[name].ravel().tolist()) <= set(book)
    seen: list[object] = []

    def stop(row: object) -> None:
        seen.append(row)
        if len(seen) == len(whole.report["compression"]["rounds"]) - 1:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compile_model(model, options=Options(budget=tight), data=blobs.arrays(), output=out, on_round=stop)
    kept = next((tmp_path / "out.search").glob("*.trial.json"))
    assert any(b.levels for b in from_text(kept.read_text()).state.graph.brought.values())
    compile_model(model, options=Options(budget=tight), data=blobs.arrays(), output=out)
    assert contents(out) == whole.files
