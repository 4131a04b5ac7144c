"""The torch twin computes what the float reference computes, and gives its parameters back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from freeml.compression.twin import FORMS, Twin, run
from freeml.errors import UnsupportedModelError
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import Graph, execute
from freeml.ops.base import FloatOp
from freeml.ops.clip import Clip
from freeml.ops.conv import Conv
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from ops.nets import nets
from ops.sketch import Sketch

MODELS = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx"))


def check(graph: Graph, samples: dict[str, np.ndarray]) -> None:
    """Every value within 1e-5 of its largest number."""
    expected, found = execute(graph, samples), run(graph, samples)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        if graph.types[name].dtype == "int64":
            continue  # an index of a maximum may fall to either of two that differ by rounding
        scale = max(1.0, float(np.abs(values).max()))
        assert float(np.abs(found[name] - values).max()) <= 1e-5 * scale, name


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_example_nets(path: Path) -> None:
    graph = run_passes(import_onnx(path), PASSES)
    rng = np.random.default_rng(0)
    check(graph, {n: rng.normal(size=(4, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs})


@settings(max_examples=80)
@given(nets())
def test_random_nets(net: tuple[Graph, dict[str, np.ndarray]]) -> None:
    check(*net)


def test_every_float_operator_has_a_form() -> None:
    """A new operator is given a torch form, or this says which lacks one."""

    def concrete(base: type) -> set[type]:
        below = {kind for child in base.__subclasses__() for kind in concrete(child)}
        return below or {base}

    ours = {kind for kind in concrete(FloatOp) if kind.__module__.startswith("freeml.ops.")}
    assert {kind.__name__ for kind in ours} == {kind.__name__ for kind in FORMS}


def test_an_operator_without_a_form_is_named() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Strange(Clip):
        """Nothing that torch knows."""

    sketch = Sketch()
    sketch.add(Strange(low=0.0, high=1.0), sketch.dense(sketch.input(1, 3), 2))
    with pytest.raises(UnsupportedModelError, match="node n1: Strange cannot be trained"):
        Twin(sketch.graph())


def test_parameters_come_back() -> None:
    """Unchanged they are the same bytes; changed, the new graph differs in them and the old one stays as it was."""
    sketch = Sketch()
    sketch.dense(sketch.conv(sketch.input(1, 2, 6), 3, (3,)), 4)
    graph = sketch.graph()
    twin = Twin(graph)
    same = twin.to_graph()
    assert {k: v.tobytes() for k, v in same.constants.items()} == {k: v.tobytes() for k, v in graph.constants.items()}
    assert set(twin.parameters) == set(graph.constants)
    with torch.no_grad():
        for tensor in twin.parameters.values():
            tensor += 1.0
    changed = twin.to_graph()
    for name, array in graph.constants.items():
        np.testing.assert_array_equal(changed.constants[name], array + np.float32(1.0))
    check(changed, sketch.samples())


def test_gradients_reach_every_parameter() -> None:
    graph = run_passes(import_onnx(MODELS[-1]), PASSES)
    twin = Twin(graph)
    x = torch.randn((4, *graph.types[graph.inputs[0]].shape), generator=torch.Generator().manual_seed(0))
    values = twin({graph.inputs[0]: x})
    sum(values[name].square().sum() for name in graph.outputs).backward()
    for name, tensor in twin.parameters.items():
        assert tensor.grad is not None, name
        assert bool(tensor.grad.abs().sum() > 0), name


@pytest.mark.parametrize("seed", range(60))
def test_slopes_of_convolutions(seed: int) -> None:
    """In float32, by the library that is quick, those of float64, which goes another way; and what both compute is the
    reference's. Overruns of memory it does not see: the next test is for those."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4)) if seed % 3 == 0 else 1
    inputs, outputs = (groups * int(rng.integers(1, 18)) for _ in range(2))
    kernel = (1, 1) if seed % 2 else tuple(int(n) for n in rng.integers(1, 4, size=2))
    op = Conv(
        pads=((0, 0), (0, 0)) if seed % 5 else ((1, 1), (1, 0)), strides=tuple(int(n) for n in rng.integers(1, 4, size=2)),
        dilations=(1, 1), group=groups,
    )  # fmt: skip
    arrays = rng.normal(size=(8, 1, inputs, 9, 12)), rng.normal(size=(1, outputs, inputs // groups, *kernel))
    found = []
    for dtype in (torch.float32, torch.float64):
        tensors = tuple(torch.from_numpy(array).to(dtype).requires_grad_() for array in arrays)
        y = FORMS[Conv](op, tensors)
        assert np.allclose(y.detach().numpy(), op.run(arrays)[0], atol=1e-4)
        weight = torch.sin(torch.arange(y.numel(), dtype=dtype)).reshape(y.shape)
        found.append(torch.autograd.grad((y * weight).sum(), tensors))
    for single, double in zip(*found, strict=True):
        assert torch.allclose(single.double(), double, rtol=1e-4, atol=1e-4 * float(double.abs().max()))


def test_pointwise_convolutions_are_given_no_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    """What oneDNN overruns its memory by is told by nobody at once: a later allocation fails, or none does."""
    asked = []

    def spy(x: torch.Tensor, w: torch.Tensor, bias: None, strides: tuple[int, ...], *rest: object) -> torch.Tensor:
        asked.append((x.shape[2:], tuple(strides)))
        return conv2d(x, w, bias, strides, *rest)

    conv2d = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", spy)
    op = Conv(pads=((0, 0), (0, 1)), strides=(2, 3), dilations=(1, 1))
    x, w = torch.randn(2, 1, 3, 9, 11), torch.randn(1, 4, 3, 1, 1)
    found = FORMS[Conv](op, (x, w))
    assert asked == [((5, 4), (1, 1))]
    expected = op.run((x.double().numpy(), w.double().numpy()))[0]
    assert np.allclose(found.numpy(), expected, atol=1e-5)
