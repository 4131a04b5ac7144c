"""Shape arithmetic and other operators on constants: evaluated while importing, so that nothing of them remains.

A folder has the signature of an importer and is called when all inputs are constants; it makes its outputs constants.
Integers wrap and divide as ONNX defines for them; floats are held as float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freeml.ir.graph import Brought
from freeml.ir.types import Shape, element_count
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported, normalized_axis
from freeml.ops.onnx_shapes import (
    gather_indices,
    optional_axes,
    permutation,
    reshaped,
    slice_arguments,
    split_sizes,
    squeezed,
    unsqueezed,
)
from freeml.ops.onnx_values import MAX_ELEMENTS, integers, set_constant

Numbers: TypeAlias = NDArray[Any]
"""A constant of any numeric type."""

Function: TypeAlias = Callable[..., Numbers]

# ONNX's numbers for element types; every float type is held as float32.
CAST_DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float32",
    11: "float32",
    12: "uint32",
    13: "uint64",
    16: "float32",
}


def check_size(shape: Shape) -> None:
    """Refuse a constant that would not fit in memory while compiling."""
    if any(extent < 0 for extent in shape):
        raise Unsupported(f"{shape} is not a shape")
    if element_count(shape) > MAX_ELEMENTS:
        raise Unsupported(f"a constant of shape {shape} is too large: at most {MAX_ELEMENTS} elements are supported")


def constant(builder: Builder, name: str) -> Numbers:
    """An input of a folded node."""
    array = builder.value(name)
    assert array is not None, f"{name} is folded but is no constant"
    return array


def broadcast_shape(shapes: list[Shape]) -> Shape:
    """Shape of the broadcast result."""
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise Unsupported(f"expected shapes that broadcast, found {shapes}") from None
    check_size(shape)
    return shape


def _elementwise(function: Function) -> Importer:
    def folder(node: SourceNode, builder: Builder) -> None:
        arrays = [constant(builder, name) for name in node.inputs]
        broadcast_shape([array.shape for array in arrays])
        set_constant(builder, node.outputs[0], function(*arrays))

    return folder


def _divide(left: Numbers, right: Numbers) -> Numbers:
    """Floats divide; integers divide towards zero."""
    if left.dtype.kind == "f":
        return np.asarray(np.true_divide(left, right))
    if not np.all(right):
        raise Unsupported("division of integers by zero")
    quotient = np.floor_divide(left, right)
    remainder = left - quotient * right
    towards_zero = quotient + ((remainder != 0) & ((left < 0) != (right < 0)))
    return np.asarray(towards_zero, dtype=left.dtype)


def _variadic(function: Function) -> Function:
    def fold(*arrays: Numbers) -> Numbers:
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return result

    return fold


def fold_cast(node: SourceNode, builder: Builder) -> None:
    """Cast a constant to any type of CAST_DTYPES."""
    dtype = CAST_DTYPES.get(node.int("to"))
    if dtype is None:
        raise Unsupported(f"attribute to: element type {node.int('to')} is not supported")
    _set_cast(node, builder, np.dtype(dtype))


def fold_cast_like(node: SourceNode, builder: Builder) -> None:
    """Cast a constant to the type of another."""
    _set_cast(node, builder, constant(builder, node.inputs[1]).dtype)


def _set_cast(node: SourceNode, builder: Builder, dtype: np.dtype[Any]) -> None:
    array = constant(builder, node.inputs[0])
    if array.dtype.kind == "f" and dtype.kind in "iu" and not np.all(np.isfinite(array)):
        raise Unsupported(f"{node.inputs[0]} holds NaN or infinity, which has no integer")
    set_constant(builder, node.outputs[0], array.astype(dtype))


def fold_concat(node: SourceNode, builder: Builder) -> None:
    """Concat of constants of one rank."""
    arrays = [constant(builder, name) for name in node.inputs]
    axis = normalized_axis(node.int("axis"), arrays[0].ndim)
    others = {array.shape[:axis] + array.shape[axis + 1 :] for array in arrays}
    if len(others) != 1 or any(array.ndim != arrays[0].ndim for array in arrays):
        raise Unsupported(f"expected shapes that differ along axis {axis} only, found {[a.shape for a in arrays]}")
    check_size((*next(iter(others)), sum(array.shape[axis] for array in arrays)))
    set_constant(builder, node.outputs[0], np.concatenate(arrays, axis=axis))


def fold_constant_of_shape(node: SourceNode, builder: Builder) -> None:
    """A constant filled with attribute value (default: float 0)."""
    shape = integers(node, builder, 0, "shape")
    check_size(shape)
    value = node.attributes.get("value", np.zeros(1, dtype=np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise Unsupported("attribute value: expected a tensor of one element")
    set_constant(builder, node.outputs[0], np.full(shape, value.reshape(())))


def fold_expand(node: SourceNode, builder: Builder) -> None:
    """Broadcast to a shape."""
    array, shape = constant(builder, node.inputs[0]), integers(node, builder, 1, "shape")
    check_size(shape)
    set_constant(builder, node.outputs[0], np.broadcast_to(array, broadcast_shape([array.shape, shape])).copy())


def fold_gather(node: SourceNode, builder: Builder) -> None:
    """Gather entries along an axis; negative indices count from the end."""
    array, indices = constant(builder, node.inputs[0]), constant(builder, node.inputs[1])
    axis = normalized_axis(node.int("axis", 0), array.ndim)
    taken = np.array(gather_indices(indices, array.shape[axis]), dtype=np.int64).reshape(indices.shape)
    check_size((*array.shape[:axis], *indices.shape, *array.shape[axis + 1 :]))
    set_constant(builder, node.outputs[0], np.take(array, taken, axis=axis))


def fold_range(node: SourceNode, builder: Builder) -> None:
    """start, start + delta, ... below (or above) limit."""
    arrays = [constant(builder, name) for name in node.inputs]
    if any(array.size != 1 or array.dtype.kind not in "iuf" or not np.isfinite(array).all() for array in arrays):
        raise Unsupported("expected a finite number each for start, limit and delta")
    start, limit, delta = (array.reshape(()).item() for array in arrays)
    if delta == 0:
        raise Unsupported("delta is 0")
    count = max(0, math.ceil((limit - start) / delta))
    check_size((count,))
    set_constant(builder, node.outputs[0], (np.arange(count) * delta + start).astype(arrays[0].dtype))


def fold_reduce_prod(node: SourceNode, builder: Builder) -> None:
    """Product over constant axes (without axes: over all, or none)."""
    array = constant(builder, node.inputs[0])
    given = optional_axes(node, builder) or ()
    axes = tuple(sorted({normalized_axis(axis, array.ndim) for axis in given}))
    if not axes and node.int("noop_with_empty_axes", 0) != 0:
        set_constant(builder, node.outputs[0], array)
        return
    product = np.prod(array, axis=axes or None, keepdims=node.int("keepdims", 1) != 0, dtype=array.dtype)
    set_constant(builder, node.outputs[0], np.asarray(product))


def _moved(builder: Builder, old: str, new: str, array: Numbers, axis_of: Callable[[int], int | None]) -> None:
    """A constant with its numbers in other places; the number format that the model brought for it goes along."""
    set_constant(builder, new, array)
    brought = builder.brought.get(builder.resolve(old))
    if brought is None:
        return
    axis = None if brought.axis is None else axis_of(brought.axis)
    if brought.axis is None or axis is not None:
        builder.brought[new] = Brought(scale=brought.scale, zero_point=brought.zero_point, bits=brought.bits, axis=axis)


def _shaped(shape_of: Callable[[SourceNode, Builder, Shape], Shape]) -> Importer:
    def folder(node: SourceNode, builder: Builder) -> None:
        array = constant(builder, node.inputs[0])
        shape = shape_of(node, builder, array.shape)

        def axis_of(axis: int) -> int | None:
            return axis if shape[: axis + 1] == array.shape[: axis + 1] else None

        _moved(builder, node.inputs[0], node.outputs[0], array.reshape(shape), axis_of)

    return folder


def _flattened(node: SourceNode, builder: Builder, shape: Shape) -> Shape:
    axis = node.int("axis", 1)
    axis = axis if axis == len(shape) else normalized_axis(axis, len(shape))
    return (element_count(shape[:axis]), element_count(shape[axis:]))


def _reshaped(node: SourceNode, builder: Builder, shape: Shape) -> Shape:
    return reshaped(shape, integers(node, builder, 1, "shape"), node.int("allowzero", 0) != 0)


def fold_slice(node: SourceNode, builder: Builder) -> None:
    """Slice of a constant; the result may be empty."""
    array = constant(builder, node.inputs[0])
    for axis, (start, step, size) in enumerate(zip(*slice_arguments(node, builder, array.shape), strict=True)):
        array = np.take(array, np.arange(size) * step + start, axis=axis)
    set_constant(builder, node.outputs[0], array)


def fold_split(node: SourceNode, builder: Builder) -> None:
    """Parts of a constant along an axis."""
    array = constant(builder, node.inputs[0])
    axis = normalized_axis(node.int("axis", 0), array.ndim)
    start = 0
    for out, size in zip(node.outputs, split_sizes(node, builder, array.shape[axis]), strict=True):
        if out:
            set_constant(builder, out, np.take(array, np.arange(start, start + size), axis=axis))
        start += size


def fold_transpose(node: SourceNode, builder: Builder) -> None:
    """Transpose of a constant."""
    array = constant(builder, node.inputs[0])
    perm = permutation(node, array.ndim)
    _moved(builder, node.inputs[0], node.outputs[0], np.ascontiguousarray(array.transpose(perm)), perm.index)


FOLDERS: Mapping[str, Importer] = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(np.add),
    "And": _elementwise(np.logical_and),
    "Cast": fold_cast,
    "CastLike": fold_cast_like,
    "Ceil": _elementwise(np.ceil),
    "Concat": fold_concat,
    "ConstantOfShape": fold_constant_of_shape,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(np.equal),
    "Expand": fold_expand,
    "Flatten": _shaped(_flattened),
    "Floor": _elementwise(np.floor),
    "Gather": fold_gather,
    "Greater": _elementwise(np.greater),
    "Less": _elementwise(np.less),
    "Max": _elementwise(_variadic(np.maximum)),
    "Min": _elementwise(_variadic(np.minimum)),
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Not": _elementwise(np.logical_not),
    "Or": _elementwise(np.logical_or),
    "Range": fold_range,
    "Reciprocal": _elementwise(np.reciprocal),
    "ReduceProd": fold_reduce_prod,
    "Reshape": _shaped(_reshaped),
    "Slice": fold_slice,
    "Split": fold_split,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _shaped(lambda node, builder, shape: squeezed(shape, optional_axes(node, builder))),
    "Sub": _elementwise(np.subtract),
    "Transpose": fold_transpose,
    "Unsqueeze": _shaped(lambda node, builder, shape: unsqueezed(shape, optional_axes(node, builder) or ())),
    "Where": _elementwise(np.where),
}
