"""Straight-line approximation of the logistic function, by table (two knots are enough for 16 bits)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.ir.types import FloatArray, QDType, QType, Shape
from freeml.ops.lut import Pointwise, unit_interval


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
