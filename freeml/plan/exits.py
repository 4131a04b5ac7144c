"""Exits in a plan: the branch runs as soon as what it looks at is there, and the answer comes last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from freeml.ir.exits import Exits
from freeml.ir.graph import Node, QGraph, QOp, single, verify
from freeml.ops.answer import ANSWER, ANSWER_TYPE, QAnswer


def with_answer(graph: QGraph, exits: Exits, final: str) -> QGraph:
    """The net with its answer as the last output, in place of the scores of exits; `final` are the net's own scores."""
    scores = tuple(exit_.value for exit_ in exits.exits)
    name = ANSWER
    taken = {*graph.types, *(node.name for node in graph.nodes)}
    while name in taken:
        name += "_"
    node = single(name, QAnswer(exits=exits), (final, *scores), (name,), "exits")
    result = replace(
        graph,
        outputs=(*(value for value in graph.outputs if value not in scores), name),
        nodes=(*graph.nodes, node),
        types={**graph.types, name: ANSWER_TYPE},
    )
    verify(result)
    return result


def answer_node(graph: QGraph) -> Node[QOp] | None:
    """The node that gives the answer of a net with exits."""
    return graph.nodes[-1] if graph.nodes and isinstance(graph.nodes[-1].op, QAnswer) else None


def exits_of(graph: QGraph) -> Exits | None:
    """The exits of a net."""
    node = answer_node(graph)
    return node.op.exits if node is not None and isinstance(node.op, QAnswer) else None


def scores_read(graph: QGraph) -> tuple[str, ...]:
    """What the answer of a net with exits reads: the net's own scores, then those of its exits."""
    node = answer_node(graph)
    if node is None:
        raise ValueError("a net without exits has no answer")
    return node.stages[0].inputs


def branch_early(graph: QGraph, order: Callable[[QGraph], QGraph]) -> QGraph:
    """The net with the nodes that only exits need right behind those whose values they read.

    The others are in the order that `order` gives the net without exits: an exit changes nothing of that.
    """
    answer = answer_node(graph)
    if answer is None:
        return order(graph)
    outputs = tuple(value for value in graph.outputs if value not in answer.outputs)
    needed, backbone = set(outputs), list[Node[QOp]]()
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            needed.update(node.inputs)
            backbone.insert(0, node)
    kept = {node.name for node in backbone}
    branch = [node for node in graph.nodes if node.name not in kept and node is not answer]
    ordered = order(replace(graph, outputs=outputs, nodes=tuple(backbone)))
    known, nodes = {*graph.inputs, *graph.constants}, list[Node[QOp]]()

    def follow() -> None:
        while ready := next((node for node in branch if known.issuperset(node.inputs)), None):
            branch.remove(ready)
            nodes.append(ready)
            known.update(ready.outputs)

    follow()
    for node in ordered.nodes:
        nodes.append(node)
        known.update(node.outputs)
        follow()
    return replace(graph, nodes=(*nodes, answer))
