"""Clip (Relu, Relu6). Where its producer requantizes, fusion makes it part of the producer's clamp instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import Kernel, LoweredOp, Lowering, Quantized, Quantizing, SameFormat, clamp_bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(SameFormat):
    """y = min(max(x, low), high)."""

    low: float
    high: float

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The input's type."""
        return (inputs[0],)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference; ONNX defines low > high as everything becoming high."""
        return (np.minimum(np.maximum(inputs[0], self.low), self.high).astype(inputs[0].dtype),)

    def quantize(self, q: Quantizing) -> Quantized:
        """Integer bounds in the input's own format."""
        low, high = clamp_bounds((self.low, self.high), q.outputs[0])
        return Quantized(op=QClip(low=min(low, high), high=high), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QClip(LoweredOp):
    """Integer clamp, exact."""

    low: int
    high: int

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Clamp."""
        return (np.clip(inputs[0], self.low, self.high),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout."""
        return self

    def lower(self, c: Lowering) -> Kernel:
        """Template clip.c.j2."""
        return Kernel(template="clip", inputs=c.inputs, outputs=c.outputs, view=self, elementwise=True)
