"""Collecting the parts of an ONNX graph in QDQ form: names, initializers, nodes, and the quantize/dequantize pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from freeml.ir.graph import QGraph, QOp, Stage
from freeml.ir.types import Array, QDType, QType


@dataclass(slots=True)
class Writer:
    """An ONNX graph under construction.

    A value of the integer graph appears twice: `integers[value]` names the quantized tensor, `reals[value]` the
    dequantized one. The latter has the value's own name, unless that is taken by the graph's float input.
    """

    graph: QGraph
    batched: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    integers: dict[str, str] = field(default_factory=dict)
    reals: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, graph: QGraph, *, batched: bool) -> Writer:
        """An empty writer that keeps the names of the graph's values free for them."""
        return cls(graph=graph, batched=batched, taken=set(graph.types) - set(graph.constants))

    def fresh(self, base: str) -> str:
        """A tensor name not used so far."""
        name = _unused(base, self.taken)
        self.taken.add(name)
        return name

    def constant(self, base: str, array: Array) -> str:
        """Add an initializer under a fresh name, which is returned."""
        name = self.fresh(base)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    # **attributes: what helper.make_node takes
    def node(self, label: str, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401
        """Append a node named `label/op_type`; returns its output."""
        name = _unused(f"{label}/{op_type}", self.labels)
        self.labels.add(name)
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def quantize(self, value: str, real: str, output: str) -> None:
        """Make `value` of the float tensor `real` by rounding it to its format; `output` names the result as floats."""
        self.integers[value] = self.rounded(value, self.graph.types[value], real, output)
        self.reals[value] = output

    def rounded(self, base: str, type_: QType, real: str, output: str) -> str:
        """Round `real` to a format: returns the tensor of integers, `output` names the same as floats."""
        scale = self.constant(f"{base}.scale", np.asarray(type_.scale, dtype=np.float32))
        zero_point = self.constant(f"{base}.zero_point", np.asarray(type_.zero_point, dtype=type_.dtype))
        integers = self.fresh(f"{base}.{type_.dtype}")
        self.node(base, "QuantizeLinear", [real, scale, zero_point], integers)
        self.node(base, "DequantizeLinear", [integers, scale, zero_point], output)
        return integers

    def dequantized(
        self,
        base: str,
        integers: Array,
        dtype: QDType,
        scale: float | Array,
        *,
        zero_point: int = 0,
        axis: int | None = None,
    ) -> str:
        """A constant held as integers, as floats. `scale` is one number, or one for each index of `axis`."""
        scales = np.asarray(scale, dtype=np.float32)
        zeros = np.full(scales.shape, zero_point, dtype=dtype)
        inputs = [
            self.constant(f"{base}.{dtype}", integers.astype(dtype)),
            self.constant(f"{base}.scale", scales),
            self.constant(f"{base}.zero_point", zeros),
        ]
        attributes = {} if axis is None else {"axis": axis}
        return self.node(base, "DequantizeLinear", inputs, self.fresh(base), **attributes)

    def end_with(self, output: str) -> None:
        """Rename the output of the last node."""
        self.nodes[-1].output[0] = output


def _unused(base: str, taken: set[str]) -> str:
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a stage of the integer graph is written: what its operator reads, and shorthands to append nodes."""

    writer: Writer
    label: str
    stage: Stage[QOp]

    @property
    def batched(self) -> bool:
        """Whether axis 0 of every activation is the batch, of any extent."""
        return self.writer.batched

    @property
    def y(self) -> QType:
        """Format of the output."""
        return self.writer.graph.types[self.stage.outputs[0]]

    def x(self, index: int) -> QType:
        """Format of input `index`."""
        return self.writer.graph.types[self.stage.inputs[index]]

    def numbers(self, index: int) -> Array:
        """Integers of constant input `index`."""
        return self.writer.graph.constants[self.stage.inputs[index]]

    def real(self, index: int) -> str:
        """Tensor of input `index` as floats (an index of ArgMax as int64)."""
        value, writer = self.stage.inputs[index], self.writer
        if value in writer.graph.constants and value not in writer.reals:
            type_ = self.x(index)
            writer.reals[value] = writer.dequantized(
                value, self.numbers(index), type_.dtype, type_.scale, zero_point=type_.zero_point
            )
        return writer.reals[value]

    def integers(self, index: int) -> str:
        """Tensor of activation input `index` as integers."""
        return self.writer.integers[self.stage.inputs[index]]

    def constant(self, suffix: str, array: Array) -> str:
        """An initializer called after the node."""
        return self.writer.constant(f"{self.label}.{suffix}", array)

    def ints(self, suffix: str, *values: int) -> str:
        """An initializer of int64 numbers: shapes, axes, pads."""
        return self.constant(suffix, np.array(values, dtype=np.int64))

    def number(self, suffix: str, value: float) -> str:
        """An initializer of one float32."""
        return self.constant(suffix, np.asarray(value, dtype=np.float32))

    def emit(self, op_type: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - what helper.make_node takes
        """Append a node on the way to the output; returns its output tensor."""
        output = self.writer.fresh(f"{self.stage.outputs[0]}.{op_type.lower()}")
        return self.writer.node(self.label, op_type, list(inputs), output, **attributes)

    def rounded(self, real: str) -> str:
        """Round to the output's format on the way to the output, for operators that take more than one node."""
        output = self.writer.fresh(f"{real}.dequantized")
        self.writer.rounded(real, self.y, real, output)
        return output

    def clamp(self, real: str, low: int, high: int) -> str:
        """Limit to the integers low..high of the output's format: no node, Relu or Clip."""
        y = self.y
        if low == y.zero_point and low > y.qmin and high == y.qmax:
            return self.emit("Relu", real)
        bounds = [
            "" if bound == open_ else self.number(name, (bound - y.zero_point) * y.scale)
            for name, bound, open_ in (("min", low, y.qmin), ("max", high, y.qmax))
        ]
        if not any(bounds):
            return real
        return self.emit("Clip", real, *(bounds if bounds[1] else bounds[:1]))
