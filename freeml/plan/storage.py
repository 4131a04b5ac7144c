"""Which weights are packed: several to a byte wherever they take few values, for boards that are short of flash."""

from __future__ import annotations

from dataclasses import replace

from freeml.ir.graph import Node, QGraph, QOp, Stage
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import Packed, packings


def pack_weights(graph: QGraph, whole_bytes: int) -> QGraph:
    """The same graph, in the board's layout, with the weights of every layer in the form that takes the fewest bytes.

    A layer that reads its weights more than once, as a convolution does for each window, has them unpacked once where
    they take at most `whole_bytes` of SRAM.
    """

    def packed(node: Node[QOp]) -> Node[QOp]:
        return replace(node, stages=tuple(_stage(graph, stage, whole_bytes) for stage in node.stages))

    return replace(graph, nodes=tuple(packed(node) for node in graph.nodes))


def _stage(graph: QGraph, stage: Stage[QOp], whole_bytes: int) -> Stage[QOp]:
    op = stage.op
    if not isinstance(op, (QConv, QDense)) or graph.types[stage.inputs[1]].dtype != "int8":
        return stage
    weights = graph.constants[stage.inputs[1]]
    rows, outputs = op.weight_rows(weights.shape), graph.types[stage.outputs[0]]
    again = outputs.size > (weights.shape[-1] if rows == 1 else rows)  # than one window, or one position
    whole = again and weights.size <= whole_bytes
    if op.kind == "Conv" and rows == 1 and not whole:
        return stage  # the weights of a depthwise convolution are not read row by row

    def stored(packed: Packed | None) -> int:
        return weights.size if packed is None else packed.stored_bytes(rows, weights.size // rows)

    best = min((None, *packings(weights, whole=whole)), key=stored)
    return stage if best is None else replace(stage, op=replace(op, packed=best))
