"""Transposes and reshapes in a row: merged, and dropped when together they change nothing.

Keras-style graphs wrap every convolution in transposes, and 1-D layers in squeezes too; folding first takes out what
stands between them (see `fold`), then this pass lets the convolution meet its pool.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from freeml.ir.graph import Graph, Node, Op, Stage
from freeml.ir.rewrite import Editor
from freeml.ir.types import TensorType
from freeml.ops.reshape import Reshape
from freeml.ops.transpose import Transpose


@dataclass(frozen=True, slots=True)
class MergeViews:
    """Repeats until no two neighbours merge and no view is an identity; formats the model brings are left alone."""

    name: str = "merge-views"

    def apply(self, graph: Graph) -> Graph:
        """The graph with as few views as neighbours allow."""
        edit: Editor[Op, TensorType] = Editor.of(graph)
        while any(_step(edit, graph, node) for node in list(edit.nodes)):
            pass
        return cast(Graph, edit.finish())


def _step(edit: Editor[Op, TensorType], graph: Graph, node: Node[Op]) -> bool:
    """Change something at `node`; False when there is nothing to change."""
    op, stage = node.op, node.stages[0]
    if not isinstance(op, (Reshape, Transpose)) or not any(n is node for n in edit.nodes):
        return False
    source, out = stage.inputs[0], stage.outputs[0]
    plain = out not in edit.outputs and out not in graph.brought
    identity = edit.types[source].shape == edit.types[out].shape and (
        isinstance(op, Reshape) or op.perm == tuple(range(len(op.perm)))
    )
    if identity and plain:
        edit.nodes = [n for n in edit.nodes if n is not node]
        edit.redirect(out, source)
        return True
    reader = edit.only_consumer(out)
    if not plain or reader is None or type(reader.op) is not type(op):
        return False
    merged: Op
    if isinstance(op, Transpose):
        second = cast(Transpose, reader.op)
        merged = Transpose(perm=tuple(op.perm[axis] for axis in second.perm))
    else:
        merged = reader.op
    edit.nodes = [n for n in edit.nodes if n is not node]
    edit.replace(
        reader, replace(reader, stages=(Stage(op=merged, inputs=(source,), outputs=reader.stages[0].outputs),))
    )
    return True
