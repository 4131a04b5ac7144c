"""Hyperbolic tangent, by table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.ir.types import FloatArray, QDType, QType, Shape
from freeml.ops.lut import Pointwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Tanh(Pointwise):
    """y = tanh(x)."""

    def function(self, x: FloatArray) -> FloatArray:
        """The definition."""
        return np.tanh(x)

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """-1 to 1 in all of the type; 1 itself is one unit out of reach."""
        scale = 2.0**-7 if dtype == "int8" else 2.0**-15
        return QType(shape=shape, dtype=dtype, scale=scale, zero_point=0)
