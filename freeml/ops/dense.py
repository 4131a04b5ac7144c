"""Dense layer over the last axis (Gemm, MatMul with a constant)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freeml.errors import GraphError
from freeml.fixedpoint.rounding import Requant
from freeml.ir.graph import Brought
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import (
    NO_CLAMP,
    Clamp,
    CRequant,
    FloatOp,
    Kernel,
    LoweredOp,
    Lowering,
    Quantized,
    Quantizing,
    requant_tables,
    requant_view,
    weight_scratch,
)
from freeml.ops.conv import dot_name
from freeml.ops.linear import linear_matmul, quantize_linear
from freeml.ops.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(FloatOp):
    """y = clamp(x @ w + b): x (..., K), w (K, M), b (M,) optional."""

    clamp: Clamp = NO_CLAMP

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """(..., M)."""
        x, w = inputs[0].shape, inputs[1].shape
        if len(w) != 2 or not x or x[-1] != w[0]:
            raise GraphError(f"Dense expected weights of shape ({x[-1] if x else '?'}, outputs), found {w}")
        if len(inputs) > 2 and inputs[2].shape != (w[1],):
            raise GraphError(f"Dense expected a bias of shape ({w[1]},), found {inputs[2].shape}")
        return (TensorType(shape=(*x[:-1], w[1])),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float matrix product."""
        y = inputs[0] @ inputs[1][0]
        if len(inputs) > 2:
            y = y + inputs[2][0]
        return (np.clip(y, *self.clamp) if self.clamp != NO_CLAMP else y,)

    def macs(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int:
        """One per output element and input."""
        return outputs[0].size * inputs[1].shape[0]

    def quantize(self, q: Quantizing) -> Quantized:
        """Integer weights as (M, K): one contiguous row per output."""
        w = q.constant(1).T
        bias = q.constant(2) if len(q.inputs) > 2 else np.zeros(w.shape[0])
        if q.brought[1] is not None:
            q = replace(q, brought=(q.brought[0], transposed(q.brought[1]), *q.brought[2:]))
        linear = quantize_linear(q, w, bias, self.clamp)
        op = QDense(requant=linear.requant, wide=linear.wide)
        return Quantized(
            op=op, inputs=(0, linear.weight_constant(linear.weights, q.weight_bits), linear.bias_constant())
        )


def transposed(brought: Brought) -> Brought:
    """The format of weights (K, M), for the same weights as (M, K)."""
    return brought if brought.axis is None else replace(brought, axis=1 - brought.axis)


@dataclass(frozen=True, slots=True, kw_only=True)
class QDense(LoweredOp):
    """Integer dense layer. Inputs: x (..., K), weights (M, K), bias (M,). `packed` says how the weights lie in flash
    where not as they are."""

    requant: Requant
    wide: bool
    packed: Storage | None = None

    def weight_rows(self, shape: tuple[int, ...]) -> int:
        """How many dot products of weights of this shape there are."""
        return shape[0]

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact product, requantize."""
        return (self.requant.apply(linear_matmul(inputs[0], inputs[1][0].T) + inputs[2][0]),)

    def lower(self, c: Lowering) -> Kernel:
        """One dot product per output."""
        x, w, y = c.inputs[0], c.inputs[1], c.outputs[0]
        view = DenseView(
            rows=y.type.size // y.type.shape[-1],
            depth=x.type.shape[-1],
            out_channels=y.type.shape[-1],
            dot=dot_name(x.ctype, w.ctype, self.wide),
            wide=self.wide,
            requant=requant_view(self.requant, c.table("multipliers")),
        )
        return Kernel(
            template="dense", inputs=c.inputs, outputs=c.outputs, view=view,
            tables=requant_tables(self.requant), scratch=weight_scratch(w, view.depth),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseView:
    """Values of codegen_templates/ops/dense.c.j2."""

    rows: int
    depth: int
    out_channels: int
    dot: str
    wide: bool
    requant: CRequant
