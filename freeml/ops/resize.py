"""Resize with the nearest neighbour: every output index reads one input index, tabulated per axis."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.errors import GraphError
from freeml.ir.types import FloatArray, TensorType
from freeml.ops.base import Quantized, Quantizing, SameFormat
from freeml.ops.copying import axis_maps, quantize_copy


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(SameFormat):
    """y[i, j, ...] = x[indices[0][i], indices[1][j], ...]."""

    indices: tuple[tuple[int, ...], ...]

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """One extent per table."""
        shape = inputs[0].shape
        if len(self.indices) != len(shape):
            raise GraphError(f"Resize expected {len(shape)} index tables, found {len(self.indices)}")
        for table, extent in zip(self.indices, shape, strict=True):
            if not table or min(table) < 0 or max(table) >= extent:
                raise GraphError(f"Resize expected indices within the axis of extent {extent}, found {list(table)}")
        return (TensorType(shape=tuple(len(table) for table in self.indices), dtype=inputs[0].dtype),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Selection."""
        y = inputs[0]
        for axis, table in enumerate(self.indices, start=1):
            y = y.take(table, axis=axis)
        return (y,)

    def quantize(self, q: Quantizing) -> Quantized:
        """A copy."""
        return quantize_copy(q, axis_maps(self.indices))
