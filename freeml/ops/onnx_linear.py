"""Importers of the layers with weights: Conv, Gemm, MatMul, BatchNormalization."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from freeml.ir.graph import Brought
from freeml.ir.types import Array
from freeml.ops.add import Add
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported
from freeml.ops.mul import Mul
from freeml.ops.onnx_values import positive_ints, real, settled_steps, window_pads
from freeml.ops.reshape import Reshape
from freeml.ops.transpose import Transpose


def import_conv(node: SourceNode, builder: Builder) -> None:
    """Conv: x (N, C, *spatial), w (O, C/group, *kernel), b (O,) optional."""
    x, w = builder.type(node.inputs[0]).shape, builder.constant_input(node, 1, "weights").shape
    if len(x) < 3 or len(w) != len(x):
        raise Unsupported(f"expected maps of rank 3 or 4 and weights of the same rank, found shapes {x} and {w}")
    kernel = w[2:]
    if node.ints("kernel_shape", kernel) != kernel:
        raise Unsupported(f"attribute kernel_shape is {node.ints('kernel_shape')}, but the weights have shape {w}")
    if 0 in w:
        raise Unsupported(f"the weights are empty: their shape is {w}")
    ones = (1,) * len(kernel)
    strides = positive_ints(node, "strides", ones)
    dilations = positive_ints(node, "dilations", ones)
    (group,) = positive_ints(node, "group", (1,))
    pads = window_pads(node, x, kernel, strides, dilations)
    strides, dilations = settled_steps(x, kernel, strides, dilations, pads)
    inputs = [node.inputs[0], node.inputs[1]]
    if node.has(2):
        bias = builder.constant_input(node, 2, "bias")
        if bias.shape != (w[0],):
            raise Unsupported(f"expected a bias of shape ({w[0]},), found {bias.shape}")
        inputs.append(node.inputs[2])
    op = Conv(strides=strides, dilations=dilations, pads=pads, group=group)
    builder.emit(op, tuple(inputs), node.outputs[:1], node)


def import_matmul(node: SourceNode, builder: Builder) -> None:
    """MatMul with one constant side: Dense, wrapped in transposes where the constant stands on the left."""
    left, right = node.inputs[:2]
    if builder.value(right) is not None:
        _times_constant(node, builder, left, right)
    elif builder.value(left) is not None:
        _constant_times(node, builder, left, right)
    else:
        raise Unsupported("both factors are computed at run time; one of them must be a constant of the model")


def _times_constant(node: SourceNode, builder: Builder, x: str, w: str) -> None:
    weights, shape = _matrix(real(builder, w)), builder.type(x).shape
    if not shape:
        raise Unsupported("the left factor is a scalar")
    out = node.outputs[0]
    if weights.ndim == 2:
        name = w if weights.shape == builder.type(w).shape else derived(builder, out, weights, w, drop_leading=True)
        builder.emit(Dense(), (x, name), (out,), node)
        return
    if weights.shape != shape[-1:]:
        raise Unsupported(f"the factors have shapes {shape} and {weights.shape}, which do not fit")
    column = builder.add_constant(f"{out}.weights", weights[:, np.newaxis])
    wide = builder.fresh(f"{out}.column")
    builder.emit(Dense(), (x, column), (wide,), node)
    builder.emit(Reshape(shape=shape[:-1]), (wide,), (out,), node)


def _constant_times(node: SourceNode, builder: Builder, w: str, x: str) -> None:
    """W @ x = (x^T @ W^T)^T over the last two axes."""
    weights, shape, out = _matrix(real(builder, w)), builder.type(x).shape, node.outputs[0]
    if not shape:
        raise Unsupported("the right factor is a scalar")
    vector_x, vector_w = len(shape) == 1, weights.ndim == 1
    rows = weights[np.newaxis] if vector_w else weights
    if rows.shape[1] != shape[-1 if vector_x else -2]:
        raise Unsupported(f"the factors have shapes {weights.shape} and {shape}, which do not fit")
    constant = derived(builder, out, rows.T, w, swap=not vector_w)
    turned = x if vector_x else _swapped(node, builder, x, f"{out}.turned")
    if vector_x and not vector_w:
        builder.emit(Dense(), (turned, constant), (out,), node)
        return
    product = builder.fresh(f"{out}.product")
    builder.emit(Dense(), (turned, constant), (product,), node)
    if vector_w:
        builder.emit(Reshape(shape=(*shape[:-2], *shape[-1:]) if not vector_x else ()), (product,), (out,), node)
    else:
        builder.emit(Transpose(perm=_last_two(len(shape))), (product,), (out,), node)


def _matrix(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Drop leading axes of extent 1, as long as the rank exceeds 2."""
    while weights.ndim > 2:
        if weights.shape[0] != 1:
            raise Unsupported(f"a stack of matrices of shape {weights.shape} is not supported, only a single matrix is")
        weights = weights[0]
    if weights.ndim == 0 or weights.size == 0:
        raise Unsupported(f"expected a constant matrix or vector, found shape {weights.shape}")
    return weights


def _last_two(rank: int) -> tuple[int, ...]:
    return (*range(rank - 2), rank - 1, rank - 2)


def _swapped(node: SourceNode, builder: Builder, value: str, base: str) -> str:
    name = builder.fresh(base)
    builder.emit(Transpose(perm=_last_two(len(builder.type(value).shape))), (value,), (name,), node)
    return name


def derived(
    builder: Builder,
    out: str,
    weights: Array,
    of: str,
    *,
    swap: bool = False,
    drop_leading: bool = False,
    gain: float = 1.0,
) -> str:
    """A constant matrix made from the constant `of`; the number format the model brings for `of` goes along.

    `swap`: the last two axes were exchanged; `drop_leading`: only they were kept; `gain`: what it was multiplied by.
    """
    name = builder.add_constant(f"{out}.weights", weights)
    brought = builder.brought.get(builder.resolve(of))
    if brought is not None and gain > 0:
        axis, rank = brought.axis, len(builder.type(of).shape)
        if axis is not None:
            axis -= rank - 2 if drop_leading or rank > 2 else 0
            axis = 1 - axis if swap else axis
        if axis is None or 0 <= axis < 2:
            builder.brought[name] = Brought(
                scale=brought.scale * gain, zero_point=brought.zero_point, bits=brought.bits, axis=axis
            )
    return name


def import_gemm(node: SourceNode, builder: Builder) -> None:
    """Gemm: alpha * A' @ B' + beta * C with A or B constant; alpha, beta and transB are folded into the constants."""
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    trans_a, trans_b = node.int("transA", 0) != 0, node.int("transB", 0) != 0
    a, b = node.inputs[:2]
    for name in (a, b):
        if len(builder.type(name).shape) != 2:
            raise Unsupported(f"expected matrices, found {name} of shape {builder.type(name).shape}")
    product = out = node.outputs[0]
    bias: tuple[str, ...] = ()
    addend = ""
    if node.has(2) and beta != 0.0:
        folded = None
        if builder.value(b) is not None:
            outputs = builder.type(b).shape[0 if trans_b else 1]
            folded = _row_bias(builder, node.inputs[2], outputs, beta, out)
        if folded is not None:
            bias = (folded,)
        else:
            addend, product = node.inputs[2], builder.fresh(f"{out}.product")
    if builder.value(b) is not None:
        weights, w = real(builder, b), b
        if trans_b or alpha != 1.0:
            w = derived(builder, out, (weights.T if trans_b else weights) * alpha, b, swap=trans_b, gain=alpha)
        x = _swapped(node, builder, a, f"{out}.turned") if trans_a else a
        builder.emit(Dense(), (x, w, *bias), (product,), node)
    elif builder.value(a) is not None:  # (B'^T @ A'^T)^T
        weights = real(builder, a)
        w = derived(builder, out, (weights if trans_a else weights.T) * alpha, a, swap=not trans_a, gain=alpha)
        x = b if trans_b else _swapped(node, builder, b, f"{out}.turned")
        turned = builder.fresh(f"{out}.transposed")
        builder.emit(Dense(), (x, w), (turned,), node)
        builder.emit(Transpose(perm=(1, 0)), (turned,), (product,), node)
    else:
        raise Unsupported("both factors are computed at run time; one of them must be a constant of the model")
    if addend:
        _add_scaled(node, builder, product, addend, beta)


def _row_bias(builder: Builder, name: str, outputs: int, beta: float, out: str) -> str | None:
    """Name of a bias vector (outputs,) worth beta * C; None when C is no constant row."""
    if builder.value(name) is None:
        return None
    value = real(builder, name)
    if value.size != value.shape[-1] if value.ndim else False:
        return None
    if value.size not in (1, outputs):
        raise Unsupported(f"the addend of shape {value.shape} does not fit {outputs} outputs")
    if value.shape == (outputs,) and beta == 1.0:
        return name
    row = builder.add_constant(f"{out}.bias", np.broadcast_to(value.reshape(-1), (outputs,)) * beta)
    brought = builder.brought.get(builder.resolve(name))
    if brought is not None and brought.axis is None and beta > 0:
        builder.brought[row] = Brought(scale=brought.scale * beta, zero_point=brought.zero_point, bits=brought.bits)
    return row


def _add_scaled(node: SourceNode, builder: Builder, product: str, addend: str, beta: float) -> None:
    """output = product + beta * addend."""
    out = node.outputs[0]
    if beta != 1.0:
        if builder.value(addend) is not None:
            addend = builder.add_constant(f"{out}.addend", real(builder, addend) * beta)
        else:
            factor = builder.add_constant(f"{out}.beta", np.array([beta], dtype=np.float32))
            scaled = builder.fresh(f"{out}.addend")
            builder.emit(Mul(), (addend, factor), (scaled,), node)
            addend = scaled
    shape = builder.type(product).shape
    builder.emit(Add(), (product, addend), (out,), node)
    if builder.type(out).shape != shape:
        raise Unsupported(f"the addend of shape {builder.type(addend).shape} does not broadcast to {shape}")


def import_batch_norm(node: SourceNode, builder: Builder) -> None:
    """BatchNormalization in inference: scale, bias, mean and variance are constants of shape (C,).

    Records what the batch norm knows of its data: the per-channel mean and deviation of its input and of its output.
    """
    if node.int("training_mode", 0) != 0:
        raise Unsupported("training_mode is 1; export the model in evaluation mode")
    if any(node.outputs[1:]):
        raise Unsupported("its running statistics are read; export the model in evaluation mode")
    shape = builder.type(node.inputs[0]).shape
    if len(shape) < 2:
        raise Unsupported(f"expected a channel axis, found shape {shape}")
    names = ("scale", "bias", "mean", "variance")
    for index, what in enumerate(names, start=1):
        found = builder.constant_input(node, index, what).shape
        if found != (shape[1],):
            raise Unsupported(f"expected a {what} of shape ({shape[1]},), found {found}")
    scale, bias, mean, variance = (real(builder, name).astype(np.float64) for name in node.inputs[1:5])
    epsilon = node.float("epsilon", 1e-5)
    if not np.all(variance + epsilon > 0):
        raise Unsupported(f"the variance {node.inputs[4]} has entries that are not positive")
    builder.emit(BatchNorm(epsilon=epsilon), node.inputs[:5], node.outputs[:1], node)
    builder.statistics.setdefault(builder.resolve(node.inputs[0]), (mean, np.sqrt(np.maximum(variance, 0.0))))
    builder.statistics[node.outputs[0]] = (bias, np.abs(scale))


IMPORTERS: Mapping[str, Importer] = {
    "BatchNormalization": import_batch_norm,
    "Conv": import_conv,
    "Gemm": import_gemm,
    "MatMul": import_matmul,
}
