"""Steps of training: their pace, and batches in parts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compression.test_coarse import all_coarse

import blobs
from freeml.compression import train
from freeml.compression.head import find_head
from freeml.compression.train import Lesson, make_lesson, make_pages, pace, retrain
from freeml.compression.twin import Twin
from freeml.data import Dataset, load_dataset
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return run_passes(import_onnx(blobs.save_model(tmp_path_factory.mktemp("train") / "blobs.onnx")), PASSES)


@pytest.fixture(scope="module")
def lessons(graph: Graph) -> tuple[Lesson, Lesson]:
    dataset: Dataset = load_dataset(blobs.arrays(), (1, *blobs.IMAGE), seed=0)
    head = find_head(graph)
    return make_lesson(graph, head, dataset.train), make_lesson(graph, head, dataset.val)


def test_steps_rise_and_fall_to_nothing() -> None:
    steps = [pace(share) for share in np.linspace(0, 1, 101)]
    top = int(np.argmax(steps))
    assert steps[0] == pytest.approx(train.LEAST_PACE)
    assert steps[top] == pytest.approx(1.0)
    assert top == round(100 * train.WARM_SHARE)
    assert steps[-1] == pytest.approx(0.0)
    assert steps == sorted(steps[: top + 1]) + sorted(steps[top + 1 :], reverse=True)


def test_slopes_of_parts_are_those_of_the_whole(graph: Graph, lessons: tuple[Lesson, Lesson]) -> None:
    """Of a batch of any size, an odd one and one of a single sample among them, without norms."""
    head, twin = find_head(graph), Twin(graph)
    pages = make_pages(*lessons, seed=0)
    for batch in list(pages.read(0))[:2]:
        for count in (64, 7, 1):
            few = type(batch)(
                x=batch.x[:count], answers=tuple(a[:count] for a in batch.answers), rows=batch.rows[:count],
                share=None if batch.share is None else batch.share[:count],
            )  # fmt: skip
            with ThreadPoolExecutor(2) as pool:
                whole, halves = (train._slopes(twin, head, lessons[0], few, parts, pool) for parts in (1, 2))
            for name, slope in whole.items():
                np.testing.assert_allclose(halves[name], slope, rtol=1e-3, atol=1e-5 * float(slope.abs().max()) + 1e-9)


def test_training_in_parts_gives_the_same_bytes(
    graph: Graph, lessons: tuple[Lesson, Lesson], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side, in whatever order they end, as one after the other, as on a single core."""
    monkeypatch.setattr(train, "MACS_TO_SPLIT", 0)
    broken, found = all_coarse(graph, 2), []
    for threads in (2, 2, 1):
        monkeypatch.setattr(
            train, "ThreadPoolExecutor", lambda _, threads=threads, **more: ThreadPoolExecutor(threads, **more)
        )
        with train.one_thread():
            pages = make_pages(*lessons, seed=0)
            net = retrain(broken, find_head(graph), *lessons, pages, epochs=2, seed=0, show=lambda _: None)
        found.append({name: array.tobytes() for name, array in net.constants.items()})
    assert found[0] == found[1] == found[2]
    assert found[0] != {name: array.tobytes() for name, array in broken.constants.items()}
