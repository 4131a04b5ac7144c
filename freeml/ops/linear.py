"""What convolution and dense layers share: weights to integers, the zero point folded away, the overflow proof.

A real layer y = sum(w * x) + b becomes, with x = s_x (q_x - z_x) and w = s_w q_w per output channel,

    acc = sum(q_w * q_x) + B,   B = round(b / (s_x s_w)) - z_x * sum(q_w)
    q_y = clamp(round(acc * s_x s_w / s_y) + z_y)

Padding feeds q_x = z_x, so the same B serves the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, inf

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import INT32_MAX, Requant, make_requant, round_half_up
from freeml.ir.graph import Brought
from freeml.ir.types import FloatArray, IntArray, QDType, QType
from freeml.ops.base import Clamp, QConstant, Quantizing, clamp_bounds

MOST_SHIFTED = 20
"""Bits that a bias gives up for accumulators shifted up, at most: more are refused for other reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearWeights:
    """Integer weights (output channel first), biases, and how the accumulator becomes an output number.

    `wide` layers accumulate in 64 bits, because some input could overflow 32.
    """

    weights: IntArray
    bias: IntArray
    requant: Requant
    wide: bool
    weight_scale: float

    def weight_constant(self, values: IntArray, bits: int) -> QConstant:
        """The weights, laid out as `values`, as a graph constant."""
        dtype: QDType = "int8" if bits == 8 else "int16"
        return QConstant(
            values=values, type=QType(shape=values.shape, dtype=dtype, scale=self.weight_scale, zero_point=0)
        )

    def bias_constant(self) -> QConstant:
        """The biases as a graph constant."""
        return QConstant(values=self.bias, type=QType(shape=self.bias.shape, dtype="int32", scale=1.0, zero_point=0))


def weight_scales(
    weights: FloatArray, bias: FloatArray, input_scale: float, output_scale: float, limit: int
) -> FloatArray:
    """Symmetric scale per output channel (axis 0), large enough that the bias fits the accumulator: 30 bits of it, or
    fewer where the channel of the largest factor has all accumulators shifted up before they are multiplied."""
    largest = np.abs(weights.reshape(weights.shape[0], -1)).max(axis=1, initial=0.0)
    factor = float(largest.max(initial=0.0)) / limit * input_scale / output_scale
    shifted = max(0, frexp(factor)[1] + 2) if 0 < factor < inf else 0  # as `make_requant` will, where that is possible
    shifted = min(shifted, MOST_SHIFTED)
    scales = np.maximum(largest / limit, np.abs(bias) / (input_scale * 2.0 ** (29 - shifted)))
    # float32 numbers, rounded up so that no weight is clipped: what an ONNX file can hold
    nearest = np.nextafter(np.where(scales > 0, scales, 1.0).astype(np.float32), np.float32(np.inf))
    exact: FloatArray = nearest.astype(np.float64)
    return exact


def why_not_kept(brought: Brought, weight_bits: int) -> str | None:
    """Why weights (output channel first) cannot have the format that the model brings; None when they have it."""
    if brought.bits > weight_bits:
        return f"weights have {weight_bits} bits (--weights), it has {brought.bits}"
    if brought.axis not in (None, 0):
        return "weights have one scale, or one per output channel, and it has them along another axis"
    if brought.zero_point.any():
        return "weights are symmetric, and its zero point is not the middle"
    return None


def quantize_linear(q: Quantizing, weights: FloatArray, bias: FloatArray, clamp: Clamp) -> LinearWeights:
    """Integer form of a layer with weights (O, ...) and biases (O,), both float64.

    Raises QuantizationError when no accumulator width can be proved safe.
    """
    x, y = q.input(0), q.outputs[0]
    limit = 127 if q.weight_bits == 8 else 32767
    brought = q.brought[1]
    if brought is not None and why_not_kept(brought, q.weight_bits) is None:
        scales = np.broadcast_to(np.asarray(brought.scale, dtype=np.float64), (weights.shape[0],))
    else:
        scales = weight_scales(weights, bias, x.scale, y.scale, limit)
    if not np.isfinite(scales).all():
        raise QuantizationError(
            f"node {q.node}: expected biases within reach of the weights' scale, found one of {np.abs(bias).max():.3g} "
            f"for inputs in steps of {x.scale:.3g}; rescale the layer"
        )
    expand = (slice(None),) + (np.newaxis,) * (weights.ndim - 1)
    q_weights = np.clip(round_half_up(weights / scales[expand]), -limit - (brought is not None), limit)
    flat = q_weights.reshape(q_weights.shape[0], -1)
    q_bias = round_half_up(bias / (x.scale * scales)) - x.zero_point * flat.sum(axis=1)
    return _prove(q, q_weights, q_bias, x.scale * scales / y.scale, clamp, float(scales.max()))


def _prove(
    q: Quantizing, weights: IntArray, bias: IntArray, factors: FloatArray, clamp: Clamp, weight_scale: float
) -> LinearWeights:
    """The static proof: no input of the input's type can overflow the accumulator, whatever the order of the sum."""
    x, y = q.input(0), q.outputs[0]
    largest_input = max(-x.qmin, x.qmax)
    reach = np.abs(weights.reshape(weights.shape[0], -1)).sum(axis=1) * largest_input + np.abs(bias)
    bound = int(reach.max())
    low, high = clamp_bounds(clamp, y)
    if int(np.abs(bias).max(initial=0)) > INT32_MAX:
        raise QuantizationError(
            f"node {q.node}: expected every bias to fit 32 bits, found {int(np.abs(bias).max())} in accumulator units; "
            "its weights are tiny beside its bias: try --precision int8 or rescale the layer"
        )
    for wide in (False, True):
        if bound > INT32_MAX and not wide:
            continue
        requant = make_requant(factors, accumulator_bound=bound, zero_point=y.zero_point, low=low, high=high, wide=wide)
        if requant is not None:
            return LinearWeights(weights=weights, bias=bias, requant=requant, wide=wide, weight_scale=weight_scale)
    raise QuantizationError(
        f"node {q.node}: expected an output scale that an accumulator of magnitude {bound} can be brought to, "
        f"found factor {float(factors.max()):.3g}; the calibrated output range is far too narrow: "
        "check the calibration data"
    )


def linear_matmul(patches: IntArray, weights: IntArray) -> IntArray:
    """Exact integer product (..., K) x (K, O) by the narrowest float BLAS that holds every partial sum."""
    reach = int(np.abs(patches).max(initial=0)) * int(np.abs(weights).sum(axis=0).max(initial=0))
    assert reach < 2**53, "a product this large is not exact in float64"
    dtype = np.float32 if reach < 2**24 else np.float64
    product: IntArray = (patches.astype(dtype) @ weights.astype(dtype)).astype(np.int64)
    return product
