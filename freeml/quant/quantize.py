"""The last step in floating point: `Graph` + observed ranges -> `QGraph`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import nearest, round_half_up
from freeml.ir.graph import Brought, Graph, Node, Op, QGraph, QOp, Stage, verify
from freeml.ir.types import QRANGE, Array, QDType, QType, Shape
from freeml.ops.base import FloatOp, Quantizing, SameFormat
from freeml.ops.clip import QClip
from freeml.ops.conv import Conv
from freeml.ops.copying import QCopy, axis_maps, make_rescale
from freeml.ops.dense import Dense, transposed
from freeml.ops.linear import why_not_kept
from freeml.ops.lut import Pointwise
from freeml.ops.maxpool import QMaxPool
from freeml.ops.reshape import QReshape
from freeml.passes.fuse import formats_pushed_back
from freeml.quant.ranges import Observations, RangeMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Width of activations (`default`, or by value in `widths`) and of weights."""

    default: Literal["int8", "int16"] = "int8"
    widths: Mapping[str, Literal["int8", "int16"]] = field(default_factory=dict)
    weight_bits: Literal[8, 16] = 8

    def of(self, value: str) -> Literal["int8", "int16"]:
        """Width wanted for a value."""
        return self.widths.get(value, self.default)


def format_from_range(shape: Shape, dtype: QDType, low: float, high: float) -> QType:
    """8 bits: asymmetric, with an exact zero; 16 bits: symmetric. Scales are float32 numbers, as ONNX stores them."""
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype == "int16":
        scale = _as_float32(max(-low, high) / 32767.0)
        return QType(shape=shape, dtype="int16", scale=scale, zero_point=0)
    scale = _as_float32((high - low) / 255.0)
    zero_point = min(max(nearest(-128.0 - low / scale), -128), 127)
    return QType(shape=shape, dtype="int8", scale=scale, zero_point=zero_point)


def _as_float32(scale: float) -> float:
    return float(np.float32(scale)) if scale > np.finfo(np.float32).tiny else 1.0


def brought_format(value: str, shape: Shape, brought: Brought) -> QType:
    """The format the model brings for an activation."""
    if brought.axis is not None or brought.bits not in (8, 16):
        raise QuantizationError(
            f"value {value}: expected an 8- or 16-bit format for the whole tensor, found {brought.bits} bits"
            + ("" if brought.axis is None else " per channel")
            + "; quantize activations per tensor"
        )
    dtype: QDType = "int8" if brought.bits == 8 else "int16"
    return QType(
        shape=shape, dtype=dtype, scale=float(brought.scale.flat[0]), zero_point=int(brought.zero_point.flat[0])
    )


def formats_not_kept(graph: Graph, weight_bits: int) -> list[str]:
    """A sentence for every constant whose format, which the model brings, the integer graph does not have.

    Biases are sums' units whatever the model says, and lose nothing by it: they are not listed.
    """
    notes = []
    for node in graph.nodes:
        for stage in node.stages:
            linear = isinstance(stage.op, (Conv, Dense))
            for index, value in enumerate(stage.inputs):
                brought = graph.brought.get(value) if value in graph.constants else None
                if brought is None or (linear and index > 1):
                    continue
                first = transposed(brought) if isinstance(stage.op, Dense) else brought
                reason = why_not_kept(first, weight_bits) if linear else "only weights of layers keep theirs"
                if reason is not None:
                    notes.append(f"{node.name}: the format of {value} is not kept, and a new one chosen: {reason}")
    return notes


def quantize(
    graph: Graph,
    observations: Observations,
    *,
    precision: Precision,
    method: RangeMethod,
    groups: Sequence[tuple[str, ...]] = (),
) -> QGraph:
    """Integer graph whose fused nodes are `groups` (names of consecutive nodes, see `passes.fuse.fusion_groups`).

    A value inside a fused node lives in a register, so it costs nothing to give it 16 bits; it keeps the narrow format
    only where the next stage looks it up in a table or passes its format on.
    """
    graph = formats_pushed_back(graph)
    readers = {v: n for n in graph.nodes for v in graph.activations(n)}
    internal = {
        name: readers[name]
        for group in groups
        for node in graph.nodes
        if node.name in group[:-1]
        for name in node.outputs
    }
    types: dict[str, QType] = {}
    constants: dict[str, Array] = {}

    def calibrated(value: str, dtype: QDType, source: QType | None = None) -> QType:
        low, high = observations.range(value, method if dtype == "int8" else "minmax")
        if low == high == 0.0 and source is not None:
            # never seen but zero: the range of what it is computed from suits its maker and its readers
            low, high = ((bound - source.zero_point) * source.scale for bound in QRANGE[source.dtype])
        return format_from_range(graph.types[value].shape, dtype, low, high)

    def output_type(op: FloatOp, value: str, inputs: tuple[QType | None, ...]) -> QType:
        shape = graph.types[value].shape
        if graph.types[value].dtype != "float32":
            return QType(shape=shape, dtype="int32", scale=1.0, zero_point=0)
        if value in graph.brought:
            return brought_format(value, shape, graph.brought[value])
        dtype: QDType = precision.of(value)
        if value in internal and not isinstance(internal[value].op, (SameFormat, Pointwise)):
            dtype = "int16"
        fixed = op.output_format(inputs, shape, dtype)
        return fixed if fixed is not None else calibrated(value, dtype, next(filter(None, inputs), None))

    def rescaled(node: Node[Op], stage: Stage[QOp]) -> tuple[Stage[QOp], ...]:
        """The stage, and a rescaling copy behind it where a format is brought that the operator itself cannot give."""
        source, out = types[stage.inputs[0]], stage.outputs[0]
        if not isinstance(stage.op, (QMaxPool, QClip, QReshape)):
            return (stage,)
        rescale = make_rescale(node.name, source, types[out])
        if rescale is None:
            return (stage,)
        value = f"{out}.kept"
        types[value] = source.with_shape(types[out].shape)
        maps = axis_maps(tuple(tuple(range(extent)) for extent in types[out].shape))
        copying: QOp = QCopy(maps=maps, fill=0, rescale=rescale)
        return replace(stage, outputs=(value,)), Stage(op=copying, inputs=(value,), outputs=(out,))

    def integer_stage(node: Node[Op]) -> Stage[QOp]:
        stage = node.stages[0]
        op = stage.op
        assert isinstance(op, FloatOp)
        formats = tuple(types.get(v) if v not in graph.constants else None for v in stage.inputs)
        for value in stage.outputs:
            types[value] = output_type(op, value, formats)
        request = Quantizing(
            node=node.name,
            inputs=formats,
            outputs=tuple(types[v] for v in stage.outputs),
            constants=tuple(
                np.asarray(graph.constants[v], dtype=np.float64) if v in graph.constants else None for v in stage.inputs
            ),
            brought=tuple(graph.brought.get(v) if v in graph.constants else None for v in stage.inputs),
            weight_bits=precision.weight_bits,
        )
        result = op.quantize(request)
        names = []
        for position, source in enumerate(result.inputs):
            if isinstance(source, int):
                names.append(stage.inputs[source])
                continue
            name = f"{node.name}.{position}"
            constants[name], types[name] = source.values, source.type
            names.append(name)
        return Stage(op=result.op, inputs=tuple(names), outputs=stage.outputs)

    for value in graph.inputs:
        brought = graph.brought.get(value)
        shape = graph.types[value].shape
        types[value] = brought_format(value, shape, brought) if brought else calibrated(value, precision.of(value))
    member_of = {name: group for group in groups for name in group}
    collected: dict[str, list[Stage[QOp]]] = {}
    nodes: list[Node[QOp]] = []
    for node in graph.nodes:
        stage, *copies = rescaled(node, integer_stage(node))
        group = member_of.get(node.name, (node.name,))
        collected.setdefault(group[0], []).append(stage)
        if node.name == group[-1]:
            nodes.append(Node(name=group[0], stages=tuple(collected[group[0]]), source=node.source))
        assert not copies or node.name == group[-1], "a format inside a fused node was not pushed back"
        nodes += [Node(name=f"{node.name}.rescale", stages=(copy,), source=node.source) for copy in copies]
    head = {n.name: n.source for n in graph.nodes}
    result = QGraph(
        name=graph.name,
        inputs=graph.inputs,
        outputs=graph.outputs,
        nodes=tuple(replace(n, source=head.get(n.name, n.source)) for n in nodes),
        types={**types, **{v: _passed_through(graph, types, v) for v in graph.outputs}},
        constants=constants,
    )
    verify(result)
    return result


def _passed_through(graph: Graph, types: Mapping[str, QType], value: str) -> QType:
    if value not in types:
        raise QuantizationError(f"output {value}: expected a value computed from the input, found a constant")
    return types[value]


def quantize_input(values: Array, type_: QType) -> Array:
    """Real inputs as integers of a format: round half up, saturate. Any shape."""
    low, high = QRANGE[type_.dtype]
    units = np.asarray(values, dtype=np.float64) / type_.scale
    # clipped before the cast: numbers beyond int64 have no integer to become
    integers = round_half_up(np.clip(units, -(2.0**32), 2.0**32))
    return np.asarray(np.clip(integers + type_.zero_point, low, high))


def dequantize(values: Array, type_: QType) -> Array:
    """Integers of a format as real numbers (float32); an index stays what it is."""
    if type_.dtype == "int32":
        return values
    return ((np.asarray(values, dtype=np.float64) - type_.zero_point) * type_.scale).astype(np.float32)
