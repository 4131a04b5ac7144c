"""The integer graph as an ONNX file in QDQ form: float operators between QuantizeLinear and DequantizeLinear pairs.

onnxruntime runs it, Netron shows it, freeml compiles it again. Every value of the integer graph, those inside fused
layers too, appears under its own name as the float numbers that its integers stand for. ONNX rounds half to even and
onnxruntime sums floats, where freeml rounds half up and sums integers, so the two are a unit apart now and then.
"""

from __future__ import annotations

import onnx
from onnx import helper

from freeml.frontend.qdq_copies import keeps_batch
from freeml.frontend.qdq_nodes import float_form
from freeml.frontend.qdq_writer import Site, Writer
from freeml.ir.graph import QGraph, QOp, Stage
from freeml.ops.argmax import QArgMax
from freeml.ops.binary import QSum
from freeml.ops.concat import QConcat
from freeml.ops.copying import QCopy
from freeml.ops.dense import QDense
from freeml.ops.logsoftmax import QLogSoftmax
from freeml.ops.mul import QMul
from freeml.ops.reducemean import QReduceMean
from freeml.ops.softmax import QSoftmax
from freeml.ops.transpose import QTranspose
from freeml.version import VERSION

# The oldest that quantizes to 16 bits, so that every onnxruntime and onnx that freeml works with can read the file.
OPSET = 21
IR_VERSION = 10
BATCH = "batch"


def to_qdq(graph: QGraph) -> bytes:
    """The graph, in logical order (before `to_channels_last`), as a serialized ONNX model.

    Inputs and outputs are float32 under their own names (ArgMax: int64). Their batch axis is symbolic if no operator
    mixes it with others, else 1. Same graph, same bytes.
    """
    assert not any(getattr(stage.op, "channels_last", False) for stage in graph.stages()), "expected the logical order"
    writer = Writer.of(graph, batched=all(_keeps_batch(graph, stage) for stage in graph.stages()))
    for name in graph.inputs:
        writer.quantize(name, name, writer.fresh(f"{name}.dequantized"))
    for node in graph.nodes:
        for stage in node.stages:
            _write(writer, node.name, stage)
    inside = [v for stage in graph.stages() for v in stage.outputs if v not in graph.outputs]
    proto = helper.make_graph(
        writer.nodes,
        graph.name,
        [_value_info(writer, name) for name in graph.inputs],
        [_value_info(writer, name) for name in graph.outputs],
        writer.initializers,
        value_info=[_value_info(writer, name) for name in inside],
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="freeml",
        producer_version=VERSION,
    )
    helper.set_model_props(model, {"generator": f"freeml {VERSION}"})
    return bytes(model.SerializeToString(deterministic=True))


def _write(writer: Writer, label: str, stage: Stage[QOp]) -> None:
    """One stage: the float form of its operator and its rounding."""
    (out,) = stage.outputs
    at = Site(writer=writer, label=label, stage=stage)
    real = float_form(stage.op, at)
    if at.y.dtype == "int32":  # an index needs no rounding
        writer.end_with(out)
        writer.reals[out] = out
        return
    writer.quantize(out, real, out)


def _value_info(writer: Writer, value: str) -> onnx.ValueInfoProto:
    type_ = writer.graph.types[value]
    elem_type = onnx.TensorProto.INT64 if type_.dtype == "int32" else onnx.TensorProto.FLOAT
    shape: tuple[str | int, ...] = (BATCH, *type_.shape[1:]) if writer.batched else type_.shape
    return helper.make_tensor_value_info(value, elem_type, shape)


def _keeps_batch(graph: QGraph, stage: Stage[QOp]) -> bool:
    """Whether axis 0 of the activations can be a batch of any extent: the operator handles its samples one by one."""
    shapes = [graph.types[v].shape for v in stage.inputs if v not in graph.constants]
    out = graph.types[stage.outputs[0]].shape
    if any(shape[:1] != (1,) for shape in (*shapes, out)):
        return False
    match stage.op:
        case QSum() | QMul():
            return all(len(shape) == len(out) for shape in shapes)
        case QDense():
            return len(shapes[0]) > 1
        case QTranspose(perm=perm):
            return perm[0] == 0
        case QCopy() as copy:
            return keeps_batch(copy, shapes[0])
        case QConcat(axis=axis):
            return axis != 0 and len(shapes) == len(stage.inputs)
        case QReduceMean(axes=axes):
            return 0 not in axes
        case QSoftmax(axis=axis) | QLogSoftmax(axis=axis) | QArgMax(axis=axis):
            return axis != 0
    return True
