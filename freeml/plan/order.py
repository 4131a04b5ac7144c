"""The order in which nodes run: of all orders that the graph allows, one whose largest sum of bytes alive is smallest.

States of the search are sets of nodes that have run; what is alive then depends on the set and not on the order within
it. All states of as many nodes are one level of a dynamic program, of which only the best go on (a beam): few at first,
then more, until all of them do, or until the peak is one that no order can be below. Counting is that of `plan_memory`:
views take no step and no bytes and keep their owner alive, inputs are alive before the first node, outputs to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from freeml.ir.graph import Node, QGraph, QOp
from freeml.plan.memory import ALIGNMENT_BYTES, MemoryPlan, aligned, is_view, plan_memory

STEPS = 5_000
"""After so many steps a search takes no wider beam: about a second for nets that are wide and large."""

WIDER = 4

Path = tuple["Path", int] | None
"""Nodes that have run, the last one first."""


def arranged(graph: QGraph, alignment_bytes: int = ALIGNMENT_BYTES) -> tuple[QGraph, MemoryPlan]:
    """The graph in the order whose arena is smaller, that of `smallest_peak` or its own, and the memory plan of it."""
    given, other = plan_memory(graph, alignment_bytes), smallest_peak(graph, alignment_bytes)
    if other is graph:
        return graph, given
    plan = plan_memory(other, alignment_bytes)
    return (other, plan) if plan.arena_bytes < given.arena_bytes else (graph, given)


def smallest_peak(graph: QGraph, alignment_bytes: int = ALIGNMENT_BYTES, steps: int = STEPS) -> QGraph:
    """The graph with its nodes in an order of the smallest peak of bytes alive, as near to the given order as it finds.

    The graph itself where no order was found that is better. None is, if the search took fewer than `steps` steps;
    else what was found is the best of the orders looked at.
    """
    net = _Net.of(graph, alignment_bytes)
    given = net.peak(range(len(net.reads)))
    least, best, taken, width = net.least_peak(), list[int](), 0, 1
    known = given
    while known > least and taken < steps:
        found, all_of_them, count = _beam(net, least, known, width)
        best, known = (found, net.peak(found)) if found else (best, known)
        if all_of_them:
            break
        taken, width = taken + count, WIDER * width
    return replace(graph, nodes=_with_views(graph, _nearest(net, best))) if best else graph


@dataclass(frozen=True, slots=True, kw_only=True)
class _Net:
    """The nodes that run, numbered in the given order. Values are numbered too, graph inputs first; sets are bits.

    `reads` and `makes` hold the values of each node, `made` the bytes that it writes, `before` and `after` the nodes
    that it follows and that follow it at once, `readers` the nodes that read each value, with a bit that no node has
    where it stays to the end.
    """

    sizes: tuple[int, ...]
    inputs: int
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]
    made: tuple[int, ...]
    readers: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, graph: QGraph, alignment_bytes: int) -> _Net:
        """The net of a graph."""
        number = {name: index for index, name in enumerate(graph.inputs)}  # of a view: that of its owner
        sizes = [aligned(graph.types[name].size_bytes, alignment_bytes) for name in graph.inputs]
        maker = [-1] * len(sizes)
        reads: list[tuple[int, ...]] = []
        makes: list[tuple[int, ...]] = []
        for node in graph.nodes:
            if is_view(node.op) and len(node.stages) == 1:
                number[node.outputs[0]] = number[node.inputs[0]]
                continue
            made = range(len(sizes), len(sizes) + len(node.outputs))
            number |= zip(node.outputs, made, strict=True)
            sizes += [aligned(graph.types[name].size_bytes, alignment_bytes) for name in node.outputs]
            maker += [len(reads)] * len(made)
            reads.append(tuple(sorted({number[name] for name in graph.activations(node)})))
            makes.append(tuple(made))
        readers = [0] * len(sizes)
        for node_, values in enumerate(reads):
            for value in values:
                readers[value] |= 1 << node_
        before = [sum({1 << maker[v] for v in values if maker[v] >= 0}) for values in reads]
        for name in graph.outputs:
            readers[number[name]] |= 1 << len(reads)
        after = [tuple(n for n in range(len(reads)) if before[n] >> node_ & 1) for node_ in range(len(reads))]
        return cls(
            sizes=tuple(sizes), inputs=len(graph.inputs), reads=tuple(reads), makes=tuple(makes),
            made=tuple(sum(sizes[value] for value in values) for values in makes),
            readers=tuple(readers), before=tuple(before), after=tuple(after),
        )  # fmt: skip

    @property
    def first(self) -> int:
        """Bytes alive before the first node: the inputs."""
        return sum(self.sizes[: self.inputs])

    @property
    def kept(self) -> int:
        """Bytes of the inputs that anything reads."""
        return sum(size for size, readers in zip(self.sizes[: self.inputs], self.readers, strict=False) if readers)

    @property
    def last(self) -> int:
        """Bytes alive behind the last node: the outputs."""
        return sum(size for size, readers in zip(self.sizes, self.readers, strict=True) if readers >> len(self.reads))

    def change(self, node: int, done: int) -> int:
        """By how much more is alive when `node` has run behind the nodes in `done`."""
        done |= 1 << node
        freed = sum(self.sizes[value] for value in self.reads[node] if not self.readers[value] & ~done)
        return sum(self.sizes[value] for value in self.makes[node] if self.readers[value]) - freed

    def steps(self, order: Sequence[int], done: int, alive: int) -> Iterator[int]:
        """Bytes alive while each node of `order` runs, behind those in `done`."""
        for node in order:
            yield alive + self.made[node]
            alive += self.change(node, done)
            done |= 1 << node

    def peak(self, order: Sequence[int]) -> int:
        """The most bytes alive at one step."""
        return max(self.first, self.last, *self.steps(order, 0, self.kept)) if order else max(self.first, self.last)

    def least_peak(self) -> int:
        """Bytes that are alive at one step in any order: made by what a node needs, and read by it or what needs it."""
        count = len(self.reads)
        needs, needed = list(self.before), [0] * count
        for node in range(count):
            for maker in _members(self.before[node]):
                needs[node] |= needs[maker]
        for node in reversed(range(count)):
            for reader in self.after[node]:
                needed[node] |= needed[reader] | 1 << reader
        maker_of = {value: node for node, values in enumerate(self.makes) for value in values}
        always = [0] * count
        for value, size in enumerate(self.sizes):
            for node in range(count):
                there = value < self.inputs or needs[node] >> maker_of[value] & 1
                if there and self.readers[value] & (needed[node] | 1 << node | 1 << count):
                    always[node] += size
        return max(self.first, self.last, *(always[node] + self.made[node] for node in range(count)), 0)


@dataclass(frozen=True, slots=True)
class _State:
    """Nodes that have run: the smallest peak on any way there, bytes alive now, which nodes can run next, the way."""

    peak: int
    alive: int
    ready: tuple[int, ...]
    path: Path


def _beam(net: _Net, least: int, below: int, width: int) -> tuple[list[int], bool, int]:
    """An order whose peak is below a number of bytes, the smallest that the best `width` states of each level lead to,
    or none; whether these were all states; how many steps were taken."""
    count = len(net.reads)
    levels: list[dict[int, _State]] = [{} for _ in range(count + 1)]
    levels[0][0] = _State(least, net.kept, tuple(n for n in range(count) if not net.before[n]), None)
    all_of_them, taken = True, 0
    for level in levels[:-1]:
        best = sorted(level, key=lambda done: (level[done].peak, level[done].alive, done))
        all_of_them = all_of_them and len(best) <= width
        for done in best[:width]:
            state = level[done]
            for node in state.ready:
                taken += 1
                if state.alive + net.made[node] < below:
                    then, next_ = _closed(net, *_run(net, done, state, node))
                    known = levels[then.bit_count()].get(then)
                    if known is None or next_.peak < known.peak:
                        levels[then.bit_count()][then] = next_
        level.clear()
    return _unrolled(levels[-1][(1 << count) - 1].path) if levels[-1] else [], all_of_them, taken


def _run(net: _Net, done: int, state: _State, node: int) -> tuple[int, _State]:
    """The state behind `node`."""
    then = done | 1 << node
    fresh = (other for other in net.after[node] if not net.before[other] & ~then)
    ready = tuple(sorted((*(other for other in state.ready if other != node), *fresh)))
    peak, alive = max(state.peak, state.alive + net.made[node]), state.alive + net.change(node, done)
    return then, _State(peak, alive, ready, (state.path, node))


def _closed(net: _Net, done: int, state: _State) -> tuple[int, _State]:
    """The state after running every node that frees as much as it makes and does not raise the peak: in any order that
    runs it later, running it now leaves as much alive at no step."""
    while True:
        free = (n for n in state.ready if state.alive + net.made[n] <= state.peak and net.change(n, done) <= 0)
        node = next(free, None)
        if node is None:
            return done, state
        done, state = _run(net, done, state, node)


def _nearest(net: _Net, order: Sequence[int]) -> list[int]:
    """The order with every node moved ahead to where the given order has it, as far as the peak stays what it is."""
    limit, rest, result = net.peak(order), list(order), list[int]()
    done, alive = 0, net.kept
    while rest:
        for node in sorted(n for n in rest if n <= rest[0] and not net.before[n] & ~done):
            moved = [node, *(n for n in rest if n != node)]
            if node == rest[0] or max(net.steps(moved, done, alive)) <= limit:
                break
        result.append(node)
        rest.remove(node)
        alive += net.change(node, done)
        done |= 1 << node
    return result


def _with_views(graph: QGraph, order: Sequence[int]) -> tuple[Node[QOp], ...]:
    """The graph's nodes in a new order, each view as soon as there is what it views."""
    run = [node for node in graph.nodes if not (is_view(node.op) and len(node.stages) == 1)]
    views = [node for node in graph.nodes if is_view(node.op) and len(node.stages) == 1]
    known, result = set(graph.inputs), list[Node[QOp]]()

    def place(node: Node[QOp]) -> None:
        result.append(node)
        known.update(node.outputs)
        for view in views:
            if view.outputs[0] not in known and view.inputs[0] in known:
                place(view)

    for view in views:
        if view.outputs[0] not in known and view.inputs[0] in known:
            place(view)
    for index in order:
        place(run[index])
    return tuple(result)


def _members(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _unrolled(path: Path) -> list[int]:
    result: list[int] = []
    while path is not None:
        path, node = path
        result.append(node)
    return result[::-1]
