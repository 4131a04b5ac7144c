"""Logistic function, by table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.ir.types import FloatArray, QDType, QType, Shape
from freeml.ops.lut import Pointwise, unit_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid(Pointwise):
    """y = 1 / (1 + exp(-x))."""

    def function(self, x: FloatArray) -> FloatArray:
        """Computed as exp(-log(1 + exp(-x))), which neither overflows nor cancels."""
        return np.exp(-np.logaddexp(0.0, -x))

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """0 to 1 in all of the type."""
        return unit_interval(shape, dtype)
