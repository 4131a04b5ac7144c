"""Which way to integers serves this net best: measured on calibration inputs, never assumed.

Tried in turn, each kept only where it lowers the error of the outputs against the float net: range methods, bias
correction, cross-layer equalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freeml.ir.graph import Graph, QGraph, execute
from freeml.ir.types import Array
from freeml.passes.fuse import fusion_groups
from freeml.quant.correct import correct_bias
from freeml.quant.equalize import equalize
from freeml.quant.quantize import Precision, dequantize, quantize, quantize_input
from freeml.quant.ranges import Observations, RangeMethod, observe

PROBES = 64
METHODS: tuple[RangeMethod, ...] = ("mse", "minmax", "percentile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One way tried, and the mean squared error of the outputs relative to their power."""

    name: str
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen integer graph, the float graph it stands for, what it was made from, and all that was tried."""

    graph: Graph
    qgraph: QGraph
    observations: Observations
    method: RangeMethod
    chosen: str
    trials: tuple[Trial, ...]


def relative_error(graph: Graph, qgraph: QGraph, inputs: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """Mean over the real-valued outputs of |quantized - float|^2 / |float|^2."""
    integers = {name: quantize_input(array, qgraph.types[name]) for name, array in inputs.items()}
    found = execute(qgraph, integers)
    errors = []
    for name in graph.outputs:
        if qgraph.types[name].dtype == "int32":
            continue
        reference = np.asarray(expected[name], dtype=np.float64)
        difference = dequantize(found[name], qgraph.types[name]) - reference
        errors.append(float(np.mean(difference**2)) / max(float(np.mean(reference**2)), 1e-30))
    return float(np.mean(errors)) if errors else 0.0


def relative_drop(graph: Graph, qgraph: QGraph, inputs: Mapping[str, Array]) -> float:
    """What stands for lost accuracy when there are no labels: the relative output error on the calibration inputs."""
    probes = {name: array[:PROBES] for name, array in inputs.items()}
    return relative_error(graph, qgraph, probes, execute(graph, probes))


def choose(
    graph: Graph, inputs: Mapping[str, Array], *, precision: Precision, method: RangeMethod | None = None
) -> Choice:
    """The best integer graph for these calibration inputs (leading sample axis). `method` fixes the range method."""
    observations = observe(graph, inputs)
    probes = {name: array[:PROBES] for name, array in inputs.items()}
    expected = {name: array for name, array in execute(graph, probes).items() if name in graph.outputs}
    trials: list[Trial] = []

    def attempt(name: str, candidate: Graph, seen: Observations, how: RangeMethod) -> tuple[float, Choice]:
        groups = fusion_groups(candidate)
        qgraph = quantize(candidate, seen, precision=precision, method=how, groups=groups)
        error = relative_error(candidate, qgraph, probes, expected)
        trials.append(Trial(name=name, error=error))
        return error, Choice(graph=candidate, qgraph=qgraph, observations=seen, method=how, chosen=name, trials=())

    widths = {precision.default, *precision.widths.values()}
    methods = (method,) if method is not None else METHODS if "int8" in widths else METHODS[1:2]
    best = min((attempt(how, graph, observations, how) for how in methods), key=lambda item: item[0])
    how = best[1].method
    corrected = correct_bias(graph, observations, precision.weight_bits)
    best = min(best, attempt(f"{how} + bias correction", corrected, observations, how), key=lambda item: item[0])
    equal = equalize(graph, observations)
    if any(equal.constants[k] is not graph.constants.get(k) for k in equal.constants):
        seen = observe(equal, inputs)
        both = correct_bias(equal, seen, precision.weight_bits)
        best = min(best, attempt(f"{how} + equalization", equal, seen, how), key=lambda item: item[0])
        best = min(best, attempt(f"{how} + equalization + bias correction", both, seen, how), key=lambda item: item[0])
    winner = best[1]
    return Choice(
        graph=winner.graph, qgraph=winner.qgraph, observations=winner.observations, method=winner.method,
        chosen=winner.chosen, trials=tuple(trials),
    )  # fmt: skip
