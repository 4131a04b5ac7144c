"""Slice (and each output of Split): evenly spaced indices of every axis."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.errors import GraphError
from freeml.ir.types import FloatArray, Shape, TensorType
from freeml.ops.base import Quantized, Quantizing, SameFormat
from freeml.ops.copying import axis_maps, quantize_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(SameFormat):
    """y[i, j, ...] = x[starts[0] + i * steps[0], ...], `sizes[a]` indices along axis a. One entry per axis."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: Shape

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The sizes."""
        shape = inputs[0].shape
        if not len(self.starts) == len(self.steps) == len(self.sizes) == len(shape):
            raise GraphError(f"Slice expected {len(shape)} starts, steps and sizes, found {self}")
        for table, extent in zip(self._tables(), shape, strict=True):
            if not table or min(table) < 0 or max(table) >= extent:
                raise GraphError(f"Slice expected indices within the axis of extent {extent}, found {list(table)}")
        return (TensorType(shape=self.sizes, dtype=inputs[0].dtype),)

    def _tables(self) -> tuple[tuple[int, ...], ...]:
        bounds = zip(self.starts, self.steps, self.sizes, strict=True)
        return tuple(tuple(start + i * step for i in range(size)) for start, step, size in bounds)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Selection."""
        y = inputs[0]
        for axis, table in enumerate(self._tables(), start=1):
            y = y.take(table, axis=axis)
        return (y,)

    def quantize(self, q: Quantizing) -> Quantized:
        """A copy."""
        return quantize_copy(q, axis_maps(self._tables()))
