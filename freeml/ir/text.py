"""Graphs as text: one line per value, for people, golden files and diffs."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from freeml.ir.graph import BaseGraph, OpT, QGraph, TypeT
from freeml.ir.types import QType, TensorType


def type_text(type_: TensorType | QType) -> str:
    """float32[1x6x100], or int8[1x6x100] scale 0.0124 zero -3."""
    shape = "x".join(str(n) for n in type_.shape)
    if isinstance(type_, QType):
        return f"{type_.dtype}[{shape}] scale {type_.scale:.6g} zero {type_.zero_point}"
    return f"{type_.dtype}[{shape}]"


def op_text(op: object) -> str:
    """An operator with its attributes, defaults left out, long tuples shortened."""
    parts = []
    if is_dataclass(op):
        for field in fields(op):
            value = getattr(op, field.name)
            if value == field.default:
                continue
            parts.append(f"{field.name}={_value_text(value)}")
    kind = getattr(op, "kind", type(op).__name__)
    return f"{kind}({', '.join(parts)})"


def _value_text(value: object) -> str:
    if is_dataclass(value):
        inner = (f"{f.name}={_value_text(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({', '.join(inner)})"
    if isinstance(value, tuple) and len(value) > 8:
        return f"({', '.join(_value_text(v) for v in value[:4])}, ... {len(value)} in all)"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def to_text(graph: BaseGraph[OpT, TypeT]) -> str:
    """The whole graph, in order of execution."""
    lines = [f"{'qgraph' if isinstance(graph, QGraph) else 'graph'} {graph.name}"]
    lines += [f"  input    {name}: {type_text(graph.types[name])}" for name in graph.inputs]
    lines += [f"  constant {name}: {type_text(graph.types[name])}" for name in graph.constants]
    for node in graph.nodes:
        fused = len(node.stages) > 1
        lines.append(f"  node {node.name}" + (f" from {node.source}" if node.source not in ("", node.name) else ""))
        for index, stage in enumerate(node.stages):
            results = ", ".join(f"{v}: {type_text(graph.types[v])}" for v in stage.outputs)
            mark = " (in registers)" if fused and index < len(node.stages) - 1 else ""
            lines.append(f"    {results} = {op_text(stage.op)} <- {', '.join(stage.inputs)}{mark}")
    lines += [f"  output   {name}" for name in graph.outputs]
    return "\n".join(lines) + "\n"
