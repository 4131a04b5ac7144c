"""Editing a frozen graph: copy it into an `Editor`, change that, `finish` into a new frozen graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic

from freeml.ir.graph import BaseGraph, Node, OpT, TypeT
from freeml.ir.types import Array


@dataclass(slots=True)
class Editor(Generic[OpT, TypeT]):
    """A graph under change. Its nodes stay in topological order: whoever inserts one says where."""

    graph: BaseGraph[OpT, TypeT]
    nodes: list[Node[OpT]]
    types: dict[str, TypeT]
    constants: dict[str, Array]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, graph: BaseGraph[OpT, TypeT]) -> Editor[OpT, TypeT]:
        """An editor holding a copy of `graph`."""
        return cls(
            graph=graph,
            nodes=list(graph.nodes),
            types=dict(graph.types),
            constants=dict(graph.constants),
            outputs=graph.outputs,
        )

    def fresh(self, base: str) -> str:
        """A value name that is not in use."""
        name, count = base, 1
        while name in self.types:
            count += 1
            name = f"{base}_{count}"
        return name

    def add_constant(self, base: str, array: Array, type_: TypeT) -> str:
        """Add a constant under a fresh name, which is returned."""
        name = self.fresh(base)
        self.constants[name] = array
        self.types[name] = type_
        return name

    def consumers(self, value: str) -> list[Node[OpT]]:
        """Nodes that read `value`, those that replaced others included."""
        return [n for n in self.nodes if value in n.inputs]

    def only_consumer(self, value: str) -> Node[OpT] | None:
        """The one node that reads `value`; None when there are several or it is an output of the graph."""
        found = self.consumers(value)
        return found[0] if len(found) == 1 and value not in self.outputs else None

    def replace(self, old: Node[OpT], *new: Node[OpT]) -> None:
        """Put `new` in the place of `old`."""
        index = next(i for i, n in enumerate(self.nodes) if n is old)
        self.nodes[index : index + 1] = new

    def redirect(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new` (graph outputs keep their names: never redirect those)."""
        assert old not in self.outputs
        self.nodes = [_renamed(n, old, new) if old in n.inputs else n for n in self.nodes]

    def finish(self) -> BaseGraph[OpT, TypeT]:
        """The new graph, without nodes, constants and types that nothing reads."""
        needed = set(self.outputs)
        kept: list[Node[OpT]] = []
        for node in reversed(self.nodes):
            if any(v in needed for stage in node.stages for v in stage.outputs):
                kept.append(node)
                needed.update(node.inputs)
        kept.reverse()
        produced = {v for n in kept for s in n.stages for v in s.outputs}
        live = needed | produced | set(self.graph.inputs)
        return replace(
            self.graph,
            nodes=tuple(kept),
            outputs=self.outputs,
            types={k: v for k, v in self.types.items() if k in live},
            constants={k: v for k, v in self.constants.items() if k in needed},
        )


def _renamed(node: Node[OpT], old: str, new: str) -> Node[OpT]:
    stages = tuple(replace(s, inputs=tuple(new if v == old else v for v in s.inputs)) for s in node.stages)
    return replace(node, stages=stages)
