"""One form for what exporters write in several: means become pools where they are pools, and keep their axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from freeml.ir.graph import Graph, Node, Op, single
from freeml.ir.rewrite import Editor
from freeml.ir.types import Shape, TensorType
from freeml.ops.averagepool import AveragePool
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape


@dataclass(frozen=True, slots=True)
class CanonicalMeans:
    """A mean over all spatial axes becomes a global average pool, which fuses into the convolution before it.

    Any other mean keeps its axes and drops them with a reshape, which is free and lets layout planning reorder it.
    """

    name: str = "canonical-means"

    def apply(self, graph: Graph) -> Graph:
        """Every ReduceMean of the graph."""
        edit: Editor[Op, TensorType] = Editor.of(graph)
        for node in graph.nodes:
            if isinstance(node.op, ReduceMean):
                edit.replace(node, *self._rewritten(edit, node, node.op))
        return cast(Graph, edit.finish())

    def _rewritten(self, edit: Editor[Op, TensorType], node: Node[Op], op: ReduceMean) -> tuple[Node[Op], ...]:
        source, out = node.stages[0].inputs[0], node.outputs[0]
        shape = edit.types[source].shape
        kept = tuple(1 if axis in op.axes else extent for axis, extent in enumerate(shape))
        mean = _as_mean(op, shape)
        target = edit.types[out].shape
        if target == kept:
            return (single(node.name, mean, (source,), (out,), node.source),)
        value = edit.fresh(f"{out}_kept")
        edit.types[value] = TensorType(shape=kept)
        return (
            single(node.name, mean, (source,), (value,), node.source),
            single(f"{node.name}_drop", Reshape(shape=target), (value,), (out,), node.source),
        )


def _as_mean(op: ReduceMean, shape: Shape) -> Op:
    rank = len(shape)
    if rank in (3, 4) and tuple(sorted(op.axes)) == tuple(range(2, rank)):
        spatial = rank - 2
        return AveragePool(kernel=shape[2:], strides=(1,) * spatial, dilations=(1,) * spatial, pads=((0, 0),) * spatial)
    return replace(op, keepdims=True)
