"""Concatenation: inputs of the output's own number format are copied, others are requantized on the way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from freeml.errors import GraphError
from freeml.fixedpoint.rounding import round_half_up
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, QDType, QType, Shape, TensorType
from freeml.ops.base import (
    CRequant,
    FloatOp,
    Kernel,
    LoweredOp,
    Lowering,
    QConstant,
    Quantized,
    Quantizing,
    requant_view,
)
from freeml.ops.copying import Rescale, make_rescale


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(FloatOp):
    """y = the inputs one after the other along `axis`."""

    axis: int

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The extents along the axis add up; the others must agree."""
        first = inputs[0].shape
        if not 0 <= self.axis < len(first):
            raise GraphError(f"Concat expected an axis of 0..{len(first) - 1}, found {self.axis}")
        rests = {(*t.shape[: self.axis], *t.shape[self.axis + 1 :]) for t in inputs}
        if len(rests) != 1 or any(len(t.shape) != len(first) for t in inputs):
            raise GraphError(
                f"Concat expected shapes that differ along axis {self.axis} only, found {[t.shape for t in inputs]}"
            )
        total = sum(t.shape[self.axis] for t in inputs)
        return (TensorType(shape=(*first[: self.axis], total, *first[self.axis + 1 :]), dtype=inputs[0].dtype),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        samples = max(x.shape[0] for x in inputs)
        parts = tuple(np.broadcast_to(x, (samples, *x.shape[1:])) for x in inputs)
        return (np.concatenate(parts, axis=self.axis + 1),)

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """That of the inputs where they all share one; else calibration chooses."""
        first = inputs[0]
        formats = {t.with_shape(shape) if t is not None else None for t in inputs}
        return first.with_shape(shape) if first is not None and first.dtype == dtype and len(formats) == 1 else None

    def quantize(self, q: Quantizing) -> Quantized:
        """A rescaling for every input that has another format; constants are put in the output's."""
        y = q.outputs[0]
        sources: list[int | QConstant] = []
        rescales: list[Rescale | None] = []
        for index, format_ in enumerate(q.inputs):
            if format_ is None:
                values = q.constant(index)
                integers = np.clip(round_half_up(values / y.scale) + y.zero_point, y.qmin, y.qmax)
                sources.append(QConstant(values=integers, type=y.with_shape(values.shape)))
                rescales.append(None)
            else:
                sources.append(index)
                rescales.append(make_rescale(q.node, format_, y))
        return Quantized(op=QConcat(axis=self.axis, rescales=tuple(rescales)), inputs=tuple(sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class QConcat(LoweredOp):
    """The inputs one after the other; `rescales` has one entry per input, None for a plain copy."""

    axis: int
    rescales: tuple[Rescale | None, ...]

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """At most one rounding per number."""
        samples = max(x.shape[0] for x in inputs)
        parts = (x if r is None else r.apply(x) for x, r in zip(inputs, self.rescales, strict=True))
        return (np.concatenate([np.broadcast_to(x, (samples, *x.shape[1:])) for x in parts], axis=self.axis + 1),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout: the axis moves along."""
        return replace(self, axis=order.index(self.axis))

    def lower(self, c: Lowering) -> Kernel:
        """Template concat.c.j2."""
        parts = []
        for operand, rescale in zip(c.inputs, self.rescales, strict=True):
            part = ConcatPart(
                expr=operand.expr,
                ctype=operand.ctype,
                run=prod(operand.type.shape[self.axis :]),
                input_zero=rescale.zero_point if rescale else 0,
                requant=requant_view(rescale.requant, "") if rescale else None,
            )
            parts.append(part)
        view = ConcatView(outer=prod(c.outputs[0].type.shape[: self.axis]), parts=tuple(parts))
        return Kernel(template="concat", inputs=c.inputs, outputs=c.outputs, view=view)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcatPart:
    """One input: `run` elements of it follow each other in the output."""

    expr: str
    ctype: str
    run: int
    input_zero: int
    requant: CRequant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcatView:
    """Values of codegen_templates/ops/concat.c.j2."""

    outer: int
    parts: tuple[ConcatPart, ...]
