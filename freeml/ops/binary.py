"""What Add, Sub and Mul share: numpy broadcasting, constants as operands, loops for C.

Sums keep one rounding: with a = s1/sy and b = s2/sy in fixed point at a common shift,

    acc = A (q1 - z1) + B (q2 - z2),   q_y = clamp(round(acc * M) + z_y)

where A and B are the largest integers in the ratio s1 : s2 that keep acc below 2^29 for any operands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freeml.errors import GraphError, QuantizationError
from freeml.fixedpoint.rounding import Requant, make_requant, round_half_up
from freeml.ir.graph import QOp
from freeml.ir.types import QRANGE, FloatArray, IntArray, QDType, QType, Shape, TensorType, element_count
from freeml.ops.base import (
    NO_CLAMP,
    Clamp,
    CRequant,
    FloatOp,
    Kernel,
    LoweredOp,
    Lowering,
    QConstant,
    Quantized,
    Quantizing,
    clamp_bounds,
    requant_view,
)


def align(arrays: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
    """Operands with axes of 1 inserted behind the sample axis so that numpy's broadcasting applies to the rest."""
    rank = max(a.ndim for a in arrays)
    return tuple(a.reshape(a.shape[0], *(1,) * (rank - a.ndim), *a.shape[1:]) for a in arrays)


def broadcast_type(inputs: tuple[TensorType, ...], kind: str) -> tuple[TensorType, ...]:
    """Type of the broadcast result."""
    try:
        shape = np.broadcast_shapes(*(t.shape for t in inputs))
    except ValueError as error:
        raise GraphError(f"{kind} expected shapes that broadcast, found {[t.shape for t in inputs]}") from error
    return (TensorType(shape=tuple(int(n) for n in shape)),)


def constant_format(values: FloatArray, dtype: QDType) -> QType:
    """Symmetric format that just holds a constant operand."""
    limit = QRANGE[dtype][1]
    largest = float(np.abs(values).max(initial=0.0))
    return QType(shape=values.shape, dtype=dtype, scale=(largest or 1.0) / limit, zero_point=0)


def operand_formats(q: Quantizing) -> tuple[tuple[QType, int | QConstant], ...]:
    """Format and source of both operands, constants quantized to 16 bits when either activation has 16, else 8."""
    widths = {t.dtype for t in (*q.inputs, *q.outputs) if t is not None}
    dtype: QDType = "int16" if "int16" in widths else "int8"
    found: list[tuple[QType, int | QConstant]] = []
    for index, type_ in enumerate(q.inputs):
        if type_ is not None:
            found.append((type_, index))
            continue
        values = q.constant(index)
        format_ = constant_format(values, dtype)
        limit = QRANGE[dtype][1]
        integers = np.clip(round_half_up(values / format_.scale), -limit, limit)
        found.append((format_, QConstant(values=integers, type=format_)))
    return tuple(found)


class Binary(FloatOp):
    """Base of the float operators: subclasses are dataclasses with a `clamp`."""

    __slots__ = ()
    clamp: Clamp

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """Broadcast shape."""
        return broadcast_type(inputs, self.kind)

    def limited(self, y: FloatArray) -> FloatArray:
        """The fused clamp."""
        return np.clip(y, *self.clamp) if self.clamp != NO_CLAMP else y


def quantize_sum(q: Quantizing, sign: int, clamp: Clamp) -> Quantized:
    """x1 + sign * x2 as an integer operator."""
    (first, source1), (second, source2) = operand_formats(q)
    y = q.outputs[0]
    reach1 = max(first.qmax - first.zero_point, first.zero_point - first.qmin)
    reach2 = max(second.qmax - second.zero_point, second.zero_point - second.qmin)
    largest = max(first.scale, second.scale)
    # the accumulator stays below 2**29, which leaves the requantization two bits to shift left
    unit = 2.0**29 / (reach1 * first.scale / largest + reach2 * second.scale / largest + 2)
    factor1, factor2 = (int(f) for f in round_half_up(np.array([first.scale, second.scale]) / largest * unit))
    low, high = clamp_bounds(clamp, y)
    bound = factor1 * reach1 + factor2 * reach2
    requant = make_requant(
        np.array([largest / unit / y.scale]),
        accumulator_bound=bound,
        zero_point=y.zero_point,
        low=low,
        high=high,
    )
    if requant is None:
        raise QuantizationError(
            f"node {q.node}: expected operands and sum of comparable range, found scales {first.scale:.3g}, "
            f"{second.scale:.3g} and {y.scale:.3g}; check the calibration data"
        )
    op = QSum(factors=(factor1, sign * factor2), zero_points=(first.zero_point, second.zero_point), requant=requant)
    return Quantized(op=op, inputs=(source1, source2))


@dataclass(frozen=True, slots=True, kw_only=True)
class QSum(LoweredOp):
    """clamp(round((A (q1 - z1) + B (q2 - z2)) * M) + z): Add and Sub."""

    factors: tuple[int, int]
    zero_points: tuple[int, int]
    requant: Requant

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """One rounding for the whole sum."""
        x1, x2 = align(inputs)
        acc = (x1 - self.zero_points[0]) * self.factors[0] + (x2 - self.zero_points[1]) * self.factors[1]
        return (self.requant.apply(acc),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout, when both operands follow."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template sum.c.j2."""
        return lower_binary(c, "sum", self.factors, self.zero_points, self.requant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One loop of a broadcast: `extent` iterations, each operand advancing by its stride (elements, 0 = repeated)."""

    extent: int
    strides: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryView:
    """Values of the binary templates. `aligned` operands are walked by one index; others by `axes`, outermost first."""

    factors: tuple[int, int]
    zero_points: tuple[int, int]
    requant: CRequant
    aligned: bool
    axes: tuple[Axis, ...]


def loop_axes(shapes: tuple[Shape, Shape], out: Shape) -> tuple[Axis, ...]:
    """The fewest loops that walk two operands broadcast to `out`, in row-major order of the output."""
    rank = len(out)
    strides = []
    for shape in shapes:
        padded = (1,) * (rank - len(shape)) + shape
        strides.append([0 if padded[i] == 1 else element_count(padded[i + 1 :]) for i in range(rank)])
    axes: list[Axis] = []
    for extent, s1, s2 in zip(out, strides[0], strides[1], strict=True):
        if extent == 1:
            continue
        last = axes[-1] if axes else None
        if last is not None and last.strides == (s1 * extent, s2 * extent):
            axes[-1] = Axis(extent=last.extent * extent, strides=(s1, s2))
        else:
            axes.append(Axis(extent=extent, strides=(s1, s2)))
    return tuple(axes) or (Axis(extent=1, strides=(0, 0)),)


def lower_binary(
    c: Lowering, template: str, factors: tuple[int, int], zero_points: tuple[int, int], requant: Requant
) -> Kernel:
    """Kernel of a two-operand elementwise operator."""
    y = c.outputs[0]
    if c.flowing == 1:  # both formulas are symmetric once factors and zero points change sides with the operands
        c = replace(c, inputs=(c.inputs[1], c.inputs[0]), flowing=0)
        factors, zero_points = (factors[1], factors[0]), (zero_points[1], zero_points[0])
    x1, x2 = c.inputs
    aligned = x1.type.size == x2.type.size == y.type.size
    view = BinaryView(
        factors=factors,
        zero_points=zero_points,
        requant=requant_view(requant, ""),
        aligned=aligned,
        axes=loop_axes((x1.type.shape, x2.type.shape), y.type.shape),
    )
    return Kernel(template=template, inputs=c.inputs, outputs=c.outputs, view=view, elementwise=True)
