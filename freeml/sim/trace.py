"""What an executor leaves behind, and how two of them are compared: byte for byte, no tolerance anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freeml.ir.graph import QGraph, execute
from freeml.ir.types import Array, IntArray
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

    `every_value` keeps all values, those inside fused layers too; else only the graph's outputs.
    """
    parts: dict[str, list[Array]] = {}
    samples = next(iter(inputs.values())).shape[0]
    for start in range(0, samples, CHUNK):
        values = execute(graph, {k: np.asarray(v[start : start + CHUNK], dtype=np.int64) for k, v in inputs.items()})
        for name in values if every_value else graph.outputs:
            parts.setdefault(name, []).append(values[name])
    return Trace(values={name: np.concatenate(chunks).astype(np.int64) for name, chunks in parts.items()})


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
