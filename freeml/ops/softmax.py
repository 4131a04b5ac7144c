"""Softmax along an axis, in 32-bit integers.

With d = max - q (so x_max - x = scale * d), for every element of the axis:

    E(d) = exp(-scale * d) with 30 bits: one factor per hexadecimal digit of d, from a table of 16 for each digit
    S    = sum of E, exact in two words, rounded once to 16 bits behind the point
    y    = round(e * 2**bits / S) + zero point, e being E rounded to 16 bits behind the point

Error: E is off by less than 2**-26, so e by 2**-17 + 2**-26 and the S of n elements by 2**-17 + n * 2**-26. S is at
least 1 and e / S at most 1, so y is off by no more than both together, and then rounded. In units of the output that is
less than 0.505 + n * 2**-18 with 8 bits and less than 1.001 + n * 2**-11 with 15.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import frexp, prod

import numpy as np

from freeml.errors import GraphError, QuantizationError
from freeml.fixedpoint.rounding import INT32_MAX, Requant, divide_round, make_requant, round_half_up
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, QDType, QType, Shape, TensorType
from freeml.ops.base import CArray, CRequant, FloatOp, Kernel, LoweredOp, Lowering, Quantized, Quantizing, requant_view
from freeml.ops.lut import unit_interval

EXP_BITS = 30
SUM_BITS = 16
# the sum of this many elements, each at most 1, has at most 32 bits, and so has (e << 15) + S / 2
MAX_LENGTH = 2**16 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How C walks the rows along an axis: outer x inner rows of `length` elements, `inner` elements apart."""

    outer: int
    length: int
    inner: int


def rows(shape: Shape, axis: int) -> Rows:
    """The rows of a tensor along `axis`."""
    return Rows(outer=prod(shape[:axis]), length=shape[axis], inner=prod(shape[axis + 1 :]))


def infer_along(kind: str, axis: int, x: TensorType) -> tuple[TensorType, ...]:
    """The input's type; raises GraphError for an axis it does not have."""
    if not 0 <= axis < len(x.shape):
        raise GraphError(f"{kind} expected an axis of 0..{len(x.shape) - 1}, found {axis}")
    return (x,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(FloatOp):
    """y = exp(x) / sum of exp(x) along `axis`."""

    axis: int

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The input's type."""
        return infer_along("Softmax", self.axis, inputs[0])

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        x = inputs[0]
        e = np.exp(x - x.max(axis=self.axis + 1, keepdims=True))
        return (e / e.sum(axis=self.axis + 1, keepdims=True),)

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """0 to 1 in all of the type."""
        return unit_interval(shape, dtype)

    def quantize(self, q: Quantizing) -> Quantized:
        """Straight to the output's unit where that is a power of two, by way of 15 bits where it is not."""
        x, y = q.input(0), q.outputs[0]
        mantissa, exponent = frexp(y.scale)
        bits = 1 - exponent
        requant = None
        if mantissa != 0.5 or not 0 <= bits <= 15:
            bits = 15
            requant = make_requant(
                np.array([2.0**-15 / y.scale]),
                accumulator_bound=2**15, zero_point=y.zero_point, low=y.qmin, high=y.qmax,
            )  # fmt: skip
            if requant is None:
                raise QuantizationError(
                    f"node {q.node}: expected a scale that holds numbers from 0 to 1, found {y.scale:.3g}; "
                    "let freeml choose the format of the output"
                )
        op = QSoftmax(
            axis=self.axis, exponential=exponential(q.node, x, self.axis), bits=bits, zero_point=y.zero_point,
            low=y.qmin, high=y.qmax, requant=requant,
        )  # fmt: skip
        return Quantized(op=op, inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """exp(-scale * d) for whole d: `factors[16 * j + h]` is that of digit h at position j, times 2**30."""

    factors: tuple[int, ...]

    @property
    def digits(self) -> int:
        """Hexadecimal digits of the largest d."""
        return len(self.factors) // 16

    def apply(self, distance: IntArray) -> IntArray:
        """exp(-scale * d) * 2**30, the C function fm_exp."""
        tables = np.array(self.factors, dtype=np.int64).reshape(-1, 16)
        result = tables[0][distance & 15]
        for position in range(1, self.digits):
            high_word = (result * tables[position][(distance >> np.int64(4 * position)) & 15]) >> np.int64(32)
            result = high_word << np.int64(2)
        return np.asarray(result)

    def normalized(self, x: IntArray, axis: int) -> tuple[IntArray, IntArray, IntArray]:
        """(d, E, S): distances to the maximum along an axis of the array, their exponentials, 2**16 times their sum."""
        distance = x.max(axis=axis, keepdims=True) - x
        values = self.apply(distance)
        drop = EXP_BITS - SUM_BITS
        return distance, values, _round_off(values.sum(axis=axis, keepdims=True), drop)


def _round_off(values: IntArray, bits: int) -> IntArray:
    rounded: IntArray = (values + (np.int64(1) << np.int64(bits - 1))) >> np.int64(bits)
    return rounded


def exponential(node: str, x: QType, axis: int) -> Exponential:
    """The factors for an input format. Raises QuantizationError for an axis too long to sum in 32 bits."""
    if x.shape[axis] > MAX_LENGTH:
        raise QuantizationError(
            f"node {node}: expected an axis of at most {MAX_LENGTH} elements, found {x.shape[axis]}, "
            "whose sum could overflow; split the axis"
        )
    digits = 2 if x.dtype == "int8" else 4
    distances = np.arange(16) * 16.0 ** np.arange(digits)[:, np.newaxis]
    factors = round_half_up(2.0**EXP_BITS * np.exp(-x.scale * distances))
    return Exponential(factors=tuple(int(f) for f in factors.ravel()))


@dataclass(frozen=True, slots=True, kw_only=True)
class QSoftmax(LoweredOp):
    """Integer softmax with `bits` bits; `requant`, where set, brings these to another unit of the output."""

    axis: int
    exponential: Exponential
    bits: int
    zero_point: int
    low: int
    high: int
    requant: Requant | None

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """See the module."""
        _, values, total = self.exponential.normalized(inputs[0], self.axis + 1)
        y = divide_round(_round_off(values, EXP_BITS - SUM_BITS) << np.int64(self.bits), total)
        if self.requant is not None:
            return (self.requant.apply(y),)
        return (np.clip(y + self.zero_point, self.low, self.high),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout: the axis moves along."""
        return replace(self, axis=order.index(self.axis))

    def lower(self, c: Lowering) -> Kernel:
        """Template softmax.c.j2."""
        view = SoftmaxView(
            rows=rows(c.inputs[0].type.shape, self.axis),
            table=c.table("exp"),
            digits=self.exponential.digits,
            bits=self.bits,
            zero_point=self.zero_point,
            low=self.low,
            high=self.high,
            requant=requant_view(self.requant, "") if self.requant else None,
        )
        tables = (CArray(suffix="exp", ctype="int32_t", values=self.exponential.factors),)
        return Kernel(template="softmax", inputs=c.inputs, outputs=c.outputs, view=view, tables=tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxView:
    """Values of codegen_templates/ops/softmax.c.j2."""

    rows: Rows
    table: str
    digits: int
    bits: int
    zero_point: int
    low: int
    high: int
    requant: CRequant | None


assert MAX_LENGTH * 2**SUM_BITS < 2**32 and 2**31 + MAX_LENGTH * 2**15 < 2**32 and 2**EXP_BITS <= INT32_MAX
