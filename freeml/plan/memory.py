"""Memory: when each stored value is alive, and the address it gets.

The liveness lower bound is the largest sum of bytes alive at one step; no placement can be smaller. Placement is first
fit over several orders, then seeded exchanges of that order until the bound is met or the tries are used up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from freeml.ir.graph import BaseGraph, Graph, OpT, QGraph, TypeT
from freeml.ops.reshape import QReshape, Reshape
from freeml.targets import Board

ALIGNMENT_BYTES = 4
EXCHANGES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """One block of the arena: alive from step `first` to step `last` (both included; -1 is before the first node)."""

    value: str
    size_bytes: int
    first: int
    last: int
    offset: int = 0

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Addresses of all stored values. `aliases` maps a reshaped value to the value whose buffer it shares."""

    buffers: tuple[Buffer, ...]
    aliases: Mapping[str, str]
    arena_bytes: int
    lower_bound_bytes: int
    peak_step: int

    def offset(self, value: str) -> int:
        """Byte offset of a value in the arena."""
        owner = self.aliases.get(value, value)
        return next(b.offset for b in self.buffers if b.value == owner)


def is_view(op: object) -> bool:
    """Operators that cost neither code nor memory."""
    return isinstance(op, (QReshape, Reshape))


def plan_memory(graph: QGraph, alignment_bytes: int = ALIGNMENT_BYTES) -> MemoryPlan:
    """Place every stored value of the graph, in the graph's order of execution, each at a multiple of the alignment."""
    return _plan(graph, {name: type_.size_bytes for name, type_ in graph.types.items()}, alignment_bytes)


def unfused_bytes(graph: Graph, item_bytes: Callable[[str], int], alignment_bytes: int = ALIGNMENT_BYTES) -> int:
    """The arena that a float graph would take with the output of every operator stored, in its own order and by the
    same planning; `item_bytes` gives the bytes of one element of each value. Reshapes take nothing here either."""
    sizes = {name: type_.size * item_bytes(name) for name, type_ in graph.types.items()}
    return _plan(graph, sizes, alignment_bytes).arena_bytes


def _plan(graph: BaseGraph[OpT, TypeT], sizes: Mapping[str, int], alignment_bytes: int) -> MemoryPlan:
    aliases: dict[str, str] = {}
    first: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    last: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    for step, node in enumerate(graph.nodes):
        for value in graph.activations(node):
            owner = aliases.get(value, value)
            last[owner] = step
        for value in node.outputs:
            if is_view(node.op) and len(node.stages) == 1:
                source = node.stages[0].inputs[0]
                aliases[value] = aliases.get(source, source)
            else:
                first[value] = last[value] = step
    for value in graph.outputs:
        last[aliases.get(value, value)] = len(graph.nodes)
    # a view takes no step of its own, but it keeps its owner alive through its readers (handled above)
    unplaced = [
        Buffer(value=v, size_bytes=aligned(sizes[v], alignment_bytes), first=first[v], last=last[v]) for v in first
    ]
    steps = range(-1, len(graph.nodes) + 1)
    alive = {s: sum(b.size_bytes for b in unplaced if b.first <= s <= b.last) for s in steps}
    peak = max(steps, key=lambda s: (alive[s], -s))
    buffers = _place(unplaced, alive[peak])
    arena = max((b.offset + b.size_bytes for b in buffers), default=0)
    return MemoryPlan(
        buffers=tuple(sorted(buffers, key=lambda b: (b.first, b.offset))),
        aliases=aliases,
        arena_bytes=arena,
        lower_bound_bytes=alive[peak],
        peak_step=peak,
    )


def arena_alignment(board: Board) -> int:
    """Alignment of values in a board's arena: whole granules where it is copied to non-volatile memory, so that a write
    of one value never touches another."""
    return ALIGNMENT_BYTES if board.activations == "nv" else max(ALIGNMENT_BYTES, board.nv_granule_bytes)


def aligned(size_bytes: int, alignment_bytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-size_bytes // alignment_bytes) * alignment_bytes


def _place(buffers: Sequence[Buffer], bound: int) -> list[Buffer]:
    orders = [
        sorted(buffers, key=lambda b: (-b.size_bytes, b.first, b.value)),
        sorted(buffers, key=lambda b: (b.first, -b.size_bytes, b.value)),
        sorted(buffers, key=lambda b: (b.first - b.last, -b.size_bytes, b.value)),
    ]
    placed = [(_extent(p), index, p) for index, p in enumerate(_first_fit(o) for o in orders)]
    best_extent, index, best = min(placed, key=lambda item: item[:2])
    order = list(orders[index])
    chance = random.Random(0)
    for _ in range(EXCHANGES if len(order) > 1 else 0):
        if best_extent <= bound:
            break
        i, j = chance.randrange(len(order)), chance.randrange(len(order))
        candidate = list(order)
        candidate[i], candidate[j] = candidate[j], candidate[i]
        attempt = _first_fit(candidate)
        if _extent(attempt) <= best_extent:
            best_extent, best, order = _extent(attempt), attempt, candidate
    return best


def _extent(buffers: Sequence[Buffer]) -> int:
    return max((b.offset + b.size_bytes for b in buffers), default=0)


def _first_fit(order: Sequence[Buffer]) -> list[Buffer]:
    """Each buffer at the lowest offset free during its whole life."""
    placed: list[Buffer] = []
    for buffer in order:
        offset = 0
        for other in sorted((p for p in placed if p.overlaps(buffer)), key=lambda p: p.offset):
            if offset + buffer.size_bytes <= other.offset:
                break
            offset = max(offset, other.offset + other.size_bytes)
        placed.append(
            Buffer(
                value=buffer.value, size_bytes=buffer.size_bytes, first=buffer.first, last=buffer.last, offset=offset
            )
        )
    return placed
