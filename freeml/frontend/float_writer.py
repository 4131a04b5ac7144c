"""The float graph as an ONNX file: what `freeml.compress` hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from freeml.errors import GraphError
from freeml.frontend.qdq_nodes import onnx_pads, without_ceil
from freeml.ir.graph import Graph, Op, Stage
from freeml.ir.types import Array, Shape
from freeml.ops.add import Add
from freeml.ops.argmax import ArgMax
from freeml.ops.averagepool import AveragePool
from freeml.ops.base import NO_CLAMP, Clamp
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.binary import Binary
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.pool import window_counts
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.slice import Slice
from freeml.ops.softmax import Softmax
from freeml.ops.sub import Sub
from freeml.ops.tanh import Tanh
from freeml.ops.transpose import Transpose
from freeml.ops.windows import Window
from freeml.version import VERSION

OPSET, IR_VERSION = 21, 10
BATCH = "batch"
BEFORE_THE_START = -(2**31)
"""The end of a slice that runs backwards past index 0."""


def to_onnx(graph: Graph) -> bytes:
    """The graph as a serialized ONNX model, float32; the batch axis is symbolic where no operator mixes it with others.

    Same graph, same bytes. Raises GraphError for an operator that it does not know.
    """
    batched = all(_keeps_batch(graph, stage) for stage in graph.stages())
    writer = _Writer(graph=graph, batched=batched, taken=set(graph.types))
    for name, array in graph.constants.items():
        writer.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    for node in graph.nodes:
        for stage in node.stages:
            writer.label = node.name
            writer.write(stage)
    read = {name for node in writer.nodes for name in node.input}
    proto = helper.make_graph(
        writer.nodes,
        graph.name,
        [writer.value_info(name) for name in graph.inputs],
        [writer.value_info(name) for name in graph.outputs],
        [tensor for tensor in writer.initializers if tensor.name in read],
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="freeml",
        producer_version=VERSION,
    )  # fmt: skip
    return bytes(model.SerializeToString(deterministic=True))


@dataclass(slots=True)
class _Writer:
    """An ONNX graph under construction; `label` is the node that is being written."""

    graph: Graph
    batched: bool
    taken: set[str]
    label: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def fresh(self, base: str) -> str:
        """A name not used so far."""
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def constant(self, suffix: str, array: Array) -> str:
        """An initializer called after the node."""
        name = self.fresh(f"{self.label}.{suffix}")
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def ints(self, suffix: str, *values: int) -> str:
        """An initializer of int64 numbers."""
        return self.constant(suffix, np.array(values, dtype=np.int64))

    def emit(self, op_type: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - what make_node takes
        """Append a node; returns its output."""
        output = self.fresh(f"{self.label}.{op_type.lower()}")
        name = f"{self.label}/{op_type}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def clamped(self, value: str, clamp: Clamp) -> str:
        """The limits of a fused activation."""
        if clamp == NO_CLAMP:
            return value
        if clamp == (0.0, float("inf")):
            return self.emit("Relu", value)
        bounds = [
            "" if np.isinf(bound) else self.constant(name, np.float32(bound))
            for name, bound in zip(("min", "max"), clamp, strict=True)
        ]
        return self.emit("Clip", value, *(bounds if bounds[1] else bounds[:1]))

    def write(self, stage: Stage[Op]) -> None:
        """One stage; its last node's output gets the value's own name."""
        before = len(self.nodes)
        self._form(stage)
        assert len(self.nodes) > before
        self.nodes[-1].output[0] = stage.outputs[0]

    def value_info(self, value: str) -> onnx.ValueInfoProto:
        """The type of an input or output."""
        type_ = self.graph.types[value]
        kind = onnx.TensorProto.INT64 if type_.dtype == "int64" else onnx.TensorProto.FLOAT
        return helper.make_tensor_value_info(value, kind, (BATCH, *type_.shape[1:]) if self.batched else type_.shape)

    def _form(self, stage: Stage[Op]) -> str:
        inputs, x = stage.inputs, stage.inputs[0]
        shape, out = self.graph.types[x].shape, self.graph.types[stage.outputs[0]].shape
        match stage.op:
            case Conv() as op:
                return self.clamped(self._conv(op, inputs), op.clamp)
            case Dense() as op:
                return self.clamped(self._dense(inputs, len(shape)), op.clamp)
            case MaxPool() as op:
                value, pads = self._padded(x, op.window, shape, -float("inf"))
                return self.emit("MaxPool", value, **_sliding(op.window, pads))
            case AveragePool() as op:
                return self.clamped(self._average(op, x, shape), op.clamp)
            case Add() | Sub() | Mul() as op:
                return self.clamped(self.emit(op.kind, *inputs), op.clamp)
            case BatchNorm() as op:
                return self.emit("BatchNormalization", *inputs, epsilon=op.epsilon)
            case Clip() as op:
                if (op.low, op.high) == NO_CLAMP:
                    return self.emit("Identity", x)
                return self.clamped(x, (op.low, op.high))
            case HardSigmoid() as op:
                return self.emit("HardSigmoid", x, alpha=op.alpha, beta=op.beta)
            case HardSwish() | Sigmoid() | Tanh() | PRelu() as op:
                return self.emit(op.kind, *inputs)
            case Softmax() | LogSoftmax() as op:
                return self.emit(op.kind, x, axis=op.axis)
            case ArgMax() as op:
                last = int(op.select_last_index)
                return self.emit("ArgMax", x, axis=op.axis, keepdims=int(op.keepdims), select_last_index=last)
            case Concat() as op:
                return self.emit("Concat", *inputs, axis=op.axis)
            case Pad() as op:
                amounts = self.ints("pads", *onnx_pads(op.pads))
                fill = [self.constant("value", np.float32(op.value))] if op.mode == "constant" else []
                return self.emit("Pad", x, amounts, *fill, mode=op.mode)
            case ReduceMean() as op:
                return self.emit("ReduceMean", x, self.ints("axes", *op.axes), keepdims=int(op.keepdims))
            case Reshape():
                return self.emit("Reshape", x, self.ints("shape", *((-1, *out[1:]) if self.batched else out)))
            case Resize() as op:
                return self._gathered(x, op.indices, shape)
            case Slice() as op:
                return self._slice(op, x, shape)
            case Transpose() as op:
                return self.emit("Transpose", x, perm=op.perm)
        raise GraphError(f"node {self.label}: expected an operator that ONNX can express, found {stage.op.kind}")

    def _conv(self, op: Conv, inputs: tuple[str, ...]) -> str:
        more: dict[str, Any] = {"group": op.group}
        if len(self.graph.types[inputs[1]].shape) > 2:
            more |= {"strides": op.strides, "dilations": op.dilations, "pads": onnx_pads(op.pads)}
            return self.emit("Conv", *inputs, **more)
        axis = self.ints("spatial", 2)  # ONNX convolutions have at least one spatial axis
        flat = [self.emit("Unsqueeze", name, axis) for name in inputs[:2]]
        return self.emit("Squeeze", self.emit("Conv", *flat, *inputs[2:], **more), axis)

    def _dense(self, inputs: tuple[str, ...], rank: int) -> str:
        if rank == 2:
            return self.emit("Gemm", *inputs)
        value = self.emit("MatMul", *inputs[:2])
        return self.emit("Add", value, inputs[2]) if len(inputs) > 2 else value

    def _padded(self, x: str, window: Window, shape: Shape, fill: float) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Input and pads of a pool. Pads as long as the kernel, which onnxruntime refuses in pools, become a Pad."""
        pads = without_ceil(window, shape[2:])
        if all(max(pair) < kernel for pair, kernel in zip(pads, window.kernel, strict=True)):
            return x, pads
        amounts = self.ints("border", *onnx_pads(((0, 0), (0, 0), *pads)))
        return self.emit("Pad", x, amounts, self.constant("fill", np.float32(fill))), ((0, 0),) * len(pads)

    def _average(self, op: AveragePool, x: str, shape: Shape) -> str:
        window, extents = op.window, shape[2:]
        counts = window_counts(window, extents, op.count_include_pad)
        value, pads = self._padded(x, window, shape, 0.0)
        full = Window(kernel=window.kernel, strides=window.strides, dilations=window.dilations, pads=pads)
        inside = value == x and counts.min() > 0 and np.array_equal(counts, window_counts(full, extents, False))
        y = self.emit("AveragePool", value, **_sliding(window, pads), count_include_pad=int(not inside))
        if inside or bool((counts == window.size).all()):
            return y
        # some windows count neither all their positions nor just those inside: bring the divisor to what it should be
        return self.emit(
            "Mul", y, self.constant("correction", (window.size / np.maximum(counts, 1)).astype(np.float32))
        )

    def _gathered(self, x: str, tables: tuple[tuple[int, ...], ...], shape: Shape) -> str:
        axes = [axis for axis, table in enumerate(tables) if table != tuple(range(shape[axis]))]
        for axis in axes:
            x = self.emit("Gather", x, self.ints("indices", *tables[axis]), axis=axis)
        return x if axes else self.emit("Identity", x)

    def _slice(self, op: Slice, x: str, shape: Shape) -> str:
        first, steps, sizes = op.starts, op.steps, op.sizes
        axes = [a for a in range(len(shape)) if (first[a], steps[a], sizes[a]) != (0, 1, shape[a])]
        if not axes:
            return self.emit("Identity", x)
        ends = [first[a] + steps[a] * sizes[a] for a in axes]
        return self.emit(
            "Slice", x, self.ints("starts", *(first[a] for a in axes)),
            self.ints("ends", *(end if end >= 0 else BEFORE_THE_START for end in ends)), self.ints("axes", *axes),
            self.ints("steps", *(steps[a] for a in axes)),
        )  # fmt: skip


def _sliding(window: Window, pads: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel, "strides": window.strides, "dilations": window.dilations,
        "pads": onnx_pads(pads),
    }  # fmt: skip


def _keeps_batch(graph: Graph, stage: Stage[Op]) -> bool:
    """Whether axis 0 of the activations can be a batch of any extent: the operator handles its samples one by one."""
    shapes = [graph.types[v].shape for v in stage.inputs if v not in graph.constants]
    out = graph.types[stage.outputs[0]].shape
    if any(shape[:1] != (1,) for shape in (*shapes, out)):
        return False
    match stage.op:
        case Binary() | PRelu():
            return all(len(shape) == len(out) for shape in shapes)
        case Dense():
            return len(shapes[0]) > 1
        case Transpose(perm=perm):
            return perm[0] == 0
        case Concat(axis=axis):
            return axis != 0 and len(shapes) == len(stage.inputs)
        case ReduceMean(axes=axes):
            return 0 not in axes
        case Softmax(axis=axis) | LogSoftmax(axis=axis) | ArgMax(axis=axis):
            return axis != 0
        case Pad(pads=pads):
            return pads[0] == (0, 0)
        case Slice(starts=starts, steps=steps, sizes=sizes):
            return (starts[0], steps[0], sizes[0]) == (0, 1, 1)
        case Resize(indices=indices):
            return indices[0] == (0,)
    return True
