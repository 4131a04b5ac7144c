"""What an executor leaves behind, and how two of them are compared: byte for byte, no tolerance anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from freeml.ir.graph import QGraph, execute
from freeml.ir.types import Array, IntArray
from freeml.ops.answer import QAnswer
from freeml.plan.memory import is_view

CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Integer values by name, each (samples, *shape). `values` holds the outputs, or every stored value."""

    values: Mapping[str, IntArray]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(next(iter(self.values.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The first disagreement about one value: which sample, which element (row-major), what either executor says."""

    value: str
    sample: int
    element: int
    expected: int
    found: int
    count: int


def stored_values(graph: QGraph) -> tuple[str, ...]:
    """Values that the C program stores, in order of execution."""
    return tuple(v for n in graph.nodes if not is_view(n.op) for v in n.outputs)


def run_reference(graph: QGraph, inputs: Mapping[str, Array], *, every_value: bool = False) -> Trace:
    """The numpy integer reference over all samples (leading axis), in chunks.

    `every_value` keeps all values, those inside fused layers too, of inferences that run to their end whatever a rule
    says; else only the graph's outputs, as the firmware leaves them: zeros where an inference ended before them.
    """
    parts: dict[str, list[Array]] = {}
    samples = next(iter(inputs.values())).shape[0]
    graph = without_rule(graph) if every_value else graph
    for start in range(0, samples, CHUNK):
        values = execute(graph, {k: np.asarray(v[start : start + CHUNK], dtype=np.int64) for k, v in inputs.items()})
        shown = values if every_value else _published(graph, values)
        for name in shown:
            parts.setdefault(name, []).append(shown[name])
    return Trace(values={name: np.concatenate(chunks).astype(np.int64) for name, chunks in parts.items()})


def _published(graph: QGraph, values: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs; where an inference ended at an exit, those of later layers are zeros."""
    found = {name: values[name] for name in graph.outputs}
    stage = graph.nodes[-1].stages[0] if graph.nodes else None
    if stage is None or not isinstance(stage.op, QAnswer):
        return found
    made: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        viewed = is_view(node.op) and len(node.stages) == 1  # there as soon as what it views is
        when = made.get(node.inputs[0], -1) if viewed else index
        made.update(dict.fromkeys(node.outputs, when))
    ends = np.array([*(made[value] for value in stage.inputs[1:]), len(graph.nodes)])
    exits = values[stage.outputs[0]][:, 1]
    for name in found:
        if name != stage.outputs[0] and name in made:
            there = made[name] <= ends[exits]
            found[name] = np.where(there.reshape(-1, *(1,) * (found[name].ndim - 1)), found[name], 0)
    return found


def without_rule(graph: QGraph) -> QGraph:
    """The same net, every inference of which runs to its end."""
    stage = graph.nodes[-1].stages[0] if graph.nodes else None
    if stage is None or not isinstance(stage.op, QAnswer):
        return graph
    exits = replace(stage.op.exits, policy=replace(stage.op.exits.policy, kind="none", energy=False))
    last = replace(graph.nodes[-1], stages=(replace(stage, op=QAnswer(exits=exits)),))
    return replace(graph, nodes=(*graph.nodes[:-1], last))


def compare(expected: Trace, found: Trace) -> tuple[Mismatch, ...]:
    """Disagreements about the values that both traces hold, in the order of `found`."""
    result = []
    for name, right in found.values.items():
        left = expected.values[name]
        wrong = left.reshape(left.shape[0], -1) != right.reshape(right.shape[0], -1)
        if wrong.any():
            sample, element = (int(i) for i in np.argwhere(wrong)[0])
            result.append(
                Mismatch(
                    value=name,
                    sample=sample,
                    element=element,
                    expected=int(left.reshape(left.shape[0], -1)[sample, element]),
                    found=int(right.reshape(right.shape[0], -1)[sample, element]),
                    count=int(wrong.sum()),
                )
            )
    return tuple(result)
