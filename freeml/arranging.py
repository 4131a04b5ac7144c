"""An integer graph as a board runs it: its layout, its order, its memory and, where bytes are lacking, what it computes
twice. A compile and the estimates of a search both arrange here, so that they plan alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from freeml.codegen.lower import lower
from freeml.errors import DoesNotFitError
from freeml.ir.graph import QGraph
from freeml.plan.again import Arranged, Price, repeatable, with_copies
from freeml.plan.cost import CostModel
from freeml.plan.events import events_by_layer
from freeml.plan.exits import branch_early, exits_of
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import ALIGNMENT_BYTES, MemoryPlan, arena_alignment, plan_memory
from freeml.plan.order import arranged
from freeml.targets import Board

Again = Literal["never", "needed", "wherever"]
"""Whether layers are computed twice: never, where the net does not fit otherwise, or wherever that saves memory."""

B = TypeVar("B")

LAYER_BYTES = 288
"""Flash that the code of one more layer takes, about, which no plan counts (zig, MSP430: LeNet-5 and the watch net)."""


def arrange(qgraph: QGraph, board: Board) -> Arranged:
    """Layout, order and memory of an integer graph that is in the model's own layout."""
    graph, memory = ordered(to_channels_last(qgraph), arena_alignment(board))
    return Arranged(graph=graph, memory=memory, again={})


def ordered(laid: QGraph, alignment_bytes: int = ALIGNMENT_BYTES) -> tuple[QGraph, MemoryPlan]:
    """Order and memory of a graph whose layout is chosen; exits as early as they can be."""
    if exits_of(laid) is None:
        return arranged(laid, alignment_bytes)
    graph = branch_early(laid, lambda backbone: arranged(backbone, alignment_bytes)[0])
    return graph, plan_memory(graph, alignment_bytes)


def arrange_again(plain: Arranged, board: Board, prices: CostModel | None, *, flash_is_short: bool) -> Arranged:
    """The same in fewer bytes, where some values can be computed twice instead of being kept.

    Where the arena lies in flash, or that is short too, a copy must save more than its code and tables take. Layers
    whose cost nobody knows run once, and so do all of a net with exits: what an exit looks at is not computed anew.
    """
    if prices is None or exits_of(plain.graph) is not None:
        return plain
    counted = flash_is_short or board.activations == "nv"
    program = lower(plain.graph, plain.memory, board=board)
    costs = [prices.predict(events) for events in events_by_layer(program.layers)]
    nodes = {node.outputs[0]: node for node in plain.graph.nodes}
    found: dict[str, Price] = {}
    for layer, cost in zip(program.layers, costs, strict=True):
        if cost is not None and repeatable(nodes[layer.value]):
            tables = sum(data.size_bytes for data in program.data if data.layer == layer.name)
            found[layer.value] = Price(time=cost, flash_bytes=LAYER_BYTES + tables if counted else 0)
    return with_copies(plain, arena_alignment(board), found, sum(cost for cost in costs if cost is not None))


def build_arranged(
    plain: Arranged, twice: Callable[[], Arranged], build: Callable[[Arranged], B], enough: Callable[[B], bool],
    again: Again,
) -> B:  # fmt: skip
    """What `build` makes of a graph as it was arranged plainly, or of what `twice` gives, by `again`: for "needed" of
    the second only where the first does not fit the board, or the second is `enough` and the first is not.

    Raises what `build` raises.
    """
    if again != "needed":
        return build(plain if again == "never" else twice())
    try:
        first = build(plain)
    except DoesNotFitError:
        smaller = twice()
        if not smaller.again:
            raise
        return build(smaller)
    smaller = plain if enough(first) else twice()
    if not smaller.again:
        return first
    try:
        second = build(smaller)
    except DoesNotFitError:
        return first
    return second if enough(second) else first
