"""PRelu and LeakyRelu: a straight line on each side of zero, each with its own multiplier and one rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from freeml.errors import GraphError, QuantizationError
from freeml.fixedpoint.rounding import Requant, make_requant
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, Shape, TensorType
from freeml.ops.base import (
    ChannelLoop,
    CRequant,
    FloatOp,
    Kernel,
    LoweredOp,
    Lowering,
    Quantized,
    Quantizing,
    requant_tables,
    requant_view,
)
from freeml.ops.binary import align


def channel_slopes(node: str, slopes: FloatArray, shape: Shape) -> FloatArray:
    """The slope of every channel (axis 1), or one slope for all: (C,) or (1,) float64.

    Raises QuantizationError for slopes that vary along any other axis.
    """
    padded = (1,) * (len(shape) - slopes.ndim) + slopes.shape
    if any(n != 1 for axis, n in enumerate(padded) if axis != 1):
        raise QuantizationError(
            f"node {node}: expected one slope, or one per channel (axis 1 of {shape}), found slopes of shape "
            f"{slopes.shape}; share the slopes over the other axes"
        )
    flat = slopes.reshape(-1)
    return flat[:1] if bool((flat == flat[0]).all()) else flat


def signed_requant(
    factors: FloatArray, accumulator_bound: int, zero_point: int, limits: tuple[int, int]
) -> Requant | None:
    """Requantization by factors of any sign, zero included; results are clamped to `limits`.

    The magnitudes are brought to fixed point, then the multipliers get their signs: the product of an accumulator and a
    multiplier is rounded half up whatever their signs.
    """
    magnitudes = np.abs(factors)
    if not magnitudes.any():
        return Requant(multipliers=(0,), pre_shift=0, shift=1, zero_point=zero_point, low=limits[0], high=limits[1])
    requant = make_requant(
        magnitudes, accumulator_bound=accumulator_bound, zero_point=zero_point, low=limits[0], high=limits[1]
    )
    if requant is None:
        return None
    signed = (m if factor >= 0 else -m for m, factor in zip(requant.multipliers, factors, strict=True))
    return replace(requant, multipliers=tuple(signed))


@dataclass(frozen=True, slots=True, kw_only=True)
class PRelu(FloatOp):
    """y = x where x >= 0, else slope * x. Inputs: x, slope (broadcastable to x)."""

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The type of x."""
        x, slope = inputs[0].shape, inputs[1].shape
        if len(slope) > len(x) or any(s not in (1, n) for s, n in zip(slope[::-1], x[::-1], strict=False)):
            raise GraphError(f"PRelu expected a slope that broadcasts to {x}, found {slope}")
        return (inputs[0],)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        x, slope = align(inputs)
        return (np.where(x >= 0, x, slope * x).astype(x.dtype),)

    def quantize(self, q: Quantizing) -> Quantized:
        """One multiplier above zero; one, or one per channel, below."""
        x, y = q.input(0), q.outputs[0]
        slopes = channel_slopes(q.node, q.constant(1), x.shape)
        bound = max(x.qmax - x.zero_point, x.zero_point - x.qmin)
        positive = signed_requant(np.array([x.scale / y.scale]), bound, y.zero_point, (y.qmin, y.qmax))
        negative = signed_requant(slopes * x.scale / y.scale, bound, y.zero_point, (y.qmin, y.qmax))
        if positive is None or negative is None:
            raise QuantizationError(
                f"node {q.node}: expected an output range like the input's, found scales {x.scale:.3g} and "
                f"{y.scale:.3g} with slopes up to {float(np.abs(slopes).max()):.3g}; check the calibration data"
            )
        return Quantized(op=QPRelu(zero_point=x.zero_point, positive=positive, negative=negative), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QPRelu(LoweredOp):
    """requant(q - z) with the multiplier of its side of zero; `channel_axis` is the axis of per-channel multipliers."""

    zero_point: int
    positive: Requant
    negative: Requant
    channel_axis: int = 1

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """One rounding."""
        x = inputs[0] - self.zero_point
        if len(self.negative.multipliers) == 1:
            return (np.where(x >= 0, self.positive.apply(x), self.negative.apply(x)),)
        below = np.moveaxis(self.negative.apply(np.moveaxis(x, self.channel_axis + 1, -1)), -1, self.channel_axis + 1)
        return (np.where(x >= 0, self.positive.apply(x), below),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Elementwise: any layout; the channel axis moves along."""
        if len(self.negative.multipliers) == 1:
            return self
        return replace(self, channel_axis=order.index(self.channel_axis))

    def lower(self, c: Lowering) -> Kernel:
        """Template prelu.c.j2."""
        shape, axis = c.inputs[0].type.shape, self.channel_axis
        per_channel = len(self.negative.multipliers) > 1
        loop = ChannelLoop(outer=prod(shape[:axis]), channels=shape[axis], inner=prod(shape[axis + 1 :]))
        view = PReluView(
            zero_point=self.zero_point,
            positive=requant_view(self.positive, ""),
            negative=requant_view(self.negative, c.table("multipliers")),
        )
        return Kernel(
            template="prelu", inputs=c.inputs, outputs=c.outputs, view=view, tables=requant_tables(self.negative),
            elementwise=True, channels=loop if per_channel else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PReluView:
    """Values of codegen_templates/ops/prelu.c.j2."""

    zero_point: int
    positive: CRequant
    negative: CRequant
