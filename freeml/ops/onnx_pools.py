"""Importers of the pools. Global pools are pools whose kernel covers the whole map."""

from __future__ import annotations

from collections.abc import Mapping

from freeml.ir.graph import Op
from freeml.ops.averagepool import AveragePool
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported, spatial_pads
from freeml.ops.maxpool import MaxPool
from freeml.ops.onnx_values import check_pads, positive_ints
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
        pads = spatial_pads(node, shape[2:], kernel, strides, dilations)
        check_pads(shape, pads)
        # With auto_pad the output extent is fixed by the stride alone: ceil_mode has nothing left to round.
        ceil_mode = node.int("ceil_mode", 0) != 0 and node.str("auto_pad", "NOTSET") == "NOTSET"
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
}
