"""Folding: batch norm and constant scales into the layer before, zero padding into the window after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from freeml.ir.graph import Graph, Node, Op, Stage, single
from freeml.ir.rewrite import Editor
from freeml.ir.types import FloatArray, Shape, TensorType
from freeml.ops.add import Add
from freeml.ops.base import NO_CLAMP
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.reshape import Reshape
from freeml.ops.sub import Sub
from freeml.ops.transpose import Transpose


def _constant(edit: Editor[Op, TensorType], base: str, array: FloatArray) -> str:
    return edit.add_constant(base, array.astype(np.float32), TensorType(shape=array.shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Affine:
    """y = scale x + shift per index of one axis of x."""

    x: str
    axis: int
    scale: FloatArray
    shift: FloatArray


def _affine(graph: Editor[Op, TensorType], node: Node[Op]) -> _Affine | None:
    """The node as y = scale x + shift with constants along one axis (or scalars), when it is that."""
    op, inputs = node.op, node.stages[0].inputs
    if isinstance(op, BatchNorm):
        scale, shift = op.affine(*(np.asarray(graph.constants[v], dtype=np.float64) for v in inputs[1:]))
        return _Affine(x=inputs[0], axis=1, scale=scale, shift=shift)
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
    extents: Shape = padded.shape
    long = [axis for axis, extent in enumerate(extents) if extent != 1]
    if len(long) > 1:
        return None
    # a scalar, or one number for a single channel, goes along the channel axis of the layer that will take it
    axis = long[0] if long else _channel_axis(graph, x)
    per_channel = np.broadcast_to(padded.reshape(-1), (shape[axis],))
    ones, zeros = np.ones(shape[axis]), np.zeros(shape[axis])
    if isinstance(op, Mul):
        return _Affine(x=x, axis=axis, scale=per_channel, shift=zeros)
    if isinstance(op, Add):
        return _Affine(x=x, axis=axis, scale=ones, shift=per_channel)
    sign = -1.0 if which[0] else 1.0
    return _Affine(x=x, axis=axis, scale=sign * ones, shift=-sign * per_channel)


def _views(graph: Editor[Op, TensorType], value: str) -> Iterator[tuple[Node[Op], str]]:
    """Transposes and reshapes behind `value`, nearest first, each with its own input, while nothing else reads it."""
    while True:
        maker = next((n for n in graph.nodes if value in n.outputs), None)
        if maker is None or not isinstance(maker.op, (Transpose, Reshape)) or graph.only_consumer(value) is None:
            return
        value = maker.stages[0].inputs[0]
        yield maker, value


def _axis_before(graph: Editor[Op, TensorType], view: Node[Op], axis: int) -> int | None:
    """The axis of a view's input that becomes `axis` of its output; None when a reshape mixes it with others."""
    if isinstance(view.op, Transpose):
        return view.op.perm[axis]
    before, after = graph.types[view.stages[0].inputs[0]].shape, graph.types[view.outputs[0]].shape
    long_before = [a for a, n in enumerate(before) if n != 1]
    long_after = [a for a, n in enumerate(after) if n != 1]
    if [before[a] for a in long_before] != [after[a] for a in long_after] or axis not in long_after:
        return None
    return long_before[long_after.index(axis)]


def _channel_axis(graph: Editor[Op, TensorType], value: str) -> int:
    """Where the channels of the layer behind `value` (through views) are; 1 when they cannot be told."""
    for axis in range(1, len(graph.types[value].shape)):
        at: int | None = axis
        views = tuple(_views(graph, value))
        for view, _ in views:
            at = None if at is None else _axis_before(graph, view, at)
        origin = views[-1][1] if views else value
        maker = next((n for n in graph.nodes if origin in n.outputs), None)
        if at == 1 and maker is not None and isinstance(maker.op, Conv):
            return axis
    return 1


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
            maker = self._taker(edit, graph, found)
            if maker is not None:
                self._fold(edit, maker, node, found)
            elif isinstance(node.op, BatchNorm):
                self._standalone(edit, node, found)
        return cast(Graph, edit.finish())

    def _taker(self, edit: Editor[Op, TensorType], graph: Graph, found: _Affine) -> Node[Op] | None:
        """The layer behind `found.x`, through views, that can take the scale and shift into its weights."""
        value, axis = found.x, found.axis
        if edit.only_consumer(value) is None or value in graph.brought:
            return None
        for view, source in _views(edit, found.x):
            before = _axis_before(edit, view, axis)
            if before is None or source in graph.brought or edit.only_consumer(source) is None:
                return None
            value, axis = source, before
        maker = next((n for n in edit.nodes if value in n.outputs), None)
        if (
            maker is None
            or not isinstance(maker.op, (Conv, Dense))
            or maker.op.clamp != NO_CLAMP
            or any(v in graph.brought for v in maker.stages[0].inputs[1:])
        ):
            return None
        channels = 1 if isinstance(maker.op, Conv) else len(edit.types[value].shape) - 1
        return maker if axis == channels else None

    def _fold(self, edit: Editor[Op, TensorType], maker: Node[Op], node: Node[Op], found: _Affine) -> None:
        stage, scale = maker.stages[0], found.scale
        weights = np.asarray(edit.constants[stage.inputs[1]], dtype=np.float64)
        bias = np.asarray(edit.constants[stage.inputs[2]], dtype=np.float64) if len(stage.inputs) > 2 else 0.0
        if isinstance(maker.op, Conv):
            weights = weights * scale.reshape(-1, *(1,) * (weights.ndim - 1))
        else:
            weights = weights * scale
        bias = np.asarray(bias * scale + found.shift)
        w_name = _constant(edit, f"{stage.inputs[1]}_folded", weights)
        b_name = _constant(edit, f"{node.outputs[0]}_bias", bias)
        changed = replace(maker, stages=(replace(stage, inputs=(stage.inputs[0], w_name, b_name)),))
        edit.replace(maker, changed)
        # whoever made x (the layer itself or the last view behind it) now makes y, and y's node goes
        last = next(n for n in edit.nodes if found.x in n.outputs)
        current = next(n for n in edit.nodes if n.name == node.name)
        renamed = replace(last, stages=(replace(last.stages[0], outputs=node.outputs),))
        edit.nodes = [n for n in edit.nodes if n is not last]
        edit.replace(current, renamed)

    def _standalone(self, edit: Editor[Op, TensorType], node: Node[Op], found: _Affine) -> None:
        x, scale, shift = found.x, found.scale, found.shift
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
