"""Importers of the element-wise operators: activations and arithmetic; Softmax, LogSoftmax and ArgMax."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from freeml.ir.graph import Op
from freeml.ir.types import element_count
from freeml.ops.add import Add
from freeml.ops.argmax import ArgMax
from freeml.ops.clip import Clip
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported, normalized_axis
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.mul import Mul
from freeml.ops.onnx_values import real, real_scalar
from freeml.ops.prelu import PRelu
from freeml.ops.reshape import Reshape
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.softmax import Softmax
from freeml.ops.sub import Sub
from freeml.ops.tanh import Tanh


def _unary(op: Op) -> Importer:
    def importer(node: SourceNode, builder: Builder) -> None:
        builder.emit(op, node.inputs[:1], node.outputs[:1], node)

    return importer


def import_clip(node: SourceNode, builder: Builder) -> None:
    """Clip with constant bounds; when they cross, everything becomes the upper one."""
    low = real_scalar(node, builder, 1, "min", -math.inf)
    high = real_scalar(node, builder, 2, "max", math.inf)
    emit_clip(node, builder, node.inputs[0], low, high)


def emit_clip(node: SourceNode, builder: Builder, x: str, low: float, high: float) -> None:
    """Emit Clip, or nothing when it is open on both sides."""
    if math.isnan(low) or math.isnan(high):
        raise Unsupported("a bound is not a number")
    if low == -math.inf and high == math.inf:
        builder.alias(node.outputs[0], x)
    else:
        builder.emit(Clip(low=min(low, high), high=high), (x,), node.outputs[:1], node)


def import_leaky_relu(node: SourceNode, builder: Builder) -> None:
    """LeakyRelu is PRelu with one slope."""
    slope = builder.add_constant(f"{node.outputs[0]}.slope", np.array([node.float("alpha", 0.01)]))
    builder.emit(PRelu(), (node.inputs[0], slope), node.outputs[:1], node)


def import_prelu(node: SourceNode, builder: Builder) -> None:
    """PRelu: the slope is a constant that broadcasts to x."""
    shape = builder.type(node.inputs[0]).shape
    slope = builder.constant_input(node, 1, "slope").shape
    if len(slope) > len(shape) or any(s not in (1, x) for s, x in zip(slope[::-1], shape[::-1], strict=False)):
        raise Unsupported(f"the slope of shape {slope} does not broadcast to {shape}")
    builder.emit(PRelu(), node.inputs[:2], node.outputs[:1], node)


def import_hard_sigmoid(node: SourceNode, builder: Builder) -> None:
    """max(0, min(1, alpha * x + beta))."""
    op = HardSigmoid(alpha=node.float("alpha", 0.2), beta=node.float("beta", 0.5))
    builder.emit(op, node.inputs[:1], node.outputs[:1], node)


def _binary(op: Op) -> Importer:
    def importer(node: SourceNode, builder: Builder) -> None:
        builder.emit(op, node.inputs[:2], node.outputs[:1], node)

    return importer


def import_div(node: SourceNode, builder: Builder) -> None:
    """Division by a constant is multiplication by its reciprocal."""
    builder.constant_input(node, 1, "divisor")
    divisor = real(builder, node.inputs[1]).astype(np.float64)
    if np.any(divisor == 0):
        raise Unsupported(f"the divisor {node.inputs[1]} has zeros")
    reciprocal = 1.0 / divisor
    if np.any(np.abs(reciprocal) > np.finfo(np.float32).max):
        raise Unsupported(f"the divisor {node.inputs[1]} has entries too small to invert")
    factor = builder.add_constant(f"{node.outputs[0]}.factor", reciprocal)
    builder.emit(Mul(), (node.inputs[0], factor), node.outputs[:1], node)


def import_neg(node: SourceNode, builder: Builder) -> None:
    """-x = x * -1."""
    factor = builder.add_constant(f"{node.outputs[0]}.factor", np.array([-1.0]))
    builder.emit(Mul(), (node.inputs[0], factor), node.outputs[:1], node)


def import_sum(node: SourceNode, builder: Builder) -> None:
    """Sum of any number of inputs: a chain of Adds."""
    total, rest = node.inputs[0], node.inputs[1:]
    if not rest:
        builder.alias(node.outputs[0], total)
    for index, addend in enumerate(rest):
        out = node.outputs[0] if index == len(rest) - 1 else builder.fresh(f"{node.outputs[0]}.part")
        builder.emit(Add(), (total, addend), (out,), node)
        total = out


def _bounded(upper: bool) -> Importer:
    """Min (`upper`) or Max of one value and scalar constants."""

    def importer(node: SourceNode, builder: Builder) -> None:
        values = [name for name in node.inputs if builder.value(name) is None]
        bounds = [real(builder, name) for name in node.inputs if builder.value(name) is not None]
        if len(values) != 1 or any(bound.size != 1 for bound in bounds):
            raise Unsupported("expected one value computed at run time and scalar constants")
        if any(bound.ndim > len(builder.type(values[0]).shape) for bound in bounds):
            raise Unsupported("a constant has more axes than the value it bounds")
        numbers = [float(bound.reshape(-1)[0]) for bound in bounds]
        low = -math.inf if upper else max([-math.inf, *numbers])
        high = min([math.inf, *numbers]) if upper else math.inf
        emit_clip(node, builder, values[0], low, high)

    return importer


def _along_axis(make: Callable[[int], Op]) -> Importer:
    """Softmax or LogSoftmax; before opset 13 the axes from `axis` on are flattened into one."""

    def importer(node: SourceNode, builder: Builder) -> None:
        x, out = node.inputs[0], node.outputs[0]
        shape = builder.type(x).shape
        axis = normalized_axis(node.int("axis", -1 if node.opset >= 13 else 1), len(shape))
        wide = [i for i in range(axis, len(shape)) if shape[i] != 1]
        if node.opset >= 13 or len(wide) <= 1:
            if node.opset < 13 and wide:
                axis = wide[0]
            builder.emit(make(axis), (x,), (out,), node)
            return
        flat, result = builder.fresh(f"{out}.flat"), builder.fresh(f"{out}.rows")
        matrix = (element_count(shape[:axis]), element_count(shape[axis:]))
        builder.emit(Reshape(shape=matrix), (x,), (flat,), node)
        builder.emit(make(1), (flat,), (result,), node)
        builder.emit(Reshape(shape=shape), (result,), (out,), node)

    return importer


def import_argmax(node: SourceNode, builder: Builder) -> None:
    """ArgMax along one axis; its output is an index."""
    axis = normalized_axis(node.int("axis", 0), len(builder.type(node.inputs[0]).shape))
    op = ArgMax(
        axis=axis,
        keepdims=node.int("keepdims", 1) != 0,
        select_last_index=node.int("select_last_index", 0) != 0,
    )
    builder.emit(op, node.inputs[:1], node.outputs[:1], node)


IMPORTERS: Mapping[str, Importer] = {
    "Add": _binary(Add()),
    "ArgMax": import_argmax,
    "Clip": import_clip,
    "Div": import_div,
    "HardSigmoid": import_hard_sigmoid,
    "HardSwish": _unary(HardSwish()),
    "LeakyRelu": import_leaky_relu,
    "LogSoftmax": _along_axis(lambda axis: LogSoftmax(axis=axis)),
    "Max": _bounded(upper=False),
    "Min": _bounded(upper=True),
    "Mul": _binary(Mul()),
    "Neg": import_neg,
    "PRelu": import_prelu,
    "Relu": _unary(Clip(low=0.0, high=math.inf)),
    "Sigmoid": _unary(Sigmoid()),
    "Softmax": _along_axis(lambda axis: Softmax(axis=axis)),
    "Sub": _binary(Sub()),
    "Sum": import_sum,
    "Tanh": _unary(Tanh()),
}
