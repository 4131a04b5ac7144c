"""Computing a value twice instead of keeping it: memory for time.

A value that is read early and late takes its bytes all the while. Where what it is made from lies in memory anyway, or
is smaller, a copy of the node that makes it can make it again for the late readers. The copy is a node with a name and
a value of its own, so it is planned, emitted, measured and proved like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import cast

from freeml.ir.graph import Node, QGraph, QOp, verify
from freeml.ir.rewrite import Editor
from freeml.ir.types import QType
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.plan.memory import MemoryPlan, is_view
from freeml.plan.order import arranged

MOST = 0.1
"""Share of an inference's cost that all that is computed twice may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What computing a layer once more costs: of time, in the unit of the cost model, and of flash, in bytes."""

    time: float
    flash_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """A graph in its order of execution, its memory plan, and which values of it are second copies of which."""

    graph: QGraph
    memory: MemoryPlan
    again: Mapping[str, str]


def with_copies(plain: Arranged, alignment_bytes: int, prices: Mapping[str, Price], time: float) -> Arranged:
    """The graph with those values computed twice that save the most bytes: of the arena, less those of flash.

    `prices` are by value, for the layers that may run twice, `time` is that of all layers. One value after the other is
    taken from those alive across the peak, that which lowers the peak most; of the graphs on the way the best is
    returned, the given one where none saves anything.
    """
    best = now = plain
    while True:
        spent = sum(prices[value].time for value in now.again.values())
        options = [
            (_crowded(then), prices[value].time, index, then)
            for index, (value, then) in enumerate(_options(now, prices, alignment_bytes))
            if spent + prices[value].time <= MOST * time
        ]
        if not options or min(options)[0] >= _crowded(now):
            return best
        now = min(options, key=lambda option: option[:3])[3]
        if _bytes(now, prices) < _bytes(best, prices):
            best = now


def _bytes(found: Arranged, prices: Mapping[str, Price]) -> int:
    return found.memory.arena_bytes + sum(prices[value].flash_bytes for value in found.again.values())


def _crowded(found: Arranged) -> tuple[int, int]:
    """The peak of bytes alive, and how many steps have it."""
    steps = [
        sum(b.size_bytes for b in found.memory.buffers if b.first <= step <= b.last)
        for step in range(-1, len(found.graph.nodes) + 1)
    ]
    return max(steps), steps.count(max(steps))


def _options(now: Arranged, prices: Mapping[str, Price], alignment_bytes: int) -> Iterator[tuple[str, Arranged]]:
    """Each value that may be made again behind the peak, by its first name, and the graph in which it is."""
    graph, aliases, peak = now.graph, now.memory.aliases, now.memory.peak_step
    kept = {aliases.get(value, value) for value in graph.outputs}
    for buffer in now.memory.buffers:
        value = now.again.get(buffer.value, buffer.value)
        if value not in prices or buffer.value in kept or not buffer.first < peak < buffer.last:
            continue
        readers = {
            node.name: step
            for step, node in enumerate(graph.nodes)
            if not is_view(node.op) and any(aliases.get(v, v) == buffer.value for v in graph.activations(node))
        }
        late = {name for name, step in readers.items() if step > peak}
        if peak not in readers.values() and 0 < len(late) < len(readers):
            twice, copy = copied(graph, buffer.value, late)
            then, memory = arranged(twice, alignment_bytes)
            yield value, Arranged(graph=then, memory=memory, again={**now.again, copy: value})


def repeatable(node: Node[QOp]) -> bool:
    """Whether a node may run twice: it has no weights, which would lie in flash twice."""
    return not any(isinstance(stage.op, (QConv, QDense)) for stage in node.stages) and not is_view(node.op)


def copied(graph: QGraph, value: str, readers: Set[str]) -> tuple[QGraph, str]:
    """The graph with `value` made once more for the nodes named in `readers`, just before the first of them, and the
    name of the second one. They may read it through views, which are copied too."""
    edit: Editor[QOp, QType] = Editor.of(graph)
    names: dict[str, str] = {}
    copies: list[Node[QOp]] = []
    for node in graph.nodes:
        if value in node.outputs or (is_view(node.op) and node.inputs[0] in names):
            for name in (*node.internal, *node.outputs):
                names[name] = edit.fresh(f"{name}_again")
                edit.types[names[name]] = graph.types[name]
            copies.append(replace(_renamed(node, names), name=_unused(graph, f"{node.name}_again")))
    first = next(index for index, node in enumerate(graph.nodes) if node.name in readers)
    nodes = [_renamed(node, names) if node.name in readers else node for node in graph.nodes]
    edit.nodes = [*nodes[:first], *copies, *nodes[first:]]
    result = cast(QGraph, edit.finish())
    verify(result)
    return result, names[value]


def _renamed(node: Node[QOp], names: Mapping[str, str]) -> Node[QOp]:
    def new(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(value, value) for value in values)

    return replace(node, stages=tuple(replace(s, inputs=new(s.inputs), outputs=new(s.outputs)) for s in node.stages))


def _unused(graph: QGraph, base: str) -> str:
    names, name, count = {node.name for node in graph.nodes}, base, 1
    while name in names:
        count += 1
        name = f"{base}_{count}"
    return name
