"""Subtraction, with broadcasting."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.ir.types import FloatArray
from freeml.ops.base import NO_CLAMP, Clamp, Quantized, Quantizing
from freeml.ops.binary import Binary, align, quantize_sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Sub(Binary):
    """y = clamp(x1 - x2)."""

    clamp: Clamp = NO_CLAMP

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        x1, x2 = align(inputs)
        return (self.limited(x1 - x2),)

    def quantize(self, q: Quantizing) -> Quantized:
        """One rounding for the difference."""
        return quantize_sum(q, -1, self.clamp)
