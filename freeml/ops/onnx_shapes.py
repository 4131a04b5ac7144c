"""Importers of the operators that move numbers: reshapes, transposes, slices, padding, concatenation; ReduceMean."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Literal

from freeml.ir.types import Array, Shape, element_count
from freeml.ops.concat import Concat
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported, normalized_axis
from freeml.ops.onnx_values import integers, real_scalar
from freeml.ops.pad import Pad
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.slice import Slice
from freeml.ops.transpose import Transpose

PAD_MODES: tuple[Literal["constant", "edge", "reflect", "wrap"], ...] = ("constant", "edge", "reflect", "wrap")


def optional_axes(node: SourceNode, builder: Builder, index: int = 1) -> tuple[int, ...] | None:
    """Axes from attribute `axes` (older opsets) or input number `index`; None when neither is given."""
    if "axes" in node.attributes:
        return node.ints("axes")
    return integers(node, builder, index, "axes") if node.has(index) else None


def distinct_axes(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Axes in 0..rank-1, each at most once."""
    found = tuple(normalized_axis(axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise Unsupported(f"axes {list(axes)} name one axis twice")
    return found


def emit_reshape(node: SourceNode, builder: Builder, shape: Shape) -> None:
    """Reshape the first input; a reshape to its own shape is no operator at all."""
    if builder.type(node.inputs[0]).shape == shape:
        builder.alias(node.outputs[0], node.inputs[0])
    else:
        builder.emit(Reshape(shape=shape), node.inputs[:1], node.outputs[:1], node)


def reshaped(shape: Shape, target: tuple[int, ...], allow_zero: bool) -> Shape:
    """Shape that ONNX's Reshape gives: 0 copies an extent (unless `allow_zero`), one -1 is computed."""
    if any(extent < -1 for extent in target) or target.count(-1) > 1:
        raise Unsupported(f"{list(target)} is not a shape: at most one -1 and no other negative extent may occur")
    if not allow_zero and any(extent == 0 and i >= len(shape) for i, extent in enumerate(target)):
        raise Unsupported(f"{list(target)} copies an axis that a tensor of shape {shape} does not have")
    result = [shape[i] if extent == 0 and not allow_zero else extent for i, extent in enumerate(target)]
    if -1 in result:
        known = element_count(tuple(extent for extent in result if extent != -1))
        if known == 0 or element_count(shape) % known:
            raise Unsupported(f"a tensor of shape {shape} cannot take shape {list(target)}")
        result[result.index(-1)] = element_count(shape) // known
    if element_count(tuple(result)) != element_count(shape):
        raise Unsupported(f"a tensor of shape {shape} cannot take shape {list(target)}: the element counts differ")
    return tuple(result)


def import_reshape(node: SourceNode, builder: Builder) -> None:
    """Reshape to a constant shape."""
    target = integers(node, builder, 1, "shape")
    shape = reshaped(builder.type(node.inputs[0]).shape, target, node.int("allowzero", 0) != 0)
    emit_reshape(node, builder, shape)


def import_flatten(node: SourceNode, builder: Builder) -> None:
    """Flatten to a matrix, split before `axis` (which may equal the rank)."""
    shape = builder.type(node.inputs[0]).shape
    axis = node.int("axis", 1)
    axis = axis if axis == len(shape) else normalized_axis(axis, len(shape))
    emit_reshape(node, builder, (element_count(shape[:axis]), element_count(shape[axis:])))


def squeezed(shape: Shape, axes: tuple[int, ...] | None) -> Shape:
    """The shape without `axes`, which must have extent 1 (None: without every axis of extent 1)."""
    if axes is None:
        return tuple(extent for extent in shape if extent != 1)
    dropped = distinct_axes(axes, len(shape))
    if any(shape[axis] != 1 for axis in dropped):
        raise Unsupported(f"axes {list(axes)} of shape {shape} do not all have extent 1")
    return tuple(extent for axis, extent in enumerate(shape) if axis not in dropped)


def unsqueezed(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape with axes of extent 1 inserted, numbered in the result."""
    rank = len(shape) + len(axes)
    inserted = distinct_axes(axes, rank)
    kept = iter(shape)
    return tuple(1 if axis in inserted else next(kept) for axis in range(rank))


def import_squeeze(node: SourceNode, builder: Builder) -> None:
    """Drop axes of extent 1."""
    emit_reshape(node, builder, squeezed(builder.type(node.inputs[0]).shape, optional_axes(node, builder)))


def import_unsqueeze(node: SourceNode, builder: Builder) -> None:
    """Insert axes of extent 1."""
    axes = optional_axes(node, builder)
    if axes is None:
        raise Unsupported("its axes are missing")
    emit_reshape(node, builder, unsqueezed(builder.type(node.inputs[0]).shape, axes))


def permutation(node: SourceNode, rank: int) -> tuple[int, ...]:
    """Attribute perm, by default the axes in reverse."""
    perm = node.ints("perm", tuple(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise Unsupported(f"attribute perm: expected the axes 0..{rank - 1} in some order, found {list(perm)}")
    return perm


def import_transpose(node: SourceNode, builder: Builder) -> None:
    """Transpose; one that keeps every axis in place is no operator at all."""
    perm = permutation(node, len(builder.type(node.inputs[0]).shape))
    if perm == tuple(range(len(perm))):
        builder.alias(node.outputs[0], node.inputs[0])
    else:
        builder.emit(Transpose(perm=perm), node.inputs[:1], node.outputs[:1], node)


def slice_axis(start: int, end: int, step: int, extent: int) -> tuple[int, int]:
    """First index and number of indices that start:end:step takes of an axis (numpy's and ONNX's clamping)."""
    indices = range(extent)[start:end:step]
    return (indices.start, len(indices))


def slice_bounds(
    shape: Shape, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...], steps: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(starts, steps, sizes) over every axis of `shape`. ONNX's clamping of bounds is Python's."""
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Unsupported("starts, ends, axes and steps differ in length")
    if 0 in steps:
        raise Unsupported("a step is 0")
    full = [(0, 1, extent) for extent in shape]
    for axis, start, end, step in zip(distinct_axes(axes, len(shape)), starts, ends, steps, strict=True):
        first, count = slice_axis(start, end, step, shape[axis])
        full[axis] = (first, step if count > 1 else 1, count)
    return tuple(f[0] for f in full), tuple(f[1] for f in full), tuple(f[2] for f in full)


def slice_arguments(
    node: SourceNode, builder: Builder, shape: Shape
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(starts, steps, sizes) of an ONNX Slice, whose arguments must be constants."""
    starts, ends = integers(node, builder, 1, "starts"), integers(node, builder, 2, "ends")
    axes = integers(node, builder, 3, "axes") if node.has(3) else tuple(range(len(starts)))
    steps = integers(node, builder, 4, "steps") if node.has(4) else (1,) * len(starts)
    return slice_bounds(shape, starts, ends, axes, steps)


def emit_slice(
    node: SourceNode, builder: Builder, x: str, out: str, starts: Shape, steps: tuple[int, ...], sizes: Shape
) -> None:
    """Emit Slice, or an alias when it takes everything."""
    shape = builder.type(x).shape
    if 0 in sizes:
        raise Unsupported(f"it takes nothing of a tensor of shape {shape}: the result would be empty")
    if sizes == shape and all(step == 1 for step in steps):
        builder.alias(out, x)
    else:
        builder.emit(Slice(starts=starts, steps=steps, sizes=sizes), (x,), (out,), node)


def import_slice(node: SourceNode, builder: Builder) -> None:
    """Slice with constant bounds and steps of either sign."""
    x = node.inputs[0]
    emit_slice(node, builder, x, node.outputs[0], *slice_arguments(node, builder, builder.type(x).shape))


def split_sizes(node: SourceNode, builder: Builder, extent: int) -> tuple[int, ...]:
    """Extents of the parts: attribute or input `split`, else equal parts (the last one smaller since opset 18)."""
    count = len(node.outputs)
    if "split" in node.attributes:
        sizes = node.ints("split")
    elif node.has(1):
        sizes = integers(node, builder, 1, "split")
    else:
        if node.int("num_outputs", count) != count:
            raise Unsupported(f"attribute num_outputs is {node.int('num_outputs')}, but it has {count} outputs")
        if extent % count and "num_outputs" not in node.attributes:
            raise Unsupported(f"an axis of extent {extent} does not split into {count} equal parts")
        part = -(-extent // count)
        sizes = (*(part,) * (count - 1), extent - part * (count - 1))
    if len(sizes) != count or sum(sizes) != extent or min(sizes) < 0:
        raise Unsupported(f"parts of {list(sizes)} do not make up the {extent} of the axis in {count} outputs")
    return sizes


def import_split(node: SourceNode, builder: Builder) -> None:
    """Split is one Slice for each output."""
    x = node.inputs[0]
    shape = builder.type(x).shape
    axis = normalized_axis(node.int("axis", 0), len(shape))
    start = 0
    for out, size in zip(node.outputs, split_sizes(node, builder, shape[axis]), strict=True):
        starts = tuple(start if i == axis else 0 for i in range(len(shape)))
        sizes = tuple(size if i == axis else extent for i, extent in enumerate(shape))
        if out:
            emit_slice(node, builder, x, out, starts, (1,) * len(shape), sizes)
        start += size


def import_gather(node: SourceNode, builder: Builder) -> None:
    """Gather with constant indices: a Slice where they are evenly spaced, else a table of indices.

    The axis is replaced by those of the indices: none for a single number.
    """
    x, out = node.inputs[0], node.outputs[0]
    shape, indices = builder.type(x).shape, builder.constant_input(node, 1, "indices")
    axis = normalized_axis(node.int("axis", 0), len(shape))
    taken = gather_indices(indices, shape[axis])
    if not taken:
        raise Unsupported("it takes no entries: the result would be empty")
    result = shape[:axis] + indices.shape + shape[axis + 1 :]
    part = out if indices.ndim == 1 else builder.fresh(f"{out}.taken")
    step = taken[1] - taken[0] if len(taken) > 1 else 1
    if step != 0 and all(b - a == step for a, b in itertools.pairwise(taken)):
        starts = tuple(taken[0] if i == axis else 0 for i in range(len(shape)))
        steps = tuple(step if i == axis else 1 for i in range(len(shape)))
        sizes = tuple(len(taken) if i == axis else extent for i, extent in enumerate(shape))
        emit_slice(node, builder, x, part, starts, steps, sizes)
    else:
        tables = tuple(taken if i == axis else tuple(range(extent)) for i, extent in enumerate(shape))
        builder.emit(Resize(indices=tables), (x,), (part,), node)
    if indices.ndim != 1:
        builder.emit(Reshape(shape=result), (part,), (out,), node)


def gather_indices(indices: Array, extent: int) -> tuple[int, ...]:
    """Indices in row-major order, negative ones counted from the end of an axis of this extent."""
    found = indices.reshape(-1).tolist()
    if indices.dtype.kind not in "iu" or not all(-extent <= index < extent for index in found):
        raise Unsupported(f"expected indices within the {extent} entries of the axis, found {indices.tolist()}")
    return tuple(index % extent for index in found)


def import_pad(node: SourceNode, builder: Builder) -> None:
    """Pad; negative amounts crop first, as a Slice of its own."""
    x, out = node.inputs[0], node.outputs[0]
    shape = builder.type(x).shape
    amounts = integers(node, builder, 1, "pads")
    given = optional_axes(node, builder, 3)
    axes = distinct_axes(tuple(range(len(shape))) if given is None else given, len(shape))
    if len(amounts) != 2 * len(axes):
        raise Unsupported(f"expected {2 * len(axes)} pads, two for each axis, found {len(amounts)}")
    mode = next((known for known in PAD_MODES if known == node.str("mode", "constant")), None)
    if mode is None:
        raise Unsupported(f"attribute mode: expected one of {', '.join(PAD_MODES)}, found {node.str('mode')}")
    pads = [(0, 0)] * len(shape)
    for i, axis in enumerate(axes):
        pads[axis] = (amounts[i], amounts[len(axes) + i])
    value = real_scalar(node, builder, 2, "constant_value", 0.0) if mode == "constant" else 0.0
    if any(amount < 0 for pair in pads for amount in pair):
        starts = tuple(max(0, -before) for before, _ in pads)
        crops = zip(shape, pads, strict=True)
        sizes = tuple(extent - max(0, -before) - max(0, -after) for extent, (before, after) in crops)
        if min(sizes) <= 0:
            raise Unsupported(f"pads {list(amounts)} crop a tensor of shape {shape} to nothing")
        cropped = builder.fresh(f"{out}.cropped")
        emit_slice(node, builder, x, cropped, starts, (1,) * len(shape), sizes)
        x = cropped
    positive = tuple((max(0, before), max(0, after)) for before, after in pads)
    if all(pair == (0, 0) for pair in positive):
        builder.alias(out, x)
    else:
        builder.emit(Pad(pads=positive, mode=mode, value=value), (x,), (out,), node)


def import_concat(node: SourceNode, builder: Builder) -> None:
    """Concat along one axis; of a single input it is no operator at all."""
    axis = normalized_axis(node.int("axis"), len(builder.type(node.inputs[0]).shape))
    if len(node.inputs) == 1:
        builder.alias(node.outputs[0], node.inputs[0])
    else:
        builder.emit(Concat(axis=axis), node.inputs, node.outputs[:1], node)


def import_reduce_mean(node: SourceNode, builder: Builder) -> None:
    """ReduceMean over constant axes; without axes over all of them, or none (noop_with_empty_axes)."""
    rank = len(builder.type(node.inputs[0]).shape)
    axes = distinct_axes(optional_axes(node, builder) or (), rank)
    if not axes and node.int("noop_with_empty_axes", 0) != 0:
        builder.alias(node.outputs[0], node.inputs[0])
        return
    op = ReduceMean(axes=tuple(sorted(axes)) or tuple(range(rank)), keepdims=node.int("keepdims", 1) != 0)
    builder.emit(op, node.inputs[:1], node.outputs[:1], node)


IMPORTERS: Mapping[str, Importer] = {
    "Concat": import_concat,
    "Flatten": import_flatten,
    "Gather": import_gather,
    "Pad": import_pad,
    "ReduceMean": import_reduce_mean,
    "Reshape": import_reshape,
    "Slice": import_slice,
    "Split": import_split,
    "Squeeze": import_squeeze,
    "Transpose": import_transpose,
    "Unsqueeze": import_unsqueeze,
}
