"""Mean over any axes: an exact sum and one rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from freeml.errors import GraphError, QuantizationError
from freeml.fixedpoint.rounding import INT32_MAX, Requant, make_requant
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, Shape, TensorType
from freeml.ops.base import CRequant, FloatOp, Kernel, LoweredOp, Lowering, Quantized, Quantizing, requant_view
from freeml.ops.copying import CopyLoop, merged_loops, strides


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceMean(FloatOp):
    """y = mean of x over `axes`, which stay as extents of 1 with `keepdims`, else go."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """Without the axes."""
        shape = inputs[0].shape
        if len(set(self.axes)) != len(self.axes) or any(not 0 <= axis < len(shape) for axis in self.axes):
            raise GraphError(f"ReduceMean expected distinct axes of 0..{len(shape) - 1}, found {self.axes}")
        if any(shape[axis] == 0 for axis in self.axes):
            raise GraphError(f"ReduceMean expected something to average, found shape {shape}")
        return (TensorType(shape=_reduced(shape, self.axes, self.keepdims)),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        return (inputs[0].mean(axis=tuple(axis + 1 for axis in self.axes), keepdims=self.keepdims),)

    def quantize(self, q: Quantizing) -> Quantized:
        """The division becomes part of the output's multiplier."""
        x, y = q.input(0), q.outputs[0]
        count = prod(x.shape[axis] for axis in self.axes)
        # partial sums start at -count * zero point, so the largest magnitude of x and of x - zero point both matter
        bound = count * max(x.qmax - x.zero_point, x.zero_point - x.qmin, -x.qmin)
        requant = None
        if bound <= INT32_MAX:
            requant = make_requant(
                np.array([x.scale / (y.scale * count)]),
                accumulator_bound=bound, zero_point=y.zero_point, low=y.qmin, high=y.qmax,
            )  # fmt: skip
        if requant is None:
            raise QuantizationError(
                f"node {q.node}: expected a mean whose sum fits 32 bits and can be scaled by "
                f"{x.scale / y.scale:.3g}, found sums of {count} numbers up to {bound}; average over one axis at a time"
            )
        op = QReduceMean(
            axes=tuple(sorted(self.axes)), keepdims=self.keepdims, input_zero=x.zero_point, requant=requant
        )
        return Quantized(op=op, inputs=(0,))


def _reduced(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    return tuple(extent for axis, extent in enumerate(shape) if axis not in axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class QReduceMean(LoweredOp):
    """requant(sum of q - input_zero)."""

    axes: tuple[int, ...]
    keepdims: bool
    input_zero: int
    requant: Requant

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact sum, one rounding."""
        x = inputs[0] - self.input_zero
        return (self.requant.apply(x.sum(axis=tuple(axis + 1 for axis in self.axes), keepdims=self.keepdims)),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout, as long as the rank stays: the axes move along."""
        if not self.keepdims:
            return None
        return replace(self, axes=tuple(sorted(order.index(axis) for axis in self.axes)))

    def lower(self, c: Lowering) -> Kernel:
        """Template reducemean.c.j2."""
        shape = c.inputs[0].type.shape
        steps = strides(shape)
        kept = [axis for axis in range(len(shape)) if axis not in self.axes]
        count = prod(shape[axis] for axis in self.axes)
        view = ReduceMeanView(
            kept=_loops(shape, steps, kept),
            reduced=_loops(shape, steps, self.axes),
            start=-count * self.input_zero,
            requant=requant_view(self.requant, ""),
        )
        return Kernel(template="reducemean", inputs=c.inputs, outputs=c.outputs, view=view)


def _loops(shape: Shape, steps: tuple[int, ...], axes: list[int] | tuple[int, ...]) -> tuple[CopyLoop, ...]:
    return merged_loops([CopyLoop(before=0, count=shape[axis], after=0, step=steps[axis]) for axis in axes])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceMeanView:
    """Values of codegen_templates/ops/reducemean.c.j2. Sums begin at `start`: the zero point, once for all."""

    kept: tuple[CopyLoop, ...]
    reduced: tuple[CopyLoop, ...]
    start: int
    requant: CRequant
