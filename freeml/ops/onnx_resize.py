"""Importer of Resize with mode nearest: every output index reads one input index, tabulated per axis.

Coordinates are computed in float32 in the order the ONNX operator's definition writes them, and a coordinate within
`TIE` of the middle between two pixels counts as the middle: that is closest to what onnxruntime does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from freeml.ir.types import Shape
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported
from freeml.ops.onnx_shapes import distinct_axes
from freeml.ops.onnx_values import integers, real
from freeml.ops.resize import Resize

Float: TypeAlias = np.float32
Floats: TypeAlias = NDArray[np.float32]
HALF, ONE = Float(0.5), Float(1.0)

TIE = Float(1e-6)

MAX_EXTENT = 2**16
"""Longest axis that a table of indices is made for."""


def single(values: ArrayLike) -> Floats:
    """As float32."""
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisScale:
    """One axis of a Resize: extents before and after, the scale between them, and the region of interest (0..1)."""

    extent: int
    resized: int
    scale: Float
    start: Float = Float(0.0)  # noqa: RUF009 - a numpy scalar is immutable
    end: Float = Float(1.0)  # noqa: RUF009


def original_coordinates(mode: str, axis: AxisScale) -> Floats:
    """x_original of every output index, (resized,) float32."""
    x = np.arange(axis.resized, dtype=np.float32)
    last = Float(axis.extent - 1)
    if mode == "pytorch_half_pixel" and axis.resized == 1:
        return np.zeros(1, dtype=np.float32)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return single((x + HALF) / axis.scale - HALF)
    if mode == "half_pixel_symmetric":
        adjustment = Float(axis.resized) / (axis.scale * Float(axis.extent))
        offset = Float(axis.extent) / Float(2.0) * (ONE - adjustment)
        return single(offset + (x + HALF) / axis.scale - HALF)
    if mode == "asymmetric":
        return single(x / axis.scale)
    if mode == "align_corners":
        return x if axis.resized == 1 else single(x * last / Float(axis.resized - 1))
    if mode == "tf_crop_and_resize":
        if axis.resized == 1:
            return single([HALF * (axis.start + axis.end) * last])
        return single(axis.start * last + x * (axis.end - axis.start) * last / Float(axis.resized - 1))
    raise Unsupported(f"attribute coordinate_transformation_mode {mode} is not supported")


def nearest(mode: str, x: Floats) -> Floats:
    """The whole number that stands for each coordinate."""
    if mode == "round_prefer_floor":
        return single(np.ceil(x - HALF - TIE))
    if mode == "round_prefer_ceil":
        return single(np.floor(x + HALF + TIE))
    if mode == "floor":
        return np.floor(x)
    if mode == "ceil":
        return np.ceil(x)
    raise Unsupported(f"attribute nearest_mode {mode} is not supported")


def index_table(axis: AxisScale, coordinate_mode: str, nearest_mode: str) -> tuple[int, ...]:
    """Input index that each output index of the axis reads."""
    if axis.resized == axis.extent and axis.scale == ONE and coordinate_mode != "tf_crop_and_resize":
        return tuple(range(axis.extent))
    x = original_coordinates(coordinate_mode, axis)
    if coordinate_mode == "tf_crop_and_resize" and (x.min() < 0 or x.max() > axis.extent - 1):
        raise Unsupported("its region of interest reaches outside the input, where extrapolation is not supported")
    return tuple(int(i) for i in np.clip(nearest(nearest_mode, x), 0, axis.extent - 1))


def axis_scales(node: SourceNode, builder: Builder, shape: Shape) -> tuple[AxisScale, ...]:
    """What inputs `scales`, `sizes`, `roi` and attribute `axes` say about every axis."""
    axes = distinct_axes(node.ints("axes", tuple(range(len(shape)))), len(shape))
    extents = single([shape[axis] for axis in axes])
    starts, ends = _region(node, builder, len(axes))
    if _given(node, builder, 3):
        scales, sizes = _from_sizes(node, builder, extents)
    elif _given(node, builder, 2):
        scales = real(builder, node.inputs[2]).reshape(-1)
        if len(scales) != len(axes) or not np.all(np.isfinite(scales) & (scales > 0)):
            raise Unsupported(f"expected {len(axes)} scales above 0, found {scales.tolist()}")
        sizes = np.floor(single(extents * (ends - starts)) * scales)
    else:
        raise Unsupported("neither scales nor sizes are given")
    if not np.all((sizes >= 1) & (sizes <= MAX_EXTENT)):
        raise Unsupported(f"expected axes of 1 to {MAX_EXTENT} entries, found {sizes.tolist()}")
    result = [AxisScale(extent=extent, resized=extent, scale=ONE) for extent in shape]
    for i, axis in enumerate(axes):
        result[axis] = AxisScale(
            extent=shape[axis], resized=int(sizes[i]), scale=scales[i], start=starts[i], end=ends[i]
        )
    return tuple(result)


def _given(node: SourceNode, builder: Builder, index: int) -> bool:
    """Whether an optional input is there; exporters also pass an empty tensor for "not given"."""
    return node.has(index) and builder.constant_input(node, index, "scales or sizes").size > 0


def _region(node: SourceNode, builder: Builder, count: int) -> tuple[Floats, Floats]:
    """Start and end of the region of interest per axis; only tf_crop_and_resize looks at it."""
    if node.str("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return np.zeros(count, dtype=np.float32), np.ones(count, dtype=np.float32)
    builder.constant_input(node, 1, "roi")
    roi = real(builder, node.inputs[1]).reshape(-1)
    if len(roi) != 2 * count or not np.all(np.isfinite(roi)):
        raise Unsupported(f"expected {2 * count} finite entries in roi, found {roi.tolist()}")
    return roi[:count], roi[count:]


def _from_sizes(node: SourceNode, builder: Builder, extents: Floats) -> tuple[Floats, Floats]:
    """(scales, sizes) of the resized axes from input `sizes`."""
    given = integers(node, builder, 3, "sizes")
    if len(given) != len(extents):
        raise Unsupported(f"expected {len(extents)} sizes, found {list(given)}")
    sizes = single(given)
    scales = single(sizes / extents)
    policy = node.str("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return scales, sizes
    if policy not in ("not_larger", "not_smaller"):
        raise Unsupported(f"attribute keep_aspect_ratio_policy {policy} is not supported")
    scale = Float(scales.min() if policy == "not_larger" else scales.max())
    return np.full(len(extents), scale, dtype=np.float32), np.floor(single(extents * scale) + HALF)


def import_resize(node: SourceNode, builder: Builder) -> None:
    """Resize, nearest only."""
    mode = node.str("mode", "nearest")
    if mode != "nearest":
        raise Unsupported(f"attribute mode: only nearest is supported, found {mode}; resize with mode nearest instead")
    shape = builder.type(node.inputs[0]).shape
    if not shape or 0 in shape:
        raise Unsupported(f"a tensor of shape {shape} cannot be resized")
    coordinate_mode = node.str("coordinate_transformation_mode", "half_pixel")
    nearest_mode = node.str("nearest_mode", "round_prefer_floor")
    scales = axis_scales(node, builder, shape)
    indices = tuple(index_table(axis, coordinate_mode, nearest_mode) for axis in scales)
    if indices == tuple(tuple(range(extent)) for extent in shape):
        builder.alias(node.outputs[0], node.inputs[0])
    else:
        builder.emit(Resize(indices=indices), node.inputs[:1], node.outputs[:1], node)


IMPORTERS: Mapping[str, Importer] = {"Resize": import_resize}
