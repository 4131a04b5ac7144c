"""LogSoftmax along an axis: y = -(scale * d + ln S), with d and S as in softmax.py and one rounding at the end.

The logarithm is that of base 2: the position of the leading bit of S, and 64 straight lines for the 16 bits behind it.
Its error is at most 3.1e-5 (lines) + 1.6e-5 (bits dropped) + 0.8e-5 (S): 5.5e-5, a fifth of a unit of a 16-bit output
that reaches down to -9.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import Requant, make_requant, round_half_up, shift_round
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import CArray, CRequant, FloatOp, Kernel, LoweredOp, Lowering, Quantized, Quantizing, requant_view
from freeml.ops.softmax import SUM_BITS, Exponential, Rows, exponential, infer_along, rows

LOG_BITS = 20
LOG_SHIFT = 10
LOG_KNOTS = tuple(int(k) for k in round_half_up(2.0**LOG_BITS * np.log2(1.0 + np.arange(65) / 64.0)))
ACCUMULATOR_LIMIT = 2**29


def log2_fixed(values: IntArray) -> IntArray:
    """log2(v / 2**16) * 2**20 of whole numbers 2**16 <= v < 2**32, the C function fm_log2."""
    exponent = np.zeros_like(values)
    for step in (8, 4, 2, 1):
        exponent += np.where(values >> exponent >= np.int64(1) << np.int64(SUM_BITS + step), step, 0)
    fraction = ((values << (15 - exponent)) >> np.int64(15)) & 0xFFFF
    knots = np.array(LOG_KNOTS, dtype=np.int64)
    index, rest = fraction >> np.int64(LOG_SHIFT), fraction & ((1 << LOG_SHIFT) - 1)
    lines = (knots[index] << np.int64(LOG_SHIFT)) + (knots[index + 1] - knots[index]) * rest
    logarithm: IntArray = (exponent << np.int64(LOG_BITS)) + shift_round(lines, LOG_SHIFT)
    return logarithm


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSoftmax(FloatOp):
    """y = x - log(sum of exp(x) along `axis`)."""

    axis: int

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The input's type."""
        return infer_along("LogSoftmax", self.axis, inputs[0])

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        x = inputs[0] - inputs[0].max(axis=self.axis + 1, keepdims=True)
        return (x - np.log(np.exp(x).sum(axis=self.axis + 1, keepdims=True)),)

    def quantize(self, q: Quantizing) -> Quantized:
        """The accumulator counts the input's unit in as many more bits as fit."""
        x, y = q.input(0), q.outputs[0]
        table = exponential(q.node, x, self.axis)
        length = x.shape[self.axis]
        logarithm_bound = ceil(np.log2(length) * 2**LOG_BITS) + 2**LOG_BITS // 2**SUM_BITS + 1
        for extra_bits in range(8, -1, -1):
            unit = x.scale / 2.0**extra_bits
            largest = ceil(log(2.0) * logarithm_bound / 2**LOG_BITS / unit) + 1
            bound = ((x.qmax - x.qmin) << extra_bits) + largest
            if bound > ACCUMULATOR_LIMIT:
                continue
            logarithm = make_requant(
                np.array([log(2.0) / 2**LOG_BITS / unit]),
                accumulator_bound=logarithm_bound, zero_point=0, low=0, high=largest,
            )  # fmt: skip
            requant = make_requant(
                np.array([unit / y.scale]), accumulator_bound=bound, zero_point=y.zero_point, low=y.qmin, high=y.qmax
            )
            if logarithm is not None and requant is not None:
                op = QLogSoftmax(
                    axis=self.axis, exponential=table, extra_bits=extra_bits, logarithm=logarithm, requant=requant
                )
                return Quantized(op=op, inputs=(0,))
        raise QuantizationError(
            f"node {q.node}: expected input and output of comparable range, found scales {x.scale:.3g} and "
            f"{y.scale:.3g}; check the calibration data"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QLogSoftmax(LoweredOp):
    """requant(-(d * 2**extra_bits + logarithm(log2 S)))."""

    axis: int
    exponential: Exponential
    extra_bits: int
    logarithm: Requant
    requant: Requant

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """See the module."""
        distance, _, total = self.exponential.normalized(inputs[0], self.axis + 1)
        offset = self.logarithm.apply(log2_fixed(total))
        return (self.requant.apply(-((distance << np.int64(self.extra_bits)) + offset)),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout: the axis moves along."""
        return replace(self, axis=order.index(self.axis))

    def lower(self, c: Lowering) -> Kernel:
        """Template logsoftmax.c.j2."""
        view = LogSoftmaxView(
            rows=rows(c.inputs[0].type.shape, self.axis),
            table=c.table("exp"),
            digits=self.exponential.digits,
            log_table=c.table("log2"),
            extra_bits=self.extra_bits,
            logarithm=requant_view(self.logarithm, ""),
            requant=requant_view(self.requant, ""),
        )
        tables = (
            CArray(suffix="exp", ctype="int32_t", values=self.exponential.factors),
            CArray(suffix="log2", ctype="int32_t", values=LOG_KNOTS),
        )
        return Kernel(template="logsoftmax", inputs=c.inputs, outputs=c.outputs, view=view, tables=tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSoftmaxView:
    """Values of codegen_templates/ops/logsoftmax.c.j2."""

    rows: Rows
    table: str
    digits: int
    log_table: str
    extra_bits: int
    logarithm: CRequant
    requant: CRequant
