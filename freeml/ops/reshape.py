"""Reshape (Flatten, Squeeze, Unsqueeze): the same numbers in the same order, so no code and no memory."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.errors import GraphError
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, Shape, TensorType, element_count
from freeml.ops.base import Quantized, Quantizing, SameFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(SameFormat):
    """y = x with another shape of as many elements."""

    shape: Shape

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The given shape."""
        if element_count(self.shape) != inputs[0].size:
            raise GraphError(f"Reshape expected {inputs[0].size} elements, found shape {self.shape}")
        return (TensorType(shape=self.shape, dtype=inputs[0].dtype),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Row-major reshape of each sample."""
        return (inputs[0].reshape(inputs[0].shape[0], *self.shape),)

    def quantize(self, q: Quantizing) -> Quantized:
        """The same on integers."""
        return Quantized(op=QReshape(shape=self.shape), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QReshape(QOp):
    """Another shape for the same bytes; memory planning gives input and output one address."""

    shape: Shape

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Row-major reshape of each sample."""
        return (inputs[0].reshape(inputs[0].shape[0], *self.shape),)
