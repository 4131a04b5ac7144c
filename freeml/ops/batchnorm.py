"""Batch normalization at inference: a per-channel scale and shift, folded into its producer before quantization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.errors import GraphError
from freeml.ir.types import FloatArray, TensorType
from freeml.ops.base import FloatOp, Quantized, Quantizing


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(FloatOp):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias along axis 1. Inputs: x, scale, bias, mean, var."""

    epsilon: float

    def affine(
        self, scale: FloatArray, bias: FloatArray, mean: FloatArray, variance: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The same as y = a x + b: (a, b) per channel."""
        factor = scale / np.sqrt(variance + self.epsilon)
        return factor, bias - mean * factor

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The type of x."""
        x = inputs[0].shape
        if len(x) < 2 or any(t.shape != (x[1],) for t in inputs[1:]):
            raise GraphError(f"BatchNorm expected statistics per channel of {x}, found {[t.shape for t in inputs[1:]]}")
        return (inputs[0],)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        factor, shift = self.affine(*(v[0] for v in inputs[1:]))
        expand = (slice(None),) + (np.newaxis,) * (inputs[0].ndim - 3)
        return (inputs[0] * factor[expand] + shift[expand],)

    def quantize(self, q: Quantizing) -> Quantized:
        """Never reached: the pass fold-affine removes every batch norm."""
        raise AssertionError(f"{q.node}: batch norm was not folded")
