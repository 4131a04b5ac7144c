"""Folding: batch norm and constant scales into the layer before, zero padding into the window after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from freeml.ir.graph import Graph, Node, Op, Stage, single
from freeml.ir.rewrite import Editor
from freeml.ir.types import FloatArray, TensorType
from freeml.ops.add import Add
from freeml.ops.base import NO_CLAMP
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.sub import Sub


def _constant(edit: Editor[Op, TensorType], base: str, array: FloatArray) -> str:
    return edit.add_constant(base, array.astype(np.float32), TensorType(shape=array.shape))


def _affine(graph: Editor[Op, TensorType], node: Node[Op]) -> tuple[FloatArray, FloatArray] | None:
    """(scale, shift) per channel, when the node is y = scale x + shift with constants along axis 1 (or scalars)."""
    op, inputs = node.op, node.stages[0].inputs
    if isinstance(op, BatchNorm):
        scale, shift = op.affine(*(np.asarray(graph.constants[v], dtype=np.float64) for v in inputs[1:]))
        return scale, shift
    if not isinstance(op, (Add, Sub, Mul)) or op.clamp != NO_CLAMP:
        return None
    which = [v in graph.constants for v in inputs]
    if sum(which) != 1:
        return None
    x, constant = (inputs[1], inputs[0]) if which[0] else (inputs[0], inputs[1])
    shape = graph.types[x].shape
    values = np.asarray(graph.constants[constant], dtype=np.float64)
    if graph.types[node.outputs[0]].shape != shape or len(shape) < 2:
        return None
    padded = values.reshape((1,) * (len(shape) - values.ndim) + values.shape)
    if any(n != 1 for axis, n in enumerate(padded.shape) if axis != 1):
        return None
    per_channel = np.broadcast_to(padded.reshape(-1), (shape[1],))
    ones, zeros = np.ones(shape[1]), np.zeros(shape[1])
    if isinstance(op, Mul):
        return per_channel, zeros
    if isinstance(op, Add):
        return ones, per_channel
    return (-ones, per_channel) if which[0] else (ones, -per_channel)


@dataclass(frozen=True, slots=True)
class FoldAffine:
    """Batch norm, and Mul / Add / Sub by per-channel constants, into the convolution or dense layer that feeds them.

    A batch norm with no such producer becomes a depthwise 1x1 convolution of its own.
    """

    name: str = "fold-affine"

    def apply(self, graph: Graph) -> Graph:
        """One sweep in order of execution: a chain folds link by link."""
        edit: Editor[Op, TensorType] = Editor.of(graph)
        for node in graph.nodes:
            found = _affine(edit, node)
            if found is None:
                continue
            x = next(v for v in node.stages[0].inputs if v not in edit.constants)
            maker = next((n for n in edit.nodes if x in n.outputs), None)
            foldable = (
                maker is not None
                and isinstance(maker.op, (Conv, Dense))
                and maker.op.clamp == NO_CLAMP
                and edit.only_consumer(x) is not None
                and x not in graph.brought
                and not any(v in graph.brought for v in maker.stages[0].inputs[1:])
                and (isinstance(maker.op, Conv) or len(edit.types[x].shape) == 2)
            )
            if foldable:
                assert maker is not None
                self._fold(edit, maker, node, *found)
            elif isinstance(node.op, BatchNorm):
                self._standalone(edit, node, x, *found)
        return cast(Graph, edit.finish())

    def _fold(
        self, edit: Editor[Op, TensorType], maker: Node[Op], node: Node[Op], scale: FloatArray, shift: FloatArray
    ) -> None:
        stage = maker.stages[0]
        weights = np.asarray(edit.constants[stage.inputs[1]], dtype=np.float64)
        bias = np.asarray(edit.constants[stage.inputs[2]], dtype=np.float64) if len(stage.inputs) > 2 else 0.0
        if isinstance(maker.op, Conv):
            weights = weights * scale.reshape(-1, *(1,) * (weights.ndim - 1))
        else:
            weights = weights * scale
        bias = np.asarray(bias * scale + shift)
        w_name = _constant(edit, f"{stage.inputs[1]}_folded", weights)
        b_name = _constant(edit, f"{node.outputs[0]}_bias", bias)
        merged = Stage(op=stage.op, inputs=(stage.inputs[0], w_name, b_name), outputs=node.outputs)
        current = next(n for n in edit.nodes if n.name == node.name)
        edit.replace(current, replace(maker, stages=(merged,)))
        edit.nodes.remove(maker)

    def _standalone(
        self, edit: Editor[Op, TensorType], node: Node[Op], x: str, scale: FloatArray, shift: FloatArray
    ) -> None:
        rank = len(edit.types[x].shape) - 2
        weights = scale.reshape(-1, 1, *(1,) * rank)
        w_name = _constant(edit, f"{node.outputs[0]}_weights", weights)
        b_name = _constant(edit, f"{node.outputs[0]}_bias", shift)
        op = Conv(strides=(1,) * rank, dilations=(1,) * rank, pads=((0, 0),) * rank, group=len(scale))
        current = next(n for n in edit.nodes if n.name == node.name)
        edit.replace(current, single(node.name, op, (x, w_name, b_name), node.outputs, node.source))


@dataclass(frozen=True, slots=True)
class FoldPad:
    """A Pad with zeros over spatial axes into the convolution (or pad-counting average pool) that reads it."""

    name: str = "fold-pad"

    def apply(self, graph: Graph) -> Graph:
        """Every Pad whose one reader is a window."""
        edit: Editor[Op, TensorType] = Editor.of(graph)
        for node in graph.nodes:
            op = node.op
            if not isinstance(op, Pad) or op.mode != "constant" or op.value != 0 or any(op.pads[0]) or any(op.pads[1]):
                continue
            reader = edit.only_consumer(node.outputs[0])
            if reader is None or len(op.pads) < 3 or node.outputs[0] in graph.brought:
                continue
            spatial = op.pads[2:]
            if not isinstance(reader.op, Conv):
                continue
            pads = tuple((a + c, b + d) for (a, b), (c, d) in zip(reader.op.pads, spatial, strict=True))
            stage = reader.stages[0]
            merged = Stage(
                op=replace(reader.op, pads=pads),
                inputs=(node.stages[0].inputs[0], *stage.inputs[1:]),
                outputs=stage.outputs,
            )
            edit.replace(reader, replace(reader, stages=(merged,)))
            edit.nodes.remove(node)
        return cast(Graph, edit.finish())
