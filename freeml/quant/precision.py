"""Which values need 16 bits: the automatic choice behind `--precision auto`.

Everything starts at 8 bits. While the quantized net loses more than the allowed drop on the validation part, the value
whose widening lowers the output error most is widened; when nothing helps any more, everything gets 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from freeml.ir.graph import Graph, QGraph, execute
from freeml.ir.types import Array
from freeml.passes.fuse import fusion_groups
from freeml.quant.choose import PROBES, Choice, choose, relative_error
from freeml.quant.quantize import Precision, quantize

ALLOWED_DROP = 0.005


def widenable(graph: Graph) -> tuple[str, ...]:
    """Values whose width is a choice: real-valued, not inside a fused layer, not fixed by the model."""
    groups = fusion_groups(graph)
    inside = {v for group in groups for node in graph.nodes if node.name in group[:-1] for v in node.outputs}
    produced = [v for n in graph.nodes for v in n.outputs]
    return tuple(
        v
        for v in (*graph.inputs, *produced)
        if v not in inside and v not in graph.brought and graph.types[v].dtype == "float32"
    )


def choose_widths(
    graph: Graph,
    inputs: Mapping[str, Array],
    *,
    start: Choice,
    drop: Callable[[QGraph], float],
    weight_bits: Literal[8, 16],
) -> tuple[Choice, Precision]:
    """Widen values until `drop(qgraph)` (a share of accuracy lost on validation data, or the relative output error when
    there are no labels) is at most ALLOWED_DROP."""
    probes = {name: array[:PROBES] for name, array in inputs.items()}
    expected = {k: v for k, v in execute(graph, probes).items() if k in graph.outputs}
    best, precision = start, Precision(weight_bits=weight_bits)
    wide: dict[str, Literal["int8", "int16"]] = {}
    while drop(best.qgraph) > ALLOWED_DROP:
        errors = {}
        for value in widenable(best.graph):
            if value in wide:
                continue
            trial = Precision(widths={**wide, value: "int16"}, weight_bits=weight_bits)
            qgraph = quantize(
                best.graph, best.observations, precision=trial, method=best.method, groups=fusion_groups(best.graph)
            )
            errors[value] = relative_error(best.graph, qgraph, probes, expected)
        if not errors:
            break
        wide[min(errors, key=lambda v: (errors[v], v))] = "int16"
        precision = Precision(widths=dict(wide), weight_bits=weight_bits)
        best = choose(graph, inputs, precision=precision, method=best.method)
    if drop(best.qgraph) > ALLOWED_DROP:
        precision = Precision(default="int16", weight_bits=weight_bits)
        best = choose(graph, inputs, precision=precision)
    return best, precision
