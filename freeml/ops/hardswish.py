"""HardSwish: a table for 8 bits; for 16, where a table would have to be long to turn its corners, a product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.fixedpoint.rounding import Requant, make_requant
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray
from freeml.ops.base import CRequant, Kernel, LoweredOp, Lowering, Quantized, Quantizing, requant_view
from freeml.ops.lut import Pointwise


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSwish(Pointwise):
    """y = x * min(max(x / 6 + 1/2, 0), 1)."""

    def function(self, x: FloatArray) -> FloatArray:
        """The definition."""
        return x * np.clip(x / 6.0 + 0.5, 0.0, 1.0)

    def quantize(self, q: Quantizing) -> Quantized:
        """From 16 bits, the product of x and a gate with 15 bits; a table where that does not fit 32 bits."""
        x, y = q.input(0), q.outputs[0]
        if x.dtype == "int8":
            return Pointwise.quantize(self, q)
        reach = max(x.qmax - x.zero_point, x.zero_point - x.qmin)
        one = 2**15 if reach <= 2**15 else 2**14
        gate = make_requant(
            np.array([x.scale / 6.0 * one]), accumulator_bound=reach, zero_point=one // 2, low=0, high=one
        )
        requant = make_requant(
            np.array([x.scale / (y.scale * one)]),
            accumulator_bound=reach * one, zero_point=y.zero_point, low=y.qmin, high=y.qmax,
        )  # fmt: skip
        if gate is None or requant is None:
            return Pointwise.quantize(self, q)
        return Quantized(op=QHardSwish(zero_point=x.zero_point, gate=gate, requant=requant), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QHardSwish(LoweredOp):
    """requant((q - z) * gate(q - z)): the gate errs by half a unit of its 15 bits, so y by half a unit of x at most."""

    zero_point: int
    gate: Requant
    requant: Requant

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """A gate, a product, a rounding each."""
        x = inputs[0] - self.zero_point
        return (self.requant.apply(x * self.gate.apply(x)),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template hardswish.c.j2."""
        view = HardSwishView(
            zero_point=self.zero_point, gate=requant_view(self.gate, ""), requant=requant_view(self.requant, "")
        )
        return Kernel(template="hardswish", inputs=c.inputs, outputs=c.outputs, view=view, elementwise=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSwishView:
    """Values of codegen_templates/ops/hardswish.c.j2."""

    zero_point: int
    gate: CRequant
    requant: CRequant
