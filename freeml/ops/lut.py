"""Smooth functions of one number as tables: exact for 8-bit inputs, interpolated for 16-bit ones.

A 16-bit input is first clamped to the range in which the function changes at all. Over that range stand evenly spaced
knots, as few as keep every one of the 65,536 outputs within one unit of the correctly rounded value (or, where
MAX_KNOTS do not suffice, as many as that); the search evaluates all of them, so the bound is no estimate.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from freeml.fixedpoint.rounding import round_half_up, shift_round
from freeml.ir.graph import QOp
from freeml.ir.types import QRANGE, FloatArray, IntArray, QDType, QType, Shape, TensorType
from freeml.ops.base import CArray, FloatOp, Kernel, LoweredOp, Lowering, Quantized, Quantizing
from freeml.ops.conv import suffix

MAX_KNOTS = 1025
# fm_shift_round takes numbers of at most this magnitude
SHIFT_LIMIT = 2**30
# knots of an 8-bit output carry this many bits below its unit, so that interpolation does not coarsen it further
NARROW_FRACTION = 8


class Pointwise(FloatOp):
    """Base of the float operators: subclasses define `function`."""

    __slots__ = ()

    @abstractmethod
    def function(self, x: FloatArray) -> FloatArray:
        """The function, on float64."""

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The input's type."""
        return (inputs[0],)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference, computed in float64."""
        return (self.function(inputs[0].astype(np.float64)).astype(inputs[0].dtype),)

    def quantize(self, q: Quantizing) -> Quantized:
        """A table."""
        x, y = q.input(0), q.outputs[0]
        return Quantized(op=tabulate(self.function_values(x, y), x, y), inputs=(0,))

    def function_values(self, x: QType, y: QType) -> FloatArray:
        """The function at every integer of x, in units of y (zero point included), clipped to y's type, not rounded."""
        real = (np.arange(x.qmin, x.qmax + 1) - x.zero_point) * x.scale
        return np.clip(self.function(real) / y.scale + y.zero_point, y.qmin, y.qmax)


def unit_interval(shape: Shape, dtype: QDType) -> QType:
    """The format of numbers from 0 to 1. Its unit is a power of two, so 1 itself is one unit out of reach."""
    if dtype == "int8":
        return QType(shape=shape, dtype=dtype, scale=2.0**-8, zero_point=-128)
    return QType(shape=shape, dtype=dtype, scale=2.0**-15, zero_point=0)


def tabulate(values: FloatArray, x: QType, y: QType) -> LoweredOp:
    """The integer operator for a function given at every integer of x."""
    exact = round_half_up(values)
    if x.dtype == "int8":
        return QTable(low=x.qmin, values=tuple(int(v) for v in exact))
    fraction = NARROW_FRACTION if y.dtype == "int8" else 0
    first, last = _active(round_half_up(values * 2.0**fraction))
    coarse: QInterpolated | None = None
    for shift in range(16, 0, -1):
        if (last - first) // 2**shift + 2 > min(MAX_KNOTS, last - first):
            break
        found = _interpolated(values[first : last + 1], x.qmin + first, shift, fraction, y)
        if found is None:
            continue
        coarse, error = found
        if error <= 1:
            return coarse
    if coarse is None or last - first + 1 <= MAX_KNOTS:
        return QTable(low=x.qmin + first, values=tuple(int(v) for v in exact[first : last + 1]))
    return coarse


def _active(values: IntArray) -> tuple[int, int]:
    """First and last index such that the values are constant before the one and after the other."""
    changes = np.flatnonzero(np.diff(values))
    return (int(changes[0]), int(changes[-1]) + 1) if len(changes) else (0, 0)


def _interpolated(
    values: FloatArray, low: int, shift: int, fraction: int, y: QType
) -> tuple[QInterpolated, int] | None:
    """Interpolation with knots 2**shift inputs apart, and its largest error in units of the knots.

    None when 32 bits cannot hold it. The last knot lies beyond the last input: it prolongs the line to that input.
    """
    width, last = 1 << shift, len(values) - 1
    starts = np.arange(0, last, width)
    ends = np.append(starts[1:], last)
    # a chord lies on one side of its curve: half of what it sags in the middle is taken off its ends
    sag = (values[starts] + values[ends]) / 2 - np.interp((starts + ends) / 2, np.arange(last + 1), values)
    points = values[np.append(starts, last)] - (np.append(sag, sag[-1]) + np.insert(sag, 0, sag[0])) / 4
    points[-1] = points[-2] + (points[-1] - points[-2]) * width / (last - starts[-1])
    if last % width == 0:  # the last input falls on a knot, whose segment needs an end too
        points = np.append(points, points[-1])
    rounded = round_half_up(points * 2.0**fraction)
    if int(np.abs(rounded).max()) * width > SHIFT_LIMIT:
        return None
    low_y, high_y = QRANGE[y.dtype]
    op = QInterpolated(
        low=low, high=low + last, knots=tuple(int(k) for k in rounded), shift=shift, fraction=fraction,
        out_low=low_y, out_high=high_y,
    )  # fmt: skip
    fine = shift_round(op.weighted(np.arange(last + 1)), shift)
    return op, int(np.abs(fine - round_half_up(values * 2.0**fraction)).max())


@dataclass(frozen=True, slots=True, kw_only=True)
class QTable(LoweredOp):
    """y = values[clamp(q) - low], for the inputs low ... low + len(values) - 1."""

    low: int
    values: tuple[int, ...]

    @property
    def high(self) -> int:
        """Last input of the table."""
        return self.low + len(self.values) - 1

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Look up."""
        return (np.array(self.values, dtype=np.int64)[np.clip(inputs[0], self.low, self.high) - self.low],)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template table.c.j2."""
        x, y = c.inputs[0].type, c.outputs[0]
        view = TableView(
            table=c.table("table"),
            index="uint8_t" if len(self.values) <= 256 else "uint16_t",
            low=self.low,
            high=self.high,
            clamps=self.low > x.qmin or self.high < x.qmax,
        )
        tables = (CArray(suffix="table", ctype=y.ctype, values=self.values),)
        return Kernel(template="table", inputs=c.inputs, outputs=c.outputs, view=view, tables=tables, elementwise=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """Values of codegen_templates/ops/table.c.j2; `index` is the C type that holds every index."""

    table: str
    index: str
    low: int
    high: int
    clamps: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QInterpolated(LoweredOp):
    """Straight lines between knots 2**shift inputs apart, which are in units of 2**-fraction of the output's.

    With u = clamp(q, low, high) - low, i = u >> shift and f the dropped bits of u:
    y = clamp(round((knots[i] * 2**shift + (knots[i + 1] - knots[i]) * f) / 2**(shift + fraction))), rounded once.
    """

    low: int
    high: int
    knots: tuple[int, ...]
    shift: int
    fraction: int
    out_low: int
    out_high: int

    def weighted(self, positions: IntArray) -> IntArray:
        """The interpolated value times 2**(shift + fraction) at positions counted from `low`."""
        knots = np.array(self.knots, dtype=np.int64)
        index, rest = positions >> self.shift, positions & ((1 << self.shift) - 1)
        below = knots[index]
        return np.asarray((below << np.int64(self.shift)) + (knots[index + 1] - below) * rest)

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Interpolate, round once."""
        weighted = self.weighted(np.clip(inputs[0], self.low, self.high) - self.low)
        return (np.clip(shift_round(weighted, self.shift + self.fraction), self.out_low, self.out_high),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template interpolate.c.j2."""
        fits = all(-(2**15) <= k < 2**15 for k in self.knots)
        ctype = "int16_t" if fits else "int32_t"
        view = InterpolatedView(
            function=f"fm_interpolate_{suffix(ctype)}",
            table=c.table("knots"),
            low=self.low,
            high=self.high,
            shift=self.shift,
            drop=self.shift + self.fraction,
            out_low=self.out_low,
            out_high=self.out_high,
        )
        tables = (CArray(suffix="knots", ctype=ctype, values=self.knots),)
        return Kernel(
            template="interpolate", inputs=c.inputs, outputs=c.outputs, view=view, tables=tables, elementwise=True
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpolatedView:
    """Values of codegen_templates/ops/interpolate.c.j2."""

    function: str
    table: str
    low: int
    high: int
    shift: int
    drop: int
    out_low: int
    out_high: int
