"""SparseComp on nets small enough to train in seconds, and its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from blobs import arrays, save_model
from freeml.compression import sparsecomp as module
from freeml.compression.allocate import Estimator
from freeml.compression.budget import Budget
from freeml.compression.head import find_head
from freeml.compression.search import Compressed
from freeml.compression.sparsecomp import factorized, integers, large_layers, largest_mask, sparsecomp, weight_arrays
from freeml.compression.train import make_lesson, make_pages, retrain
from freeml.data import Dataset, Part, load_dataset
from freeml.errors import CompressionError, DataError, FreemlError
from freeml.evaluate import quantized_predictions
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph, QGraph, execute
from freeml.ir.types import Array
from freeml.making import quantize_graph
from freeml.ops.clip import Clip
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.pipeline import compile_model
from freeml.plan.storage import fewest_bytes
from freeml.quant.quantize import Precision
from freeml.targets import get as get_board
from ops.sketch import Sketch

REST = 3000
"""Bytes of a firmware that are not weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A firmware whose weights are stored with their zeros left out."""

    qgraph: QGraph
    ram_bytes: int = 100
    energy_joules: float = 1e-3

    @property
    def flash_bytes(self) -> int:
        """Everything."""
        return REST + sum(
            fewest_bytes(values.reshape(len(values), -1))
            for name, values in self.qgraph.constants.items()
            if self.qgraph.types[name].dtype == "int8"
        )

    def predictions(self, x: Array, threshold: float | None) -> Array:
        """Those of the integer net."""
        return quantized_predictions(self.qgraph, x, threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A net, its data with a test part that nobody may touch, and how a firmware is made."""

    graph: Graph
    dataset: Dataset

    def attempt(self, graph: Graph) -> Stored:
        calibration = {graph.inputs[0]: self.dataset.train.x[:64].reshape(-1, 1, 1, 8, 8)}
        choice, _ = quantize_graph(graph, calibration, self.dataset, Options())
        return Stored(qgraph=choice.qgraph)

    def run(self, flash_bytes: int, **more: object) -> Compressed[Stored]:
        x = self.dataset.train.x[:64].reshape(-1, 1, 1, 8, 8)
        estimator = Estimator(
            board=get_board("msp430"), precision=Precision(), prices=None, inputs={self.graph.inputs[0]: x}
        )
        budget = Budget(flash_bytes=flash_bytes, max_drop_points=cast(float, more.get("max_drop_points", 5.0)))
        return sparsecomp(
            self.graph, self.dataset, budget,
            attempt=self.attempt, estimator=estimator, seed=0, show=lambda *_: None,
        )  # fmt: skip


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    path = save_model(tmp_path_factory.mktemp("sparse") / "net.onnx")
    graph = run_passes(import_onnx(path), PASSES)
    dataset = load_dataset(arrays(), graph.types[graph.inputs[0]].shape)
    return Setting(graph=graph, dataset=replace(dataset, test=cast(Part, None)))


@pytest.fixture(scope="module")
def whole(setting: Setting) -> int:
    """Bytes of the firmware as it is."""
    return setting.attempt(setting.graph).flash_bytes


@pytest.fixture(scope="module")
def fifth(setting: Setting, whole: int) -> Compressed[Stored]:
    """A fifth of the bytes of weights."""
    return setting.run(REST + (whole - REST) // 5)


def test_it_runs_to_its_target(setting: Setting, whole: int, fifth: Compressed[Stored]) -> None:
    assert fifth.built.flash_bytes <= REST + (whole - REST) // 5
    first, *steps, last = fifth.rounds
    assert first.built
    assert last.built
    assert len(steps) >= 3
    assert [s.flash for s in steps] == sorted((s.flash for s in steps), reverse=True)
    assert first.validation - last.validation <= 0.05
    assert first.validation > 0.9


def weights(graph: Graph) -> list[str]:
    return list(weight_arrays(graph))


def test_zeros_stay_zero_through_quantization(fifth: Compressed[Stored]) -> None:
    """As many as in the float net at least, layer by layer."""
    floats = [fifth.graph.constants[name] for name in weights(fifth.graph)]
    ints = [v for n, v in fifth.built.qgraph.constants.items() if fifth.built.qgraph.types[n].dtype == "int8"]
    assert len(ints) == len(floats)
    for real, integer in zip(floats, ints, strict=True):
        assert np.count_nonzero(integer) <= np.count_nonzero(real)
    assert any(np.count_nonzero(real) < real.size / 3 for real in floats)


def test_same_seed_same_net(setting: Setting, whole: int, fifth: Compressed[Stored]) -> None:
    again = setting.run(REST + (whole - REST) // 5)
    assert {k: v.tobytes() for k, v in again.graph.constants.items()} == {
        k: v.tobytes() for k, v in fifth.graph.constants.items()
    }


def test_fragile_layers(setting: Setting, whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where any step is too much, each is taken back once; then the largest is forced, and only ever the largest."""
    monkeypatch.setattr(module, "FRAGILE_POINTS", -1000.0)
    steps: list[tuple[str, bool]] = []
    order: list[int] = []
    lower = module._SparseComp._lower

    def watched(self: module._SparseComp[Stored], name: str) -> None:
        before = self.graph
        forced = name in self.fragile
        largest = max(self.sizes(), key=lambda n: (self.sizes()[n], n))
        lower(self, name)
        steps.append((name, forced))
        assert (self.graph is before) == (not forced), "taken back, but for what is forced"
        assert not forced or name == largest
        order.append(before.constants[name].size)

    monkeypatch.setattr(module._SparseComp, "_lower", watched)
    found = setting.run(REST + (whole - REST) // 3, max_drop_points=100.0)
    tried = [name for name, forced in steps if not forced]
    assert sorted(tried) == sorted(weights(setting.graph))
    assert all(forced for _, forced in steps[len(tried) :])
    assert order[: len(tried)] == sorted(order[: len(tried)], reverse=True), "the largest first"
    assert len(steps) > len(tried)
    assert found.built.flash_bytes <= REST + (whole - REST) // 3


def test_a_target_that_weights_cannot_meet(setting: Setting) -> None:
    with pytest.raises(CompressionError, match=r"what is not weights takes flash 3,0\d\d B, and RAM 100 B"):
        setting.run(REST - 1)


def test_nothing_left_to_lose(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target below one weight in each layer ends, with the front."""
    monkeypatch.setitem(module.PACES, "quick", module.Pace(kept=0.01, epochs=1))
    with pytest.raises(CompressionError, match="not met by any firmware") as caught:
        setting.run(REST + 5)
    assert len(cast(list[object], caught.value.details["front"])) > 3


def test_an_accuracy_that_is_lost(setting: Setting) -> None:
    with pytest.raises(CompressionError, match=r"points of accuracy on 200 validation samples") as caught:
        setting.run(REST + 130, max_drop_points=0.0)
    front = cast(list[dict[str, float]], caught.value.details["front"])
    assert front[-1]["flash"] <= REST + 130


def test_one_class(setting: Setting) -> None:
    train = setting.dataset.train
    one = replace(setting.dataset, train=replace(train, y=np.zeros_like(train.y)))
    with pytest.raises(DataError, match="at least two classes"):
        Setting(graph=setting.graph, dataset=one).run(REST)


# --- parts
# ---------


def test_masks_hold_in_training(setting: Setting) -> None:
    graph, name = setting.graph, weights(setting.graph)[1]
    mask = largest_mask(graph.constants[name], 100)
    start = replace(graph, constants={**graph.constants, name: graph.constants[name] * mask})
    head = find_head(graph)
    lesson, validation = (make_lesson(graph, head, part) for part in (setting.dataset.train, setting.dataset.val))
    pages = make_pages(lesson, validation, seed=0)
    found = retrain(
        start, head, lesson, validation, pages, epochs=3, seed=0, show=lambda _: None, masks={name: mask}
    ).constants[name]
    assert not found[~mask].any()
    assert not np.array_equal(found[mask], start.constants[name][mask]), "the others were trained"
    free = retrain(start, head, lesson, validation, pages, epochs=3, seed=0, show=lambda _: None).constants[name]
    assert free[~mask].any()


def test_largest_mask() -> None:
    values = np.array([[0.5, -2.0, 0.5], [0.1, 0.5, 1.0]], dtype=np.float32)
    assert largest_mask(values, 3).tolist() == [[True, True, False], [False, False, True]]


def test_integers_are_the_quantizer_s(setting: Setting) -> None:
    qgraph = setting.attempt(setting.graph).qgraph
    stored = [v for n, v in qgraph.constants.items() if qgraph.types[n].dtype == "int8"]
    ours = [integers(setting.graph.constants[n], axis, 8) for n, axis in weight_arrays(setting.graph).items()]
    assert [v.size for v in stored] == [v.size for v in ours]
    assert all(np.abs(v).max() == 127 for v in ours)


def low_rank_net() -> tuple[Graph, dict[str, np.ndarray]]:
    """A convolution and a dense layer above 80 kB of low rank under noise, and a small dense layer."""
    s, rng = Sketch(seed=1), np.random.default_rng(1)
    x = s.conv(s.input(1, 40, 6, 6), 64, (3, 3))
    x = s.add(Clip(low=0.0, high=float("inf")), s.conv(x, 8, (4, 4)))
    x = s.conv(x, 150, (1, 1))
    x = s.add(Clip(low=0.0, high=float("inf")), x)
    s.conv(s.conv(x, 160, (1, 1)), 3, (1, 1))
    graph = s.graph()
    constants = dict(graph.constants)
    kernel = np.einsum("or,rskl,sc->ockl", *(rng.normal(size=n) for n in ((64, 6), (6, 5, 3, 3), (5, 40))))
    constants["c0"] = (kernel + 0.5 * rng.normal(size=kernel.shape)).astype(np.float32) / 50
    return replace(graph, constants=constants), dict(s.samples(4))


def test_factorize() -> None:
    """The convolution of 92 kB to the ranks it was made of; the 1x1 of 96 kB, which has full rank, stays."""
    graph, samples = low_rank_net()
    conv, pointwise = large_layers(graph)[::-1]
    assert factorized(graph, pointwise) is None
    only = factorized(graph, conv)
    assert only is not None
    assert [only.constants[s.inputs[1]].shape for s in only.stages() if len(s.inputs) > 1][:3] == [
        (5, 40, 1, 1),
        (6, 5, 3, 3),
        (64, 6, 1, 1),
    ]
    before, after = (execute(g, samples)[graph.outputs[0]] for g in (graph, only))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
    assert large_layers(graph, 100_000) == ()


def test_factorize_dense() -> None:
    s, rng = Sketch(seed=2), np.random.default_rng(2)
    s.dense(s.input(1, 300), 200)
    low = 3 * rng.normal(size=(300, 20)) @ rng.normal(size=(20, 200)) + rng.normal(size=(300, 200))
    graph = replace(s.graph(), constants={**s.graph().constants, "c0": low.astype(np.float32)})
    (name,) = large_layers(graph, 1000)
    only = factorized(graph, name)
    assert only is not None
    assert [only.constants[n].shape for n in weights(only)] == [(300, 20), (20, 200)]
    assert factorized(s.graph(), name) is None, "nothing stands out of noise"


# --- the whole line
# ------------------


def test_in_a_compile(tmp_path: Path) -> None:
    """A budget that is met changes nothing and says so; one that asks for zeros is met by the image."""
    path = save_model(tmp_path / "net.onnx", 6, 16)
    plain = compile_model(path, options=Options(), data=arrays())
    size = plain.report["bytes"]["flash"] + plain.report["bytes"]["nv"]
    same = compile_model(path, options=Options(budget=Budget(flash_bytes=size, method="sparsecomp")), data=arrays())
    assert same.report["compression"]["method"] == "sparsecomp"
    assert same.files["model.graph.json"] == plain.files["model.graph.json"]
    limit = size - plain.report["bytes"]["weights"] // 3
    budget = Budget(flash_bytes=limit, method="sparsecomp", max_drop_points=20.0)
    found = compile_model(path, options=Options(budget=budget), data=arrays())
    assert found.report["bytes"]["flash"] + found.report["bytes"]["nv"] <= limit
    assert found.report["bytes"]["weights"] < 0.6 * plain.report["bytes"]["weights"]
    assert b"fm_dot_delta" in found.files["model.c"] or b"fm_dot_bitmap" in found.files["model.c"]


def test_no_method() -> None:
    with pytest.raises(FreemlError, match="method: expected one of joint, sparsecomp, found 'magic'"):
        Budget(flash_bytes=1000, method="magic")  # type: ignore[arg-type]
