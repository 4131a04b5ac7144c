"""What every operator must withstand. A test file declares cases; the checks are here, once.

For each case: the float path against onnxruntime; then for each precision the integer reference against the float path
within a derived bound (bounds.py), the channels-last graph against the graph in the model's own layout, the emitted C
against the reference byte by byte over every stored value, and the emitted C under the promotion lint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from codegen.promotion_lint import lint_files
from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import Graph
from freeml.ops.argmax import ArgMax
from freeml.plan.memory import is_view
from frontend.onnx_models import build, compare, node, normal
from ops.bounds import error_bounds, real
from ops.compiled import Compiled, Width, Workshop, compiled, layout_disagreements

__all__ = ["Case", "Precision", "checks", "node", "normal"]

SAMPLES = 6
FLOAT_SLACK = 1e-6
"""Relative: the float path itself is exact to float64, but for what onnxruntime's float32 constants lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Width of activations and weights."""

    width: Width
    weight_bits: Literal[8, 16] = 8

    def __str__(self) -> str:
        return f"{self.width}-w{self.weight_bits}"


INT8 = Precision(width="int8")
INT16 = Precision(width="int16")
WIDE_WEIGHTS = Precision(width="int16", weight_bits=16)
NARROW_WIDE = Precision(width="int8", weight_bits=16)
ACTIVATIONS = (INT8, INT16)
WEIGHTS = (INT8, INT16, WIDE_WEIGHTS, NARROW_WIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model of a few ONNX nodes. `inputs` are shapes with batch 1; inputs to test with are normal numbers times
    `spread`. `layers` is how many functions the C must consist of, copies to another layout aside, where that is what the
    case is about."""

    name: str
    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, Sequence[int]] = field(default_factory=lambda: {"x": (1, 3, 6, 5)})
    outputs: Sequence[str] = ("y",)
    constants: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    precisions: Sequence[Precision] = ACTIVATIONS
    spread: float = 1.0
    opset: int = 17
    index_output: bool = False
    layers: int | None = None

    def model(self) -> onnx.ModelProto:
        """The ONNX model."""
        kind = TensorProto.INT64 if self.index_output else TensorProto.FLOAT
        return build(self.nodes, self.inputs, list(self.outputs), self.constants, opset=self.opset, output_type=kind)

    def graph(self) -> Graph:
        """The imported float graph."""
        return import_model(self.model(), None)

    def samples(self, graph: Graph, *, spread: float = 1.0, seed: int = 3) -> dict[str, NDArray[np.float64]]:
        """Inputs, (SAMPLES, *shape)."""
        rng = np.random.default_rng(seed)
        factor = self.spread * spread
        return {n: rng.normal(size=(SAMPLES, *graph.types[n].shape)) * factor for n in graph.inputs}


def checks(cases: Sequence[Case]) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two parametrized tests of an operator's file: (float path, integer path)."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have the same name"

    @pytest.mark.parametrize("case", cases, ids=names)
    def float_path(case: Case) -> None:
        compare(case.model())

    pairs = [pytest.param(c, p, id=f"{c.name}-{p}") for c in cases for p in c.precisions]

    @pytest.mark.parametrize(("case", "precision"), pairs)
    def integer_path(case: Case, precision: Precision, workshop: Workshop) -> None:
        check(case, precision, workshop)

    return float_path, integer_path


def check(case: Case, precision: Precision, workshop: Workshop) -> Compiled:
    """Every check of the integer path."""
    graph = case.graph()
    calibration = case.samples(graph)
    net = compiled(graph, calibration, width=precision.width, weight_bits=precision.weight_bits)
    check_bounds(net, {name: array * 1.0 for name, array in calibration.items()}, precision.weight_bits)
    check_bounds(net, case.samples(graph, spread=1.5, seed=4), precision.weight_bits)
    check_integers(net, net.probes(calibration), workshop)
    if case.layers is not None:
        found = [n.name for n in net.planned.nodes if n.source != "layout" and not is_view(n.op)]
        assert len(found) == case.layers, found
    return net


def check_integers(net: Compiled, probes: Mapping[str, NDArray[np.int64]], workshop: Workshop) -> None:
    """Layout, C and lint: everything that must be exact."""
    assert not layout_disagreements(net, probes)
    assert not workshop.disagreements(net, probes)
    assert not lint_files(net.files)


def check_bounds(net: Compiled, inputs: Mapping[str, NDArray[np.float64]], weight_bits: int) -> None:
    """Every value of the integer reference, those inside fused layers too, is as near to the float path as derived."""
    from freeml.quant.quantize import quantize_input
    from freeml.sim.trace import run_reference

    integers = {name: np.asarray(quantize_input(inputs[name], net.qgraph.types[name])) for name in net.qgraph.inputs}
    values, bounds = error_bounds(net.graph, net.qgraph, inputs, integers, weight_bits)
    found = run_reference(net.qgraph, integers, every_value=True).values
    for stage in net.graph.stages():
        name = stage.outputs[0]
        if isinstance(stage.op, ArgMax):
            _check_index(stage.op, values[stage.inputs[0]], bounds[stage.inputs[0]], found[name])
        if name not in bounds:
            continue
        error = np.abs(real(found[name], net.qgraph.types[name]) - values[name])
        allowed = bounds[name] + FLOAT_SLACK * (np.abs(values[name]).max() + 1e-9)
        worst = np.unravel_index(int((error - allowed).argmax()), error.shape)
        assert (error <= allowed).all(), (
            f"{name} ({stage.op.kind}): off by {error[worst]:.6g} at {worst}, expected at most {allowed[worst]:.6g}"
        )


def _check_index(op: ArgMax, x: NDArray[np.float64], e: NDArray[np.float64], index: NDArray[np.int64]) -> None:
    """The number that ArgMax chose is the largest, but for twice the error of its input."""
    axis = op.axis + 1
    where = index if op.keepdims else np.expand_dims(index, axis)
    chosen = np.take_along_axis(x, where, axis)
    assert (x.max(axis=axis, keepdims=True) - chosen <= 2 * e.max(axis=axis, keepdims=True) + 1e-12).all()
