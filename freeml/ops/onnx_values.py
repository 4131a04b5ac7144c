"""Reading constants and attributes of an ONNX node: typed, checked, and refused with a reason."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from freeml.ir.types import Array, Shape, TensorType, element_count
from freeml.ops.importing import Builder, SourceNode, Unsupported, spatial_pads

MAX_ELEMENTS = 2**24
"""Elements a tensor may have: 64 times the largest memory of any board, and small enough to hold while compiling."""

LARGEST_EXTENT = 32767


def real(builder: Builder, name: str) -> NDArray[np.float32]:
    """A float constant as float32."""
    array = builder.value(name)
    if array is None:
        raise Unsupported(f"{name} must be a constant of the model, it is computed at run time")
    if array.dtype.kind != "f":
        raise Unsupported(f"{name} must hold floating-point numbers, it holds {array.dtype}")
    return np.asarray(array, dtype=np.float32)


def real_scalar(node: SourceNode, builder: Builder, index: int, what: str, default: float) -> float:
    """Optional float input number `index`, a constant of one element."""
    if not node.has(index):
        return default
    array = builder.constant_input(node, index, what)
    if array.size != 1 or array.dtype.kind != "f":
        raise Unsupported(f"expected a single float for {what}, found shape {array.shape} of {array.dtype}")
    return float(array.reshape(-1)[0])


def integers(node: SourceNode, builder: Builder, index: int, what: str) -> tuple[int, ...]:
    """Input number `index`, a constant scalar or vector of integers."""
    array = builder.constant_input(node, index, what)
    if array.ndim > 1 or array.dtype.kind not in "iu":
        raise Unsupported(f"expected a vector of integers for {what}, found shape {array.shape} of {array.dtype}")
    return tuple(int(v) for v in array.reshape(-1))


def positive_ints(node: SourceNode, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """A list attribute (or a single integer) with as many entries as `default`, all positive."""
    found = node.attributes.get(name, default)
    values = (found,) if isinstance(found, int) else node.ints(name, default)
    if len(values) != len(default) or any(v < 1 for v in values):
        raise Unsupported(f"attribute {name}: expected {len(default)} positive integers, found {list(values)}")
    return values


def window_pads(
    node: SourceNode, shape: Shape, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """(before, after) per spatial axis of x (N, C, *spatial), refused where negative or absurdly large."""
    given = node.ints("pads", (0,) * (2 * len(kernel)))
    if len(given) != 2 * len(kernel):
        raise Unsupported(f"attribute pads: expected {2 * len(kernel)} integers, found {list(given)}")
    pads = spatial_pads(node, shape[2:], kernel, strides, dilations)
    if any(amount < 0 for pair in pads for amount in pair):
        raise Unsupported(f"expected pads of 0 or more, found {pads}; crop with Slice instead")
    padded = tuple(extent + sum(pair) for extent, pair in zip(shape[2:], pads, strict=True))
    if element_count(shape[:2] + padded) > MAX_ELEMENTS:
        raise Unsupported(f"pads {pads} make the input larger than {MAX_ELEMENTS} elements")
    return pads


def settled_steps(
    shape: Shape,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations without needless size: one beyond the padded extent, or of a kernel of 1, changes nothing.

    Refuses extents that the loops on a board, whose `int` may have 16 bits, cannot count.
    """
    padded = tuple(extent + sum(pair) for extent, pair in zip(shape[2:], pads, strict=True))
    if max(padded, default=0) > LARGEST_EXTENT:
        raise Unsupported(f"expected padded extents of at most {LARGEST_EXTENT}, found {list(padded)}")
    return (
        tuple(max(1, min(stride, extent)) for stride, extent in zip(strides, padded, strict=True)),
        tuple(1 if extent == 1 else dilation for extent, dilation in zip(kernel, dilations, strict=True)),
    )


def set_constant(builder: Builder, name: str, array: Array) -> None:
    """Make `name` a constant of any dtype (shape arithmetic keeps its integers)."""
    value = np.asarray(array)
    if value.dtype.kind == "f":
        value = value.astype(np.float32)
        builder.types[name] = TensorType(shape=value.shape)
    else:
        builder.types[name] = TensorType(shape=value.shape, dtype="bool" if value.dtype.kind == "b" else "int64")
    builder.constants[name] = value
