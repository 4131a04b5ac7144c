"""What nets are trained with: only changes that the original net tolerates, pages that are the same every time, and
the rounding of the integer net."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import blobs
from freeml.compression.allocate import Estimator
from freeml.compression.coarse import NO_ROUNDING, coarsen, weight_axes
from freeml.compression.recipe import PLANS
from freeml.compression.twin import Twin
from freeml.compression.variety import BATCH, KEPT_NUMBERS, KEPT_SAMPLES, Pages, Variety, find_variety, shift
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph, execute
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.quant.quantize import Precision, dequantize, quantize, quantize_input
from freeml.quant.ranges import observe
from freeml.targets import get


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return run_passes(import_onnx(blobs.save_model(tmp_path_factory.mktemp("variety") / "blobs.onnx")), PASSES)


def _strokes(count: int) -> tuple[Tensor, Tensor]:
    """(count, 1, 12, 32) images of a stroke, high or low (the class), somewhere in the middle along the last axis."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((count, 1, 12, 32), dtype=np.float32), rng.integers(0, 2, size=count)
    for image, label in zip(x, y, strict=True):
        start = int(rng.integers(8, 20))
        image[0, 2 + 6 * label : 4 + 6 * label, start : start + 4] = 1
    return torch.from_numpy(x), torch.from_numpy(y)


def _higher(x: Tensor) -> tuple[Tensor, ...]:
    """A net that compares the upper half with the lower."""
    return (torch.stack([x[..., :6, :].sum(dim=(1, 2, 3)), x[..., 6:, :].sum(dim=(1, 2, 3))], dim=1),)


def test_only_what_the_net_tolerates_is_done() -> None:
    x, y = _strokes(200)
    assert find_variety(x, y, _higher) == Variety(mirrored=(3,), shifted=((2, 1), (3, 2)))

    def exact(x: Tensor) -> tuple[Tensor, ...]:  # strokes count in their own rows alone: a shift of one misses half
        return (torch.stack([x[..., 2, :].sum(dim=(1, 2)) - 1, 3 - x[..., 2, :].sum(dim=(1, 2))], dim=1),)

    assert find_variety(x, y, exact).shifted == ((3, 2),)


def test_a_shift_repeats_the_edge() -> None:
    x = torch.arange(4.0).reshape(1, 4)
    assert shift(x, 1, 1).tolist() == [[0, 0, 1, 2]]
    assert shift(x, 1, -2).tolist() == [[2, 3, 3, 3]]
    assert shift(x, 1, 0) is x


def test_pages_are_the_same_every_time_and_answered_once() -> None:
    x, _ = _strokes(3 * BATCH + 5)
    asked: list[int] = []

    def answers(x: Tensor) -> tuple[Tensor, ...]:
        asked.append(len(x))
        return _higher(x)

    pages = Pages(x, Variety(mirrored=(3,), shifted=((3, 2),)), answers, seed=1)
    first, again, other = (list(pages.read(page)) for page in (0, pages.count, 1))
    assert len(first) == pages.batches == 4
    assert sum(asked) == 1 + 2 * len(x)  # one, to see how much an answer is
    assert [batch.share is None for batch in first] == [True, False, True, False]
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.answers[0], _higher(one.x)[0])
    assert not torch.equal(first[0].x, other[0].x)
    plain = x[first[0].rows]
    changed = first[0].x
    assert not torch.equal(changed, plain)
    assert torch.equal(changed.sum(dim=(1, 3)), plain.sum(dim=(1, 3)))  # moved along the last axis, nothing else


def test_answers_are_kept_within_bounds() -> None:
    """Fewer pages where a net has large further outputs; how many follows from shapes alone."""
    x = torch.zeros(BATCH, 4)
    small, large = (
        Pages(x, Variety(), lambda x, n=n: (torch.zeros(len(x), 10), torch.zeros(len(x), n)), seed=0)
        for n in (1, KEPT_NUMBERS // (3 * BATCH))
    )
    assert small.count == KEPT_SAMPLES // BATCH
    assert large.count == 2


def test_the_classes_of_a_mixture_are_those_of_both() -> None:
    x, y = torch.arange(2.0 * BATCH)[:, None], torch.arange(2 * BATCH) % 3
    pages = Pages(x, Variety(), lambda x: (x,), seed=0)
    plain, mixed = pages.read(0)
    assert torch.equal(plain.classes(y, 3).argmax(dim=1), y[plain.rows])
    assert mixed.share is not None
    classes = mixed.classes(y, 3)
    assert torch.allclose(classes.sum(dim=1), torch.ones(BATCH))
    one, other = int(mixed.rows[0]), int(mixed.rows[-1])
    share = (float(mixed.x[0]) - one) / (other - one)
    assert float(classes[0, y[one]]) == pytest.approx(1 - share if y[one] != y[other] else 1, abs=1e-4)


def test_a_net_is_trained_as_it_will_be_rounded(graph: Graph) -> None:
    """The twin with rounding gives what the integer net gives, but for the fixed-point multiplications of one format
    into the next: far nearer than the float net."""
    x = blobs.images(64, 5)[0][:, np.newaxis]
    inputs = {graph.inputs[0]: x}
    coarse = coarsen(graph, max(weight_axes(graph), key=lambda name: graph.constants[name].size), 4)
    estimator = Estimator(board=get("msp430"), precision=Precision(), prices=None, inputs=inputs)
    rounding = estimator.rounding(coarse)
    assert rounding.weights
    assert set(rounding.values) > {graph.inputs[0], *graph.outputs}
    groups = fusion_groups(coarse)
    net = quantize(coarse, observe(coarse, inputs), precision=Precision(), method="mse", groups=groups)
    integers = execute(net, {name: quantize_input(array, net.types[name]) for name, array in inputs.items()})
    out = graph.outputs[0]
    found = dequantize(integers[out], net.types[out])
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    exact, rounded = (
        Twin(coarse, kind)(tensors)[out].detach().numpy() for kind in (NO_ROUNDING, rounding)
    )  # fmt: skip
    assert np.abs(rounded - found).mean() < 0.35 * np.abs(exact - found).mean()
    assert np.abs(rounded - found).max() <= 2.5 * net.types[out].scale


def test_rounding_passes_slopes(graph: Graph) -> None:
    x = blobs.images(64, 5)[0][:, np.newaxis]
    estimator = Estimator(
        board=get("msp430"), precision=Precision(), prices=None, inputs={graph.inputs[0]: x}
    )  # fmt: skip
    twin = Twin(graph, estimator.rounding(graph))
    twin({graph.inputs[0]: torch.from_numpy(x)})[graph.outputs[0]].square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in twin.parameters.values())


def test_wide_activations_are_not_rounded(graph: Graph) -> None:
    precision = Precision(default="int16", weight_bits=16)
    inputs = {graph.inputs[0]: blobs.images(8, 5)[0][:, np.newaxis]}
    found = Estimator(board=get("msp430"), precision=precision, prices=None, inputs=inputs).rounding(graph)
    assert (found.values, found.weights) == ({}, False)


def test_epochs_end_where_the_computation_does() -> None:
    plan = PLANS["quick"]
    assert plan.epochs_within(40, 0.5, 1e9) == 40
    assert plan.epochs_within(40, 0.5, plan.macs / 20) == 10
    assert plan.epochs_within(40, 0.5, 10 * plan.macs) == 1
