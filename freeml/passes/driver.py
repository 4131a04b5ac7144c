"""Runs passes in order and verifies the graph around each; a pass that breaks it is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from freeml.errors import GraphError
from freeml.ir.graph import Graph, verify
from freeml.ir.text import to_text


class Pass(Protocol):
    """A named rewrite."""

    @property
    def name(self) -> str:
        """Shown when the pass breaks a graph."""
        ...

    def apply(self, graph: Graph) -> Graph:
        """The rewritten graph; the argument is left alone."""
        ...


def run_passes(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """Apply `passes` in order. A graph that is malformed afterwards is a bug of the pass: its text diff is shown."""
    verify(graph)
    for step in passes:
        changed = step.apply(graph)
        try:
            verify(changed)
        except GraphError as error:
            import difflib

            diff = "\n".join(
                difflib.unified_diff(to_text(graph).splitlines(), to_text(changed).splitlines(), lineterm="")
            )
            raise AssertionError(f"pass {step.name} broke the graph: {error}\n{diff}") from error
        graph = changed
    return graph
