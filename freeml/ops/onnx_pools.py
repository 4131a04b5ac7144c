"""Importers of the pools. Global pools are pools whose kernel covers the whole map."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from freeml.ir.graph import Op
from freeml.ir.types import element_count
from freeml.ops.averagepool import AveragePool
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported
from freeml.ops.maxpool import MaxPool
from freeml.ops.onnx_shapes import distinct_axes, optional_axes
from freeml.ops.onnx_values import positive_ints, settled_steps, window_pads
from freeml.ops.reshape import Reshape
from freeml.ops.windows import Window


def _pool(average: bool) -> Importer:
    def importer(node: SourceNode, builder: Builder) -> None:
        if any(node.outputs[1:]):
            raise Unsupported("its second output (Indices) is read; only the pooled values are supported")
        shape = builder.type(node.inputs[0]).shape
        kernel = node.ints("kernel_shape")
        if len(shape) < 3 or len(kernel) != len(shape) - 2:
            raise Unsupported(f"expected a map of rank 3 or 4 and one kernel extent per spatial axis, found {shape}")
        ones = (1,) * len(kernel)
        positive_ints(node, "kernel_shape", ones)
        strides, dilations = positive_ints(node, "strides", ones), positive_ints(node, "dilations", ones)
        pads = window_pads(node, shape, kernel, strides, dilations)
        strides, dilations = settled_steps(shape, kernel, strides, dilations, pads)
        # SAME fixes the output extent by the stride alone: ceil_mode has nothing left to round.
        ceil_mode = node.int("ceil_mode", 0) != 0 and node.str("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        window = Window(kernel=kernel, strides=strides, dilations=dilations, pads=pads, ceil_mode=ceil_mode)
        _emit(node, builder, window, average)

    return importer


def _global(average: bool) -> Importer:
    def importer(node: SourceNode, builder: Builder) -> None:
        kernel = builder.type(node.inputs[0]).shape[2:]
        if not kernel:
            raise Unsupported(f"expected a map of rank 3 or 4, found {builder.type(node.inputs[0]).shape}")
        ones = (1,) * len(kernel)
        window = Window(kernel=kernel, strides=ones, dilations=ones, pads=((0, 0),) * len(kernel))
        _emit(node, builder, window, average)

    return importer


def import_reduce_max(node: SourceNode, builder: Builder) -> None:
    """ReduceMax over neighbouring axes is a MaxPool whose kernel covers them; reshapes bring other axes into place."""
    x, out = node.inputs[0], node.outputs[0]
    shape = builder.type(x).shape
    axes = tuple(sorted(distinct_axes(optional_axes(node, builder) or (), len(shape))))
    if not axes and node.int("noop_with_empty_axes", 0) != 0:
        builder.alias(out, x)
        return
    axes = axes or tuple(range(len(shape)))
    if not axes or 0 in shape:
        raise Unsupported(f"its input of shape {shape} is a scalar or has extent 0")
    if any(b - a != 1 for a, b in itertools.pairwise(axes)):
        raise Unsupported(f"only neighbouring axes are supported, found {list(axes)}")
    before, covered = element_count(shape[: axes[0]]), element_count(shape[axes[0] : axes[-1] + 1])
    after = element_count(shape[axes[-1] + 1 :])
    plane, pooled = builder.fresh(f"{out}.plane"), builder.fresh(f"{out}.pooled")
    op = MaxPool(kernel=(covered, 1), strides=(1, 1), dilations=(1, 1), pads=((0, 0), (0, 0)))
    builder.emit(Reshape(shape=(1, before, covered, after)), (x,), (plane,), node)
    builder.emit(op, (plane,), (pooled,), node)
    kept = (1,) * len(axes) if node.int("keepdims", 1) != 0 else ()
    builder.emit(Reshape(shape=shape[: axes[0]] + kept + shape[axes[-1] + 1 :]), (pooled,), (out,), node)


def _emit(node: SourceNode, builder: Builder, window: Window, average: bool) -> None:
    """The pool over these windows."""
    op: Op
    if average:
        op = AveragePool(
            kernel=window.kernel,
            strides=window.strides,
            dilations=window.dilations,
            pads=window.pads,
            ceil_mode=window.ceil_mode,
            count_include_pad=node.int("count_include_pad", 0) != 0,
        )
    else:
        op = MaxPool(
            kernel=window.kernel,
            strides=window.strides,
            dilations=window.dilations,
            pads=window.pads,
            ceil_mode=window.ceil_mode,
        )
    builder.emit(op, node.inputs[:1], node.outputs[:1], node)


IMPORTERS: Mapping[str, Importer] = {
    "AveragePool": _pool(average=True),
    "GlobalAveragePool": _global(average=True),
    "GlobalMaxPool": _global(average=False),
    "MaxPool": _pool(average=False),
    "ReduceMax": import_reduce_max,
}
