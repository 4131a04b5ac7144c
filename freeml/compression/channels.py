"""Which channels of a float graph can be removed, and what goes with each.

Every producer of channels (a convolution, a dense layer) labels the channels of its output with fresh numbers. Labels
are followed along one axis of each value; where two meet (residual sums, products) they become one. What is left is a
set of *units*: a unit is removed as a whole or not at all. Where a value's labels cannot be followed they become KEPT,
and so do those of the graph's outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from freeml.compression.coarse import coarse_bits
from freeml.ir.graph import Brought, Graph, Op, Stage, verify
from freeml.ir.types import IntArray, Shape, TensorType
from freeml.ops.averagepool import AveragePool
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.binary import Binary
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.lut import Pointwise
from freeml.ops.maxpool import MaxPool
from freeml.ops.pad import Pad
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.slice import Slice
from freeml.ops.transpose import Transpose

KEPT = 0
"""The label of what is never removed."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The unit of every index along one axis of a value or constant: int64, as long as the axis."""

    axis: int
    ids: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """What can be removed from a graph. `labels` are those of values, `cuts` those of constants, KEPT included."""

    labels: Mapping[str, Labels]
    cuts: Mapping[str, tuple[Labels, ...]]

    @property
    def units(self) -> tuple[int, ...]:
        """Everything that can be removed, in order."""
        return tuple(sorted({int(i) for found in self.labels.values() for i in found.ids} - {KEPT}))

    @property
    def families(self) -> tuple[tuple[int, ...], ...]:
        """Units that live in the same values, in order: removing one costs and saves what removing another does."""
        where: dict[int, list[str]] = {unit: [] for unit in self.units}
        for name, found in self.labels.items():
            for unit in np.unique(found.ids[found.ids != KEPT]):
                where[int(unit)].append(name)
        families: dict[tuple[str, ...], list[int]] = {}
        for unit, names in where.items():
            families.setdefault(tuple(names), []).append(unit)
        return tuple(tuple(units) for units in families.values())

    def empties(self, removed: Set[int]) -> bool:
        """Whether some value would lose its last channel."""
        gone = np.array(sorted(removed), dtype=np.int64)
        return any(np.isin(found.ids, gone).all() for found in self.labels.values())

    def floor(self) -> frozenset[int]:
        """As many units as can be removed at once: all but the first that each value needs."""
        removed = set(self.units)
        for found in self.labels.values():
            if set(found.ids.tolist()) <= removed:
                removed.discard(int(found.ids[0]))
        return frozenset(removed)


def find_channels(graph: Graph) -> Channels:
    """The channels of a graph after the passes."""
    walk = _Walk(graph)
    for stage in graph.stages():
        found = walk.follow(stage)
        if found is not None:
            walk.labels[stage.outputs[0]] = found
    for value in graph.outputs:
        walk.keep(value)
    return walk.finish()


def remove(graph: Graph, channels: Channels, removed: Set[int]) -> Graph:
    """The smaller graph. Of the formats and statistics that the graph came with only those of coarse weights outlive
    its channels.

    `removed` are units of `channels`, found in this graph; ValueError when a value would lose its last channel.
    """
    if not set(removed) <= set(channels.units) or channels.empties(removed):
        raise ValueError("expected units of this graph, and one channel left of every value")
    gone = np.array(sorted(removed), dtype=np.int64)
    constants, types = dict(graph.constants), dict(graph.types)
    for name, cuts in channels.cuts.items():
        for cut in cuts:
            constants[name] = np.compress(~np.isin(cut.ids, gone), constants[name], axis=cut.axis)
        types[name] = replace(types[name], shape=constants[name].shape)
    for name, found in channels.labels.items():
        shape = types[name].shape
        kept = int((~np.isin(found.ids, gone)).sum())
        types[name] = replace(types[name], shape=(*shape[: found.axis], kept, *shape[found.axis + 1 :]))
    nodes = tuple(
        replace(n, stages=tuple(replace(s, op=_fitted(s, graph.types, types)) for s in n.stages)) for n in graph.nodes
    )
    brought = {name: _cut_format(graph.brought[name], channels.cuts.get(name, ()), gone) for name in coarse_bits(graph)}
    smaller = replace(graph, nodes=nodes, types=types, constants=constants, brought=brought, statistics={})
    verify(smaller)
    return smaller


def _cut_format(brought: Brought, cuts: tuple[Labels, ...], gone: IntArray) -> Brought:
    """The format of constants that lost the indices of removed units."""
    for cut in cuts:
        if cut.axis == brought.axis:
            left = ~np.isin(cut.ids, gone)
            brought = replace(brought, scale=brought.scale[left], zero_point=brought.zero_point[left])
    return brought


def _fitted(stage: Stage[Op], before: Mapping[str, TensorType], after: Mapping[str, TensorType]) -> Op:
    """The operator with the attributes that name extents brought to the new ones."""
    op, shape = stage.op, after[stage.outputs[0]].shape
    if shape == before[stage.outputs[0]].shape and isinstance(op, (Reshape, Slice, Resize)):
        return op
    if isinstance(op, Conv) and op.group > 1:
        return replace(op, group=op.group * after[stage.inputs[0]].shape[1] // before[stage.inputs[0]].shape[1])
    if isinstance(op, Reshape):
        return replace(op, shape=shape)
    if isinstance(op, Slice):
        return replace(op, sizes=shape)
    if isinstance(op, Resize):  # the axis that shrank is read as it is; the others keep their tables
        return replace(
            op, indices=tuple(t if len(t) == n else tuple(range(n)) for t, n in zip(op.indices, shape, strict=True))
        )
    return op


@dataclass(slots=True)
class _Walk:
    """Labels under construction: a union-find forest whose roots are the smallest label of each set."""

    graph: Graph
    labels: dict[str, Labels] = field(default_factory=dict)
    cuts: dict[str, list[Labels]] = field(default_factory=dict)
    parents: list[int] = field(default_factory=lambda: [KEPT])
    uses: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.uses = Counter(v for s in self.graph.stages() for v in s.inputs if v in self.graph.constants)

    def root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = self.parents[self.parents[label]]
            label = self.parents[label]
        return label

    def roots(self, ids: IntArray) -> IntArray:
        return np.array([self.root(int(i)) for i in ids], dtype=np.int64)

    def join(self, one: IntArray, two: IntArray) -> None:
        for a, b in zip(one.tolist(), two.tolist(), strict=True):
            low, high = sorted((self.root(a), self.root(b)))
            self.parents[high] = low

    def keep_ids(self, ids: IntArray) -> None:
        self.join(ids, np.full_like(ids, KEPT))

    def keep(self, *values: str) -> None:
        for value in values:
            if value in self.labels:
                self.keep_ids(self.labels[value].ids)

    def fresh(self, count: int) -> IntArray:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def cut(self, constant: str, axis: int, ids: IntArray) -> None:
        """The constant loses an index with its label; one that several read keeps all."""
        if self.uses[constant] > 1:
            self.keep_ids(ids)
        self.cuts.setdefault(constant, []).append(Labels(axis, ids))

    def shape(self, value: str) -> Shape:
        return self.graph.types[value].shape

    def follow(self, stage: Stage[Op]) -> Labels | None:
        """The labels of the stage's output; None where it has none, and then its inputs keep all their channels."""
        rule = next((rule for kind, rule in RULES.items() if isinstance(stage.op, kind)), None)
        found = rule(self, stage) if rule is not None and len(stage.outputs) == 1 else None
        if found is None:
            self.keep(*stage.inputs)
        return found

    def finish(self) -> Channels:
        labels = {name: Labels(found.axis, self.roots(found.ids)) for name, found in self.labels.items()}
        cuts = {name: tuple(Labels(c.axis, self.roots(c.ids)) for c in cuts) for name, cuts in self.cuts.items()}
        return Channels(
            labels={name: found for name, found in labels.items() if found.ids.any()},
            cuts={name: tuple(c for c in found if c.ids.any()) for name, found in cuts.items()},
        )


# --- how labels pass each operator: (walk, stage) -> labels of the output, or None
# ----------------------------------------------------------------------------------


def _conv(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    op, (x, w) = cast(Conv, stage.op), stage.inputs[:2]
    if any(v not in walk.graph.constants for v in stage.inputs[1:]):
        return None
    source, outputs = walk.labels.get(x), walk.shape(w)[0]
    if source is not None and source.axis != 1:
        walk.keep(x)
        source = None
    if op.group == 1:
        ids = walk.fresh(outputs)
        if source is not None:
            walk.cut(w, 1, source.ids)
    elif source is not None and walk.shape(w)[1] == 1:  # depthwise: every output channel goes with its input channel
        ids = np.repeat(source.ids, outputs // op.group)
    else:
        return None
    walk.cut(w, 0, ids)
    for bias in stage.inputs[2:]:
        walk.cut(bias, 0, ids)
    return Labels(1, ids)


def _dense(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    x, w = stage.inputs[:2]
    if any(v not in walk.graph.constants for v in stage.inputs[1:]):
        return None
    source = walk.labels.get(x)
    if source is not None and source.axis != len(walk.shape(x)) - 1:
        walk.keep(x)
        source = None
    ids = walk.fresh(walk.shape(w)[1])
    if source is not None:
        walk.cut(w, 0, source.ids)
    walk.cut(w, 1, ids)
    for bias in stage.inputs[2:]:
        walk.cut(bias, 0, ids)
    return Labels(len(walk.shape(x)) - 1, ids)


def _elementwise(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    """One or more operands with broadcasting: labels along the same axis of the result become one."""
    rank = len(walk.shape(stage.outputs[0]))
    behind = {v: rank - len(walk.shape(v)) for v in stage.inputs}
    labelled = [v for v in stage.inputs if v in walk.labels]
    axes = {walk.labels[v].axis + behind[v] for v in labelled}
    if len(axes) != 1:
        return None
    axis = axes.pop()
    extent = walk.shape(stage.outputs[0])[axis]
    whole = [v for v in stage.inputs if axis >= behind[v] and walk.shape(v)[axis - behind[v]] == extent]
    flowing = [v for v in whole if v not in walk.graph.constants]
    if any(v not in walk.labels for v in flowing) or any(v not in whole for v in labelled):
        return None
    ids = walk.labels[flowing[0]].ids
    for value in flowing[1:]:
        walk.join(ids, walk.labels[value].ids)
    for value in dict.fromkeys(whole):
        if value in walk.graph.constants:
            walk.cut(value, axis - behind[value], ids)
    return Labels(axis, ids)


def _batch_norm(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    source = walk.labels.get(stage.inputs[0])
    if source is None or source.axis != 1 or any(v not in walk.graph.constants for v in stage.inputs[1:]):
        return None
    for constant in stage.inputs[1:]:
        walk.cut(constant, 0, source.ids)
    return source


def _along(untouched: Callable[[Any, int, Shape], bool]) -> Callable[[_Walk, Stage[Op]], Labels | None]:
    """An operator that leaves the labelled axis as it is where `untouched(op, axis, input shape)` says so."""

    def rule(walk: _Walk, stage: Stage[Op]) -> Labels | None:
        source = walk.labels.get(stage.inputs[0])
        if source is None or not untouched(stage.op, source.axis, walk.shape(stage.inputs[0])):
            return None
        return source

    return rule


def _mean(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    op, source = cast(ReduceMean, stage.op), walk.labels.get(stage.inputs[0])
    if source is None or source.axis in op.axes:
        return None
    return source if op.keepdims else Labels(source.axis - sum(a < source.axis for a in op.axes), source.ids)


def _transpose(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    op, source = cast(Transpose, stage.op), walk.labels.get(stage.inputs[0])
    return None if source is None else Labels(op.perm.index(source.axis), source.ids)


def _reshape(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    """Followed where all elements of a unit lie in whole indices of one new axis, as behind Flatten."""
    source, shape = walk.labels.get(stage.inputs[0]), walk.shape(stage.inputs[0])
    if source is None:
        return None
    along = [1] * len(shape)
    along[source.axis] = shape[source.axis]
    full = np.broadcast_to(walk.roots(source.ids).reshape(along), shape).reshape(walk.shape(stage.outputs[0]))
    for axis, extent in enumerate(walk.shape(stage.outputs[0])):
        line = np.moveaxis(full, axis, 0).reshape(extent, -1)
        if extent > 1 and (line == line[:, :1]).all():
            return Labels(axis, line[:, 0].copy())
    return None


def _concat(walk: _Walk, stage: Stage[Op]) -> Labels | None:
    """Along the labelled axis the labels follow one another; along another axis they become one."""
    op, found = cast(Concat, stage.op), [walk.labels.get(v) for v in stage.inputs]
    axes = {labels.axis for labels in found if labels is not None}
    if len(axes) != 1:
        return None
    axis = axes.pop()
    if axis == op.axis:
        parts = [
            np.full(walk.shape(v)[axis], KEPT) if labels is None else labels.ids
            for v, labels in zip(stage.inputs, found, strict=True)
        ]
        return Labels(axis, np.concatenate(parts))
    ids = [labels.ids for labels in found if labels is not None]
    if len(ids) != len(found):
        return None
    for others in ids[1:]:
        walk.join(ids[0], others)
    return Labels(axis, ids[0])


RULES: dict[type, Callable[[_Walk, Stage[Op]], Labels | None]] = {
    Conv: _conv,
    Dense: _dense,
    Binary: _elementwise,
    PRelu: _elementwise,
    Clip: _elementwise,
    Pointwise: _elementwise,
    BatchNorm: _batch_norm,
    MaxPool: _along(lambda op, axis, shape: axis == 1),
    AveragePool: _along(lambda op, axis, shape: axis == 1),
    Pad: _along(lambda op, axis, shape: op.pads[axis] == (0, 0)),
    Slice: _along(lambda op, axis, shape: (op.starts[axis], op.steps[axis], op.sizes[axis]) == (0, 1, shape[axis])),
    Resize: _along(lambda op, axis, shape: op.indices[axis] == tuple(range(shape[axis]))),
    ReduceMean: _mean,
    Transpose: _transpose,
    Reshape: _reshape,
    Concat: _concat,
}
