"""Transpose. Layout planning cancels most of them; the rest are copies."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.errors import GraphError
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, Shape, TensorType
from freeml.ops.base import Kernel, LoweredOp, Lowering, Quantized, Quantizing, SameFormat
from freeml.ops.copying import AxisMap, lower_copy, make_rescale, quantize_copy


def transpose_maps(perm: tuple[int, ...], shape: Shape) -> tuple[AxisMap, ...]:
    """The copy that transposes a tensor of `shape`."""
    return tuple(AxisMap(source=axis, indices=tuple(range(shape[axis]))) for axis in perm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(SameFormat):
    """Axis i of y is axis perm[i] of x."""

    perm: tuple[int, ...]

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """Extents in the new order."""
        shape = inputs[0].shape
        if sorted(self.perm) != list(range(len(shape))):
            raise GraphError(f"Transpose expected the axes 0..{len(shape) - 1} in some order, found {self.perm}")
        return (TensorType(shape=tuple(shape[axis] for axis in self.perm), dtype=inputs[0].dtype),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        return (inputs[0].transpose(0, *(axis + 1 for axis in self.perm)),)

    def quantize(self, q: Quantizing) -> Quantized:
        """QTranspose; a copy that rescales where a quantized model brings another format for the output."""
        if make_rescale(q.node, q.input(0), q.outputs[0]) is not None:
            return quantize_copy(q, transpose_maps(self.perm, q.input(0).shape))
        return Quantized(op=QTranspose(perm=self.perm), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QTranspose(LoweredOp):
    """Axis i of y is axis perm[i] of x: the same numbers in another order."""

    perm: tuple[int, ...]

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact."""
        return (inputs[0].transpose(0, *(axis + 1 for axis in self.perm)),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout: the axes of input and output move together."""
        return QTranspose(perm=tuple(order.index(self.perm[axis]) for axis in order))

    def lower(self, c: Lowering) -> Kernel:
        """Template copy.c.j2."""
        return lower_copy(c, transpose_maps(self.perm, c.inputs[0].type.shape), 0, None)
