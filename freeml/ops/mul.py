"""Elementwise product, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import Requant, make_requant
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray
from freeml.ops.base import NO_CLAMP, Clamp, Kernel, LoweredOp, Lowering, Quantized, Quantizing, clamp_bounds
from freeml.ops.binary import Binary, align, lower_binary, operand_formats


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Binary):
    """y = clamp(x1 * x2)."""

    clamp: Clamp = NO_CLAMP

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        x1, x2 = align(inputs)
        return (self.limited(x1 * x2),)

    def quantize(self, q: Quantizing) -> Quantized:
        """Exact 32-bit product, one rounding."""
        (first, source1), (second, source2) = operand_formats(q)
        y = q.outputs[0]
        low, high = clamp_bounds(self.clamp, y)
        bound = max(first.qmax - first.zero_point, first.zero_point - first.qmin) * max(
            second.qmax - second.zero_point, second.zero_point - second.qmin
        )
        requant = make_requant(
            np.asarray(first.scale * second.scale / y.scale, dtype=np.float64),
            accumulator_bound=bound, zero_point=y.zero_point, low=low, high=high,
        )  # fmt: skip
        if requant is None:
            raise QuantizationError(
                f"node {q.node}: expected a product whose range matches its operands', found output scale "
                f"{y.scale:.3g} for operand scales {first.scale:.3g} and {second.scale:.3g}; check the calibration data"
            )
        op = QMul(zero_points=(first.zero_point, second.zero_point), requant=requant)
        return Quantized(op=op, inputs=(source1, source2))


@dataclass(frozen=True, slots=True, kw_only=True)
class QMul(LoweredOp):
    """clamp(round((q1 - z1) (q2 - z2) * M) + z)."""

    zero_points: tuple[int, int]
    requant: Requant

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact product, one rounding."""
        x1, x2 = align(inputs)
        return (self.requant.apply((x1 - self.zero_points[0]) * (x2 - self.zero_points[1])),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout, when both operands follow."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template mul.c.j2."""
        return lower_binary(c, "mul", (1, 1), self.zero_points, self.requant)
