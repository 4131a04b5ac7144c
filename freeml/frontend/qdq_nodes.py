"""The float operators that say in ONNX what each integer operator computes, before its result is rounded.

`float_form(op, site)` appends them and returns the tensor to be quantized. Per-channel scales are read off the
fixed-point multipliers, so the file describes the arithmetic of the board and not the floats it was made from.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from freeml.errors import GraphError
from freeml.fixedpoint.rounding import INT32_MAX, Requant, round_half_up
from freeml.frontend.qdq_copies import copied
from freeml.frontend.qdq_writer import Site
from freeml.ir.graph import QOp
from freeml.ir.types import Array, FloatArray, QType, Shape
from freeml.ops.argmax import QArgMax
from freeml.ops.averagepool import QAveragePool
from freeml.ops.binary import QSum
from freeml.ops.clip import QClip
from freeml.ops.concat import QConcat
from freeml.ops.conv import QConv
from freeml.ops.copying import QCopy
from freeml.ops.dense import QDense
from freeml.ops.hardsigmoid import HardSigmoid, QHardSigmoid
from freeml.ops.hardswish import HardSwish, QHardSwish
from freeml.ops.logsoftmax import QLogSoftmax
from freeml.ops.lut import Pointwise, QInterpolated, QTable
from freeml.ops.maxpool import QMaxPool
from freeml.ops.mul import QMul
from freeml.ops.pool import window_counts
from freeml.ops.prelu import QPRelu
from freeml.ops.reducemean import QReduceMean
from freeml.ops.reshape import QReshape
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.softmax import QSoftmax
from freeml.ops.tanh import Tanh
from freeml.ops.transpose import QTranspose
from freeml.ops.windows import Window

# torch's and ONNX's own slopes of HardSigmoid; others are fitted
COMMON_SLOPES = (1.0 / 6.0, 0.2)


@singledispatch
def float_form(op: QOp, at: Site) -> str:
    """Append the float form of `op`, clamps included; returns its output tensor, not yet rounded."""
    raise GraphError(f"node {at.label}: expected an operator that ONNX can express, found {op.kind}")


def factors(requant: Requant) -> FloatArray:
    """The real numbers that the multipliers stand for, float64."""
    return np.array(requant.multipliers, dtype=np.float64) * 2.0 ** (requant.pre_shift - 32 - requant.shift)


def limited(at: Site, real: str, requant: Requant) -> str:
    """The clamp of a requantization."""
    return at.clamp(real, requant.low, requant.high)


# --- layers with weights ----------------------------------------------------------------------------------------------


def weights_and_bias(at: Site, weights: Array, requant: Requant) -> tuple[str, str]:
    """Weights (output channel first) with a scale per output channel, and the biases without the folded zero point."""
    x, bias = at.x(0), at.numbers(2)
    found = factors(requant)
    smallest = 2.0 ** (requant.pre_shift - 32 - requant.shift)  # a factor that vanished counts as the smallest there is
    scales = np.broadcast_to(np.maximum(found, smallest) * at.y.scale / x.scale, bias.shape).astype(np.float32)
    true_bias = bias + x.zero_point * weights.reshape(len(weights), -1).sum(axis=1)
    weight_name = at.writer.dequantized(f"{at.label}.weight", weights, at.x(1).dtype, scales, axis=0)
    bias_scales = np.float32(x.scale) * scales
    if int(np.abs(true_bias).max(initial=0)) > INT32_MAX:  # the folded bias fits 32 bits, this one need not
        return weight_name, at.constant("bias", (true_bias * bias_scales).astype(np.float32))
    return weight_name, at.writer.dequantized(f"{at.label}.bias", true_bias, "int32", bias_scales, axis=0)


@float_form.register
def _(op: QConv, at: Site) -> str:
    stored = at.numbers(1)
    weights = np.moveaxis(stored, -1, 0)[:, np.newaxis] if op.depthwise else np.moveaxis(stored, -1, 1)
    window, x = op.window, at.real(0)
    flat = len(window.kernel) == 0  # ONNX convolutions have at least one spatial axis
    if flat:
        weights = weights[..., np.newaxis]
        window = Window(kernel=(1,), strides=(1,), dilations=(1,), pads=((0, 0),))
        x = at.emit("Unsqueeze", x, at.ints("spatial", 2))
    weight, bias = weights_and_bias(at, weights, op.requant)
    y = at.emit(
        "Conv", x, weight, bias, kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations,
        pads=onnx_pads(window.pads), group=op.group,
    )  # fmt: skip
    y = limited(at, y, op.requant)
    return at.emit("Squeeze", at.rounded(y), at.ints("spatial", 2)) if flat else y


@float_form.register
def _(op: QDense, at: Site) -> str:
    weights = at.numbers(1)
    weight, bias = weights_and_bias(at, weights, op.requant)
    matrix = len(at.x(0).shape) == 2
    rows = at.real(0) if matrix else at.emit("Reshape", at.real(0), at.ints("rows", -1, weights.shape[1]))
    y = limited(at, at.emit("Gemm", rows, weight, bias, transB=1), op.requant)
    return y if matrix else reshaped(at, at.rounded(y), at.y.shape)


# --- windows ----------------------------------------------------------------------------------------------------------


def onnx_pads(pads: tuple[tuple[int, int], ...]) -> list[int]:
    """Pads in ONNX's order: all starts, then all ends."""
    return [before for before, _ in pads] + [after for _, after in pads]


def without_ceil(window: Window, extents: Shape) -> tuple[tuple[int, int], ...]:
    """Pads that give the same windows when output extents are rounded down."""
    return tuple(
        (before, max(after, (count - 1) * stride + reach - extent - before))
        for (before, after), count, stride, reach, extent in zip(
            window.pads, window.out_extents(extents), window.strides, window.reach, extents, strict=True
        )
    )


def padded(at: Site, window: Window, value: float) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Input and pads of a pool. Pads as long as the kernel, which onnxruntime refuses in pools, become a Pad."""
    pads = without_ceil(window, at.x(0).shape[2:])
    if all(max(pair) < kernel for pair, kernel in zip(pads, window.kernel, strict=True)):
        return at.real(0), pads
    amounts = at.ints("border", *onnx_pads(((0, 0), (0, 0), *pads)))
    return at.emit("Pad", at.real(0), amounts, at.number("fill", value)), ((0, 0),) * len(pads)


@float_form.register
def _(op: QMaxPool, at: Site) -> str:
    window, x = op.window, at.x(0)
    real, pads = padded(at, window, (op.lowest - x.zero_point) * x.scale)
    return at.emit(
        "MaxPool", real, kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations,
        pads=onnx_pads(pads),
    )  # fmt: skip


@float_form.register
def _(op: QAveragePool, at: Site) -> str:
    window, extents = op.window, at.x(0).shape[2:]
    counts = window_counts(window, extents, op.include_pad)
    real, pads = padded(at, window, 0.0)
    full = Window(kernel=window.kernel, strides=window.strides, dilations=window.dilations, pads=pads)
    whole = bool((counts == window.size).all())
    inside = real == at.real(0) and counts.min() > 0 and np.array_equal(counts, window_counts(full, extents, False))
    y = at.emit(
        "AveragePool", real, kernel_shape=window.kernel, strides=window.strides, dilations=window.dilations,
        pads=onnx_pads(pads), count_include_pad=int(whole or not inside),
    )  # fmt: skip
    if not whole and not inside:
        # some windows count neither all their positions nor just those inside: bring the divisor to what it should be
        correction = window.size / np.maximum(counts, 1)
        y = at.emit("Mul", y, at.constant("correction", correction.astype(np.float32)))
    return limited(at, y, op.requant)


# --- one number at a time ---------------------------------------------------------------------------------------------


@float_form.register
def _(op: QSum, at: Site) -> str:
    return limited(at, at.emit("Sub" if op.factors[1] < 0 else "Add", at.real(0), at.real(1)), op.requant)


@float_form.register
def _(op: QMul, at: Site) -> str:
    return limited(at, at.emit("Mul", at.real(0), at.real(1)), op.requant)


@float_form.register
def _(op: QClip, at: Site) -> str:
    return at.clamp(at.real(0), op.low, op.high)


@float_form.register
def _(op: QPRelu, at: Site) -> str:
    slopes = factors(op.negative) * at.y.scale / at.x(0).scale
    if len(slopes) == 1:
        return at.emit("LeakyRelu", at.real(0), alpha=float(slopes[0]))
    behind = (1,) * (len(at.y.shape) - op.channel_axis - 1)
    return at.emit("PRelu", at.real(0), at.constant("slope", slopes.reshape(-1, *behind).astype(np.float32)))


@float_form.register(QTable)
@float_form.register(QInterpolated)
def _(op: QTable | QInterpolated, at: Site) -> str:
    """The function itself where the table is one of a known function, else the table."""
    x, y = at.x(0), at.y
    table = op.run((np.arange(x.qmin, x.qmax + 1)[np.newaxis],))[0][0]
    function = known_function(table, x, y)
    if isinstance(function, HardSigmoid):
        return at.emit("HardSigmoid", at.real(0), alpha=function.alpha, beta=function.beta)
    if function is not None:
        return at.emit(function.kind, at.real(0))
    # rolled so that the integers themselves are the indices: Gather counts negative ones from the end
    values = at.writer.dequantized(
        f"{at.label}.table", np.roll(table, x.qmin), y.dtype, y.scale, zero_point=y.zero_point
    )
    return at.emit("Gather", values, at.emit("Cast", at.integers(0), to=_INT32))


_INT32 = 6  # onnx.TensorProto.INT32


def known_function(table: Array, x: QType, y: QType) -> Pointwise | None:
    """The function whose values at every integer of x the table holds, to within one unit of y; None if unknown."""
    real = (np.arange(x.qmin, x.qmax + 1) - x.zero_point) * x.scale

    def error(function: Pointwise) -> Array:
        exact = round_half_up(function.function(real) / y.scale + y.zero_point)
        return np.asarray(np.abs(np.clip(exact, y.qmin, y.qmax) - table))

    candidates: list[Pointwise] = [Sigmoid(), Tanh(), HardSwish(), *(HardSigmoid(alpha=a) for a in COMMON_SLOPES)]
    slope = (table - y.zero_point) * y.scale
    rising = (slope > 2 * y.scale) & (slope < 1 - 2 * y.scale)
    if np.count_nonzero(rising) > 1:
        alpha, beta = np.polyfit(real[rising], slope[rising], 1)
        candidates.append(HardSigmoid(alpha=float(alpha), beta=float(beta)))
    fitting = [f for f in candidates if int(error(f).max()) <= 1]
    return min(fitting, key=lambda f: int(error(f).sum()), default=None)


@float_form.register
def _(op: QHardSigmoid, at: Site) -> str:
    slope = float(factors(op.line)[0]) * at.y.scale  # of the shifted input, whose unit is 2**extra_bits times finer
    return at.emit("HardSigmoid", at.real(0), alpha=slope * 2.0**op.extra_bits / at.x(0).scale, beta=slope * op.offset)


@float_form.register
def _(op: QHardSwish, at: Site) -> str:
    return at.emit("HardSwish", at.real(0))


# --- along an axis ----------------------------------------------------------------------------------------------------


@float_form.register
def _(op: QSoftmax, at: Site) -> str:
    return at.emit("Softmax", at.real(0), axis=op.axis)


@float_form.register
def _(op: QLogSoftmax, at: Site) -> str:
    return at.emit("LogSoftmax", at.real(0), axis=op.axis)


@float_form.register
def _(op: QArgMax, at: Site) -> str:
    last = int(op.select_last_index)
    return at.emit("ArgMax", at.real(0), axis=op.axis, keepdims=int(op.keepdims), select_last_index=last)


@float_form.register
def _(op: QReduceMean, at: Site) -> str:
    return at.emit("ReduceMean", at.real(0), at.ints("axes", *op.axes), keepdims=int(op.keepdims))


@float_form.register
def _(op: QConcat, at: Site) -> str:
    return at.emit("Concat", *(at.real(i) for i in range(len(at.stage.inputs))), axis=op.axis)


# --- the same numbers elsewhere ---------------------------------------------------------------------------------------


def reshaped(at: Site, real: str, shape: Shape) -> str:
    """Another shape; the batch, where there is one, keeps its extent."""
    return at.emit("Reshape", real, at.ints("shape", *((-1, *shape[1:]) if at.batched else shape)))


@float_form.register
def _(op: QReshape, at: Site) -> str:
    return reshaped(at, at.real(0), op.shape)


@float_form.register
def _(op: QTranspose, at: Site) -> str:
    return at.emit("Transpose", at.real(0), perm=op.perm)


@float_form.register
def _(op: QCopy, at: Site) -> str:
    return copied(op, at)
