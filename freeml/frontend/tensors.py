"""From protobuf to plain Python: tensors, attributes, nodes and the types of graph inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from freeml.errors import ModelFileError
from freeml.ir.types import Array, element_count
from freeml.ops.importing import Attribute, SourceNode, Unsupported
from freeml.ops.onnx_values import MAX_ELEMENTS

FLOAT_TYPES = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.BFLOAT16,
)
INTEGER_TYPES = (
    onnx.TensorProto.UINT8,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT16,
    onnx.TensorProto.INT16,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
    onnx.TensorProto.UINT32,
    onnx.TensorProto.UINT64,
    onnx.TensorProto.BOOL,
)


def dtype_name(elem_type: int) -> str:
    """ONNX's name of an element type."""
    known: Mapping[int, str] = {number: name for name, number in onnx.TensorProto.DataType.items()}
    return known.get(elem_type, f"type {elem_type}").lower()


def tensor_array(tensor: onnx.TensorProto) -> Array:
    """A tensor as numpy array, floats of any width as float32.

    Raises Unsupported for other element types and sizes out of reach, ModelFileError for data that does not fit.
    """
    shape = tuple(tensor.dims)
    if tensor.data_type not in (*FLOAT_TYPES, *INTEGER_TYPES):
        found = dtype_name(tensor.data_type)
        raise Unsupported(f"tensor {tensor.name}: element type {found} is not supported; use floats or 8-bit integers")
    if any(extent < 0 for extent in shape):
        raise ModelFileError(f"tensor {tensor.name}: {list(shape)} is not a shape")
    if element_count(shape) > MAX_ELEMENTS:
        raise Unsupported(f"tensor {tensor.name}: {list(shape)} has more than {MAX_ELEMENTS} elements")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"tensor {tensor.name}: its data does not fit its shape {list(shape)}: {error}") from None
    if array.shape != shape:
        raise ModelFileError(f"tensor {tensor.name}: expected shape {list(shape)}, found data of {list(array.shape)}")
    if tensor.data_type in FLOAT_TYPES:
        with np.errstate(over="ignore"):
            return np.asarray(array, dtype=np.float32)
    return np.asarray(array)


def attribute_value(attribute: onnx.AttributeProto) -> Attribute:
    """An attribute as Python value. Raises Unsupported for graphs, sparse tensors and the like."""
    kind = attribute.type
    if attribute.ref_attr_name:
        raise Unsupported(f"attribute {attribute.name} refers to an attribute of a function that is not there")
    if kind == onnx.AttributeProto.INT:
        return int(attribute.i)
    if kind == onnx.AttributeProto.FLOAT:
        return float(attribute.f)
    if kind == onnx.AttributeProto.STRING:
        return attribute.s.decode("utf-8", errors="replace")
    if kind == onnx.AttributeProto.INTS:
        return tuple(int(v) for v in attribute.ints)
    if kind == onnx.AttributeProto.FLOATS:
        return tuple(float(v) for v in attribute.floats)
    if kind == onnx.AttributeProto.TENSOR:
        return tensor_array(attribute.t)
    name = onnx.AttributeProto.AttributeType.Name(kind).lower()
    raise Unsupported(f"attribute {attribute.name} is of kind {name}, which is not supported")


def source_node(node: onnx.NodeProto, name: str, opset: int) -> SourceNode:
    """One node in plain terms. Raises Unsupported when an attribute cannot be read, or is not a number."""
    attributes = {attribute.name: attribute_value(attribute) for attribute in node.attribute}
    for key, value in attributes.items():
        numbers = np.asarray(value)
        if not isinstance(value, np.ndarray) and numbers.dtype.kind == "f" and not np.all(np.isfinite(numbers)):
            raise Unsupported(f"attribute {key} is {value}, expected a finite number")
    return SourceNode(
        op_type=node.op_type,
        name=name,
        opset=opset,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes=attributes,
    )


def node_names(graph: onnx.GraphProto) -> tuple[str, ...]:
    """A name for every node: its own, or operator and position (Conv_3)."""
    return tuple(node.name or f"{node.op_type}_{index}" for index, node in enumerate(graph.node))


def tensor_shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """Declared shape of a graph input or output: int where fixed, symbol (maybe "") where not; None when undeclared."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(int(dim.dim_value) if dim.HasField("dim_value") else str(dim.dim_param) for dim in dims)


def first_non_finite(array: Array) -> tuple[int, ...] | None:
    """Index of the first NaN or infinity of a float array."""
    if array.dtype.kind != "f" or np.all(np.isfinite(array)):
        return None
    flat = int(np.argmax(~np.isfinite(array.reshape(-1))))
    return tuple(int(i) for i in np.unravel_index(flat, array.shape))
