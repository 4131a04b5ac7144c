"""HardSigmoid: a table for 8 bits; for 16, where a table would blur the corners, the straight line itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.fixedpoint.rounding import Requant, round_half_up
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, QDType, QType, Shape
from freeml.ops.base import CRequant, Kernel, LoweredOp, Lowering, Quantized, Quantizing, clamp_bounds, requant_view
from freeml.ops.lut import Pointwise, unit_interval
from freeml.ops.prelu import signed_requant

ACCUMULATOR_LIMIT = 2**29
EXTRA_BITS = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSigmoid(Pointwise):
    """y = min(max(alpha * x + beta, 0), 1)."""

    alpha: float = 0.2
    beta: float = 0.5

    def function(self, x: FloatArray) -> FloatArray:
        """The definition."""
        return np.clip(self.alpha * x + self.beta, 0.0, 1.0)

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """0 to 1 in all of the type."""
        return unit_interval(shape, dtype)

    def quantize(self, q: Quantizing) -> Quantized:
        """From 16 bits alpha * (x + beta / alpha); a table where alpha is so small that this does not fit 32 bits."""
        x, y = q.input(0), q.outputs[0]
        if x.dtype == "int8" or self.alpha == 0.0:
            return Pointwise.quantize(self, q)
        reach = max(x.qmax - x.zero_point, x.zero_point - x.qmin)
        for extra_bits in range(EXTRA_BITS, -1, -1):
            unit = x.scale / 2.0**extra_bits
            offset = self.beta / (self.alpha * unit)
            bound = (reach << extra_bits) + abs(offset) + 1
            if bound > ACCUMULATOR_LIMIT:
                continue
            line = signed_requant(
                np.array([self.alpha * unit / y.scale]), int(bound), y.zero_point, clamp_bounds((0.0, 1.0), y)
            )
            if line is not None:
                whole = int(round_half_up(np.array(offset)))
                op = QHardSigmoid(zero_point=x.zero_point, extra_bits=extra_bits, offset=whole, line=line)
                return Quantized(op=op, inputs=(0,))
        return Pointwise.quantize(self, q)


@dataclass(frozen=True, slots=True, kw_only=True)
class QHardSigmoid(LoweredOp):
    """line((q - z) * 2**extra_bits + offset), rounded once; the clamp of `line` makes the corners."""

    zero_point: int
    extra_bits: int
    offset: int
    line: Requant

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """One rounding."""
        return (self.line.apply(((inputs[0] - self.zero_point) << np.int64(self.extra_bits)) + self.offset),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template hardsigmoid.c.j2."""
        view = HardSigmoidView(
            zero_point=self.zero_point, extra_bits=self.extra_bits, offset=self.offset, line=requant_view(self.line, "")
        )
        return Kernel(template="hardsigmoid", inputs=c.inputs, outputs=c.outputs, view=view, elementwise=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSigmoidView:
    """Values of codegen_templates/ops/hardsigmoid.c.j2."""

    zero_point: int
    extra_bits: int
    offset: int
    line: CRequant
