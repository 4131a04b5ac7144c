"""Importers of QuantizeLinear and DequantizeLinear: they become number formats, not operators.

A pair around an activation leaves only a format behind, in `Builder.brought`. uint8 is shifted to int8 and uint16 to
int16, which moves the zero point and changes no real value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freeml.ir.graph import Brought
from freeml.ir.types import IntArray, Shape
from freeml.ops.add import Add
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported, normalized_axis
from freeml.ops.mul import Mul
from freeml.ops.onnx_values import real, set_constant
from freeml.ops.sub import Sub

# ONNX's numbers for the element types that attribute output_dtype can name.
QUANTIZED_DTYPES: Mapping[int, str] = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}

# After these the two quantizers in use drop a Relu that the quantized range implies.
RELU_MAY_BE_IMPLIED = (Add, BatchNorm, Conv, Dense, Mul, Sub)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Scale (float32), zero point (int64) and axis of one quantize or dequantize node, in the model's own integers."""

    scale: NDArray[np.float32]
    zero_point: IntArray
    dtype: str
    axis: int | None

    @property
    def bits(self) -> int:
        """Width of the integers."""
        return int(self.dtype.removeprefix("u").removeprefix("int"))

    @property
    def unsigned_shift(self) -> int:
        """What is subtracted from an unsigned integer to make it a signed one of the same width."""
        return 1 << (self.bits - 1) if self.dtype.startswith("u") else 0

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        half = 1 << (self.bits - 1)
        return self.unsigned_shift - half, self.unsigned_shift + half - 1

    def shape(self, rank: int) -> Shape:
        """Shape in which scale and zero point broadcast against a tensor of that rank."""
        return tuple(-1 if i == self.axis else 1 for i in range(rank))

    def brought(self) -> Brought:
        """The format with signed integers."""
        return Brought(
            scale=self.scale.astype(np.float64),
            zero_point=self.zero_point - self.unsigned_shift,
            bits=self.bits,
            axis=self.axis,
        )


def read_format(node: SourceNode, builder: Builder, dtype: str | None) -> Format:
    """Format given by inputs 1 and 2. `dtype` is that of the integers; None takes it from the zero point (Quantize)."""
    if node.int("block_size", 0) != 0:
        raise Unsupported("blocked quantization is not supported; quantize per tensor or per axis")
    shape = builder.type(node.inputs[0]).shape
    builder.constant_input(node, 1, "scale")
    scale = real(builder, node.inputs[1])
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise Unsupported(f"expected scales above 0, found {scale.reshape(-1)[:4].tolist()}")
    given = builder.constant_input(node, 2, "zero point") if node.has(2) else None
    if dtype is None:
        named = QUANTIZED_DTYPES.get(node.int("output_dtype", 2), "that of attribute output_dtype")
        dtype = named if given is None else given.dtype.name
    if dtype not in ("int8", "uint8", "int16", "uint16", "int32"):
        raise Unsupported(f"integers of type {dtype} are not supported; quantize to 8 or 16 bits")
    if given is not None and (given.dtype.name != dtype or given.size != scale.size):
        raise Unsupported(f"expected a zero point of type {dtype} for each scale, found {given.size} of {given.dtype}")
    zero_point = np.zeros(scale.size, dtype=np.int64) if given is None else given.reshape(-1).astype(np.int64)
    axis = None
    if scale.size > 1:
        axis = normalized_axis(node.int("axis", 1), len(shape))
        if scale.shape != (shape[axis],):
            raise Unsupported(f"expected {shape[axis]} scales along axis {axis}, found shape {scale.shape}")
    return Format(scale=scale.reshape(-1), zero_point=zero_point, dtype=dtype, axis=axis)


def import_quantize(node: SourceNode, builder: Builder) -> None:
    """Give an activation its number format; turn a float constant into integers."""
    found = read_format(node, builder, None)
    x, out = node.inputs[0], node.outputs[0]
    if builder.value(x) is not None:
        _quantize_constant(builder, x, out, found)
        return
    if found.axis is not None:
        raise Unsupported("an activation is quantized per channel; quantize activations per tensor")
    low, high = found.limits
    scale, zero = float(found.scale[0]), int(found.zero_point[0])
    format_, base = found.brought(), builder.resolve(x)
    producer = next((n for n in reversed(builder.nodes) if base in n.outputs), None)
    if producer is not None and isinstance(producer.op, RELU_MAY_BE_IMPLIED) and zero in (low, high):
        builder.emit(Clip(low=(low - zero) * scale, high=(high - zero) * scale), (base,), (out,), node)
    elif base in builder.brought and not same_format(builder.brought[base], format_):
        builder.emit(Concat(axis=0), (base,), (out,), node)  # a copy, so that the value can have two formats
    else:
        builder.alias(out, base)
    builder.brought[builder.resolve(out)] = format_


def _quantize_constant(builder: Builder, x: str, out: str, found: Format) -> None:
    """Integers of a constant, rounded half to even as ONNX defines."""
    values = real(builder, x)
    shape = found.shape(values.ndim)
    integers = np.rint(values / found.scale.reshape(shape)) + found.zero_point.reshape(shape)
    set_constant(builder, out, np.clip(integers, *found.limits).astype(found.dtype))


def import_dequantize(node: SourceNode, builder: Builder) -> None:
    """Integers of a constant become float values that remember their format; an activation just goes on."""
    x, out = node.inputs[0], node.outputs[0]
    integers = builder.value(x)
    if integers is None:
        _same_value(node, builder, x, out)
        return
    found = read_format(node, builder, integers.dtype.name)
    shape = found.shape(integers.ndim)
    centred = integers.astype(np.int64) - found.zero_point.reshape(shape)
    set_constant(builder, out, (centred * found.scale.reshape(shape).astype(np.float64)).astype(np.float32))
    builder.brought[out] = found.brought()


def _same_value(node: SourceNode, builder: Builder, x: str, out: str) -> None:
    """Check that a dequantize undoes the quantize that its input came from."""
    brought = builder.brought.get(builder.resolve(x))
    if brought is None:
        raise Unsupported(f"{x} is not quantized by a QuantizeLinear of this model")
    if node.has(2):
        found = read_format(node, builder, builder.constant_input(node, 2, "zero point").dtype.name).brought()
        fits = same_format(found, brought)
    else:  # then both nodes leave the zero point out: it is 0 of a signed or of an unsigned type
        found = read_format(node, builder, f"int{brought.bits}").brought()
        zeros = (0, -(1 << (brought.bits - 1)))
        fits = np.array_equal(found.scale, brought.scale) and int(brought.zero_point[0]) in zeros
    if not fits:
        raise Unsupported(f"{x} is dequantized with another format than it was quantized with")
    builder.alias(out, x)


def same_format(a: Brought, b: Brought) -> bool:
    """Whether two formats are equal."""
    return (
        np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
        and (a.bits, a.axis) == (b.bits, b.axis)
    )


IMPORTERS: Mapping[str, Importer] = {
    "DequantizeLinear": import_dequantize,
    "QuantizeLinear": import_quantize,
}
