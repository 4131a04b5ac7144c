"""The branch as nodes: a small float graph over the maps of the backbone, its integer form, and both put into the net.

    scores_i = scores_(i-1) + sum over parts of pool(map_i) @ W + b

What the scores before are multiplied by is divided out of all that follow: the largest score stays the largest, and the
exit's temperature takes it up. So a sum goes on from exit to exit, with no product on the way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from freeml.exits.features import Part, Slice, is_vector
from freeml.exits.points import Point
from freeml.ir.graph import Brought, Graph, Node, Op, OpT, QGraph, single, verify
from freeml.ir.types import Array, FloatArray, IntArray, QType, Shape, TensorType
from freeml.ops.add import Add
from freeml.ops.averagepool import AveragePool
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.maxpool import MaxPool
from freeml.ops.reshape import Reshape
from freeml.passes.fuse import fusion_groups
from freeml.quant.choose import Choice
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import Observations, observe

HEADROOM = 1.25
"""Sums have 16 bits: samples that go beyond what calibration saw need not be cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """A layer with ReLU that an exit has for itself between its map and its pools: for a map a convolution whose output
    is as large, `weights` (channels out, channels in, *kernel); for a vector a dense layer, (numbers, width). `bias` is
    (channels out or width,)."""

    weights: FloatArray
    bias: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one exit adds to the scores before: `weights` (features of the slice, classes) and `bias` (classes,), for
    features in units of the map. The slice is that of the map at `point`, or of what `front` makes of it."""

    point: Point
    slice: Slice
    weights: FloatArray
    bias: FloatArray
    front: Front | None = None

    @property
    def params(self) -> int:
        """Weights and biases."""
        own = 0 if self.front is None else self.front.weights.size + self.front.bias.size
        return self.weights.size + self.bias.size + own


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What training gives. Scores of the nodes of `terms` times `scales` are those trained; `held` are such scores at
    each exit for the samples `rows`, (rows, classes), by layers that were trained without these."""

    terms: tuple[Terms, ...]
    scales: tuple[float, ...]
    rows: IntArray
    held: tuple[FloatArray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """The nodes by the exit they belong to; `scores` are the values of the exits, the outputs of `graph`; `fronts` what
    an exit makes of its map before it pools it, by the value of that, each with its map's."""

    graph: Graph
    members: tuple[tuple[str, ...], ...]
    scores: tuple[str, ...]
    fronts: Mapping[str, str]


def make_branch(terms: Sequence[Terms], types: Mapping[str, QType], taken: Collection[str], running: bool) -> Branch:
    """The float graph whose inputs are the points, in the formats `types` that they have. Scores run on from exit to
    exit where `running`. No name is one of `taken`."""
    build = _Builder(types=types, taken=set(taken))
    scores: list[str] = []
    for index, term in enumerate(terms):
        build.exit(index + 1, term, scores[-1] if running and scores else None)
        scores.append(build.last)
    points = tuple(dict.fromkeys(term.point.value for term in terms))
    graph = Graph(
        name="exits", inputs=points, outputs=tuple(scores), nodes=tuple(build.nodes), types=build.types_of(points),
        constants=build.constants, brought={value: _brought(types[value]) for value in points},
    )  # fmt: skip
    verify(graph)
    return Branch(graph=graph, members=tuple(build.members), scores=tuple(scores), fronts=build.fronts)


def _brought(type_: QType) -> Brought:
    return Brought(
        scale=np.array([type_.scale]), zero_point=np.array([type_.zero_point]), bits=8 if type_.dtype == "int8" else 16
    )


class _Builder:
    """Nodes one after the other."""

    def __init__(self, *, types: Mapping[str, QType], taken: set[str]) -> None:
        self.maps, self.taken = types, taken
        self.nodes: list[Node[Op]] = []
        self.members: list[tuple[str, ...]] = []
        self.found: dict[str, TensorType] = {}
        self.constants: dict[str, Array] = {}
        self.fronts: dict[str, str] = {}
        self.last = ""

    def types_of(self, points: Sequence[str]) -> dict[str, TensorType]:
        """Of every value, the points included."""
        return {**{value: TensorType(shape=self.maps[value].shape) for value in points}, **self.found}

    def fresh(self, base: str) -> str:
        """A name that nothing has."""
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def add(self, base: str, op: Op, inputs: Sequence[str], source: str, shape: tuple[int, ...]) -> str:
        """One node, which is called as its value."""
        name = self.fresh(base)
        self.nodes.append(single(name, op, tuple(inputs), (name,), source))
        self.found[name] = TensorType(shape=shape)
        return name

    def constant(self, base: str, values: FloatArray) -> str:
        """A constant under a fresh name."""
        name = self.fresh(base)
        self.constants[name] = np.asarray(values, dtype=np.float64)
        self.found[name] = TensorType(shape=values.shape)
        return name

    def exit(self, number: int, term: Terms, before: str | None) -> None:
        """The parts of a slice, each with its own layer on top of the sum so far."""
        first, start = len(self.nodes), 0
        value, source, total = term.point.value, term.point.source or term.point.node, before
        shape = self.maps[value].shape
        if term.front is not None:
            value, shape = self.front(f"exit{number}_front", term.front, value, source)
        for index, part in enumerate(term.slice.parts):
            stem = f"exit{number}" if index == len(term.slice.parts) - 1 else f"exit{number}_{part.kind}_only"
            flat = self.flat(f"exit{number}_{part.kind}", part, value, shape, source)
            weights = self.constant(f"{stem}_weights", term.weights[start : start + part.words])
            start += part.words
            inputs = [flat, weights]
            if index == 0:
                inputs.append(self.constant(f"{stem}_bias", term.bias))
            out = (1, term.weights.shape[1])
            added = self.add(f"{stem}_layer" if total else stem, Dense(), inputs, source, out)
            total = self.add(stem, Add(), (added, total), source, out) if total else added
        assert total is not None
        self.last = total
        self.members.append(tuple(node.name for node in self.nodes[first:]))

    def front(self, stem: str, front: Front, point: str, source: str) -> tuple[str, Shape]:
        """What a front makes of the map at `point`, and its shape."""
        weights, bias = self.constant(f"{stem}_weights", front.weights), self.constant(f"{stem}_bias", front.bias)
        value, shape, relu = point, self.maps[point].shape, (0.0, np.inf)
        op: Op
        if is_vector(shape):
            flat = (1, self.maps[point].size)
            if shape != flat:
                value = self.add(f"{stem}_flat", Reshape(shape=flat), (value,), source, flat)
            op, shape = Dense(clamp=relu), (1, front.weights.shape[1])
        else:
            kernel = front.weights.shape[2:]
            ones, pads = (1,) * len(kernel), tuple((extent // 2, extent // 2) for extent in kernel)
            op = Conv(strides=ones, dilations=ones, pads=pads, clamp=relu)
            shape = (1, front.weights.shape[0], *shape[2:])
        value = self.add(stem, op, (value, weights, bias), source, shape)
        self.fronts[value] = point
        return value, shape

    def flat(self, stem: str, part: Part, value: str, shape: Shape, source: str) -> str:
        """The features of a part of a value of this shape, (1, words)."""
        if part.kind != "whole":
            if is_vector(shape):
                size = int(np.prod(shape, dtype=np.int64))
                value, shape = self.add(f"{stem}_row", Reshape(shape=(1, 1, size)), (value,), source, (1, 1, size)), (
                    1, 1, size,
                )  # fmt: skip
            ones, none = (1,) * len(part.kernel), ((0, 0),) * len(part.kernel)
            op: MaxPool | AveragePool
            if part.kind == "max":
                op = MaxPool(kernel=part.kernel, strides=part.strides, dilations=ones, pads=none)
            else:
                op = AveragePool(kernel=part.kernel, strides=part.strides, dilations=ones, pads=none)
            shape = (*shape[:2], *op.window.out_extents(shape[2:]))
            value = self.add(stem, op, (value,), source, shape)
        if shape == (1, part.words):
            return value
        return self.add(f"{stem}_flat", Reshape(shape=(1, part.words)), (value,), source, (1, part.words))


def quantize_branch(branch: Branch, maps: Mapping[str, Array], choice: Choice) -> tuple[QGraph, Observations]:
    """Its integer form, for real maps (samples, *shape) by point: sums have 16 bits, fronts and pooled features those
    of their map."""
    seen = observe(branch.graph, maps)
    sums = {v for stage in branch.graph.stages() if isinstance(stage.op, (Dense, Add)) for v in stage.outputs}
    sums -= set(branch.fronts)
    values = {
        name: replace(o, low=o.low * HEADROOM, high=o.high * HEADROOM) if name in sums else o
        for name, o in seen.values.items()
    }
    seen = replace(seen, values=values)
    wide = [value for value, point in branch.fronts.items() if choice.qgraph.types[point].dtype == "int16"]
    precision = Precision(default="int8", widths=dict.fromkeys((*sums, *wide), "int16"))
    return (
        quantize(branch.graph, seen, precision=precision, method=choice.method, groups=fusion_groups(branch.graph)),
        seen,
    )


def merged(choice: Choice, branch: Branch, qbranch: QGraph, seen: Observations, points: Sequence[Point]) -> Choice:
    """The net with the branch: every exit's nodes follow the node that makes its point; those of the backbone are what
    they were, in the order in which they were."""
    graph, qgraph = choice.graph, choice.qgraph
    floats = {name: index for index, names in enumerate(branch.members) for name in names}
    owner = {v: floats[n.name] for n in branch.graph.nodes for v in n.outputs}
    with_branch = replace(
        graph,
        nodes=_inserted(graph.nodes, branch.graph.nodes, points, {n.name: floats[n.name] for n in branch.graph.nodes}),
        outputs=(*graph.outputs, *branch.scores),
        types={**branch.graph.types, **graph.types},
        constants={**graph.constants, **branch.graph.constants},
    )
    integers = {n.name: owner[n.outputs[0]] for n in qbranch.nodes}
    with_integers = replace(
        qgraph,
        nodes=_inserted(qgraph.nodes, qbranch.nodes, points, integers),
        outputs=(*qgraph.outputs, *branch.scores),
        types={**qbranch.types, **qgraph.types},
        constants={**qgraph.constants, **qbranch.constants},
    )
    verify(with_branch)
    verify(with_integers)
    observations = replace(choice.observations, values={**seen.values, **choice.observations.values})
    return replace(choice, graph=with_branch, qgraph=with_integers, observations=observations)


def _inserted(
    nodes: Sequence[Node[OpT]], added: Sequence[Node[OpT]], points: Sequence[Point], exit_of: Mapping[str, int]
) -> tuple[Node[OpT], ...]:
    """`added` behind the nodes that make their points, the exits in order."""
    found: list[Node[OpT]] = []
    waiting = list(range(len(points)))
    made: set[str] = set()
    for node in nodes:
        found.append(node)
        made.update(node.outputs)
        while waiting and points[waiting[0]].value in made:
            number = waiting.pop(0)
            found += [new for new in added if exit_of[new.name] == number]
    assert not waiting, "expected points that nodes make"
    return tuple(found)
