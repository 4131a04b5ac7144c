"""Index of the largest number along an axis: quantization keeps the order, so the integers decide."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freeml.errors import GraphError
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import FloatOp, Kernel, LoweredOp, Lowering, Quantized, Quantizing
from freeml.ops.softmax import Rows, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgMax(FloatOp):
    """y = index of the first (or last) maximum of x along `axis`; the output is an integer."""

    axis: int
    keepdims: bool = True
    select_last_index: bool = False

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The axis becomes 1 or goes."""
        shape = inputs[0].shape
        if not 0 <= self.axis < len(shape) or shape[self.axis] == 0:
            raise GraphError(f"ArgMax expected a filled axis of 0..{len(shape) - 1}, found axis {self.axis} of {shape}")
        kept = (1,) if self.keepdims else ()
        return (TensorType(shape=(*shape[: self.axis], *kept, *shape[self.axis + 1 :]), dtype="int64"),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """int64 indices."""
        found = index_of_largest(inputs[0], self.axis + 1, self.keepdims, self.select_last_index)
        return (found,)

    def quantize(self, q: Quantizing) -> Quantized:
        """The same on integers."""
        op = QArgMax(axis=self.axis, keepdims=self.keepdims, select_last_index=self.select_last_index)
        return Quantized(op=op, inputs=(0,))


def index_of_largest(x: FloatArray | IntArray, axis: int, keepdims: bool, last: bool) -> IntArray:
    """int64 index of the first or last maximum along an axis of the array."""
    if last:
        return np.asarray(x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis, keepdims=keepdims), dtype=np.int64)
    return np.asarray(np.argmax(x, axis=axis, keepdims=keepdims), dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class QArgMax(LoweredOp):
    """Index of the first (or last) maximum along `axis`, int32."""

    axis: int
    keepdims: bool
    select_last_index: bool

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact."""
        return (index_of_largest(inputs[0], self.axis + 1, self.keepdims, self.select_last_index),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout, as long as the rank stays: the axis moves along."""
        return replace(self, axis=order.index(self.axis)) if self.keepdims else None

    def lower(self, c: Lowering) -> Kernel:
        """Template argmax.c.j2."""
        view = ArgMaxView(rows=rows(c.inputs[0].type.shape, self.axis), beats=">=" if self.select_last_index else ">")
        return Kernel(template="argmax", inputs=c.inputs, outputs=c.outputs, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgMaxView:
    """Values of codegen_templates/ops/argmax.c.j2. `beats` is the comparison by which a later number takes over."""

    rows: Rows
    beats: str
