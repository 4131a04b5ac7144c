"""Where exits can be, and which of the places are worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freeml.exits.asked import ExitsError
from freeml.ir.graph import Graph, QGraph, QOp, Stage
from freeml.ops.argmax import QArgMax
from freeml.ops.copying import QCopy
from freeml.ops.logsoftmax import QLogSoftmax
from freeml.ops.lut import QInterpolated, QTable
from freeml.ops.reshape import QReshape
from freeml.ops.softmax import QSoftmax
from freeml.ops.transpose import QTranspose

MOST_CLASSES = 256
COUNT = 3
"""Exits where nothing else is asked."""

MOVES = (QReshape, QTranspose, QCopy)
"""Operators that give what they are given, in another shape or place."""

_ENDS = (*MOVES, QSoftmax, QLogSoftmax, QArgMax, QTable, QInterpolated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A stored value that an exit can look at. `node` makes it, the node number `index` of the integer graph; `source`
    is what the model calls that node; `share` is how much of an inference's cost is spent when it is there (0..1)."""

    value: str
    node: str
    source: str
    index: int
    share: float


def classifier(qgraph: QGraph, output: str | None) -> tuple[str, int]:
    """The output that holds scores of classes, and how many; `output` names it, None stands for the first.

    Raises ExitsError where it is none.
    """
    name = qgraph.outputs[0] if output is None else output
    if name not in qgraph.outputs:
        raise ExitsError(f"exits: expected one of the outputs {', '.join(qgraph.outputs)}, found {output}")
    type_ = qgraph.types[name]
    if type_.dtype == "int32":
        raise ExitsError(
            f"exits: expected an output with the scores of classes, found the index {name}; leave the ArgMax out of "
            "the model, or compile it with --exits none"
        )
    if type_.size < 2 or max(type_.shape) != type_.size:
        raise ExitsError(
            f"exits: expected an output with the scores of two classes or more, found {name} of shape {type_.shape}"
            + (f"; choose another of {', '.join(qgraph.outputs)}" if len(qgraph.outputs) > 1 else "")
            + "; a net that tells no classes apart always runs to its end: compile it with --exits none"
        )
    if type_.size > MOST_CLASSES:
        raise ExitsError(f"exits: expected at most {MOST_CLASSES} classes, found {type_.size} in output {name}")
    return name, type_.size


def candidates(graph: Graph, qgraph: QGraph, costs: Mapping[str, float]) -> tuple[Point, ...]:
    """Every place, in order of execution. `costs` has what each stored value costs to compute, in any unit.

    A place is a stored 8- or 16-bit activation of one sample that both graphs know. What an output is only moved,
    scaled or looked up from is none: whoever has it is at the end.
    """
    ends = _ends(qgraph)
    each = [sum(costs.get(value, 0.0) for value in node.outputs) for node in qgraph.nodes]
    total = sum(each) or 1.0
    found = []
    for index, node in enumerate(qgraph.nodes):
        (value, *more) = node.outputs
        type_ = qgraph.types[value]
        moved = all(isinstance(stage.op, MOVES) for stage in node.stages)
        if more or moved or value in ends or value not in graph.types or type_.dtype == "int32" or type_.size < 2:
            continue
        if type_.shape[:1] != (1,) or graph.types[value].shape != type_.shape:
            continue
        point = Point(
            value=value, node=node.name, source=node.source, index=index, share=sum(each[: index + 1]) / total
        )
        found.append(point)
    return tuple(found)


def _ends(qgraph: QGraph) -> set[str]:
    """The outputs, and what they are but another form of."""
    makers: dict[str, Stage[QOp]] = {v: stage for stage in qgraph.stages() for v in stage.outputs}
    found: set[str] = set()
    waiting = list(qgraph.outputs)
    while waiting:
        value = waiting.pop()
        found.add(value)
        stage = makers.get(value)
        if stage is not None and isinstance(stage.op, _ENDS) and stage.inputs[0] not in found:
            waiting.append(stage.inputs[0])
    return found


def named_points(graph: Graph, qgraph: QGraph, places: Sequence[Point], names: Sequence[str]) -> tuple[Point, ...]:
    """The places of values or nodes of these names, in order of execution.

    A name inside a fused node means what that node stores, one of a reshape means what is reshaped. Raises ExitsError
    for a name that is no place.
    """
    found: dict[int, str] = {}
    for name in names:
        point = _resolve(graph, qgraph, places, name)
        if point.index in found:
            raise ExitsError(
                f"exits: expected layers that are stored each for itself, found {found[point.index]} and {name}, which "
                f"are one value ({point.value}); name one of them"
            )
        found[point.index] = name
    return tuple(point for point in places if point.index in found)


def _resolve(graph: Graph, qgraph: QGraph, places: Sequence[Point], name: str) -> Point:
    outputs: dict[str, tuple[str, ...]] = {}
    for known in graph.nodes:
        for called in (known.name, known.source):
            outputs.setdefault(called, known.outputs)
    wanted = {name, *outputs.get(name, ())}
    by_value = {point.value: point for point in places}
    for node in qgraph.nodes:
        if not wanted & {node.name, node.source, *node.outputs, *node.internal}:
            continue
        value = node.outputs[0]
        while value not in by_value:  # a view of a place is that place
            maker = qgraph.producer(value)
            if maker is None or not isinstance(maker.op, MOVES):
                break
            value = maker.stages[0].inputs[0]
        if value in by_value:
            return by_value[value]
    raise ExitsError(
        f"exits: expected a layer that stores a map before the net's end, found {name!r}; there are "
        + ", ".join(_names(point) for point in places)
    )


def _names(point: Point) -> str:
    return point.value if point.source in ("", point.value) else f"{point.source} ({point.value})"


def check_places(places: Sequence[Point]) -> None:
    """Raise ExitsError where an inference could only run to its end."""
    if not places:
        raise ExitsError(
            "exits: expected a layer that stores a map before the net's end, found none: inference always runs to the "
            "end; compile it with --exits none"
        )


def choose_points(places: Sequence[Point], accuracies: Sequence[float], count: int | None) -> tuple[Point, ...]:
    """The places that add most to the mean accuracy of answers over an inference, one after the other.

    `accuracies` are those of a linear layer on each place. The answer at any time is that of the best place passed, and
    the mean is over the share of the cost. Without a `count`, a place that adds nothing is left out.
    """
    chosen: list[int] = []
    while len(chosen) < min(len(places), count or COUNT):
        rest = [index for index in range(len(places)) if index not in chosen]

        def gain(index: int) -> tuple[float, float]:
            return _mean(places, accuracies, [*chosen, index]), accuracies[index]

        best = max(rest, key=gain)
        if count is None and chosen and gain(best)[0] <= _mean(places, accuracies, chosen):
            break
        chosen.append(best)
    return tuple(places[index] for index in sorted(chosen))


def _mean(places: Sequence[Point], accuracies: Sequence[float], chosen: Sequence[int]) -> float:
    """Mean over the cost of the best accuracy so far, 0 before the first place."""
    area = best = start = 0.0
    for index in sorted(chosen):
        area += best * (places[index].share - start)
        start, best = places[index].share, max(best, accuracies[index])
    return area + best * (1.0 - start)
