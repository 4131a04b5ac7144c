"""Copies by index as ONNX operators: Transpose, Slice, Resize, Pad, and Gather for whatever is left."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from freeml.frontend.qdq_writer import Site
from freeml.ir.types import Shape
from freeml.ops.copying import FILL, QCopy
from freeml.ops.pad import pad_table

Table: TypeAlias = tuple[int, ...]
Mode: TypeAlias = Literal["edge", "reflect", "wrap"]

MODES: tuple[Mode, ...] = ("edge", "reflect", "wrap")
# the end of a slice that runs backwards past index 0
BEFORE_THE_START = -(2**31)


def copied(op: QCopy, at: Site) -> str:
    """Append the operators of a copy, each for all axes that need it; returns the last one's output."""
    x = at.x(0)
    order = tuple(m.source for m in op.maps)
    extents = tuple(x.shape[axis] for axis in order)
    tables = tuple(tuple(i for i in m.indices if i != FILL) for m in op.maps)
    real = at.real(0)
    if order != tuple(range(len(order))):
        real = at.emit("Transpose", real, perm=order)
    left = [axis for axis, table in enumerate(tables) if table != tuple(range(extents[axis]))]

    spaced = [axis for axis in left if is_spaced(tables[axis])]
    if spaced:
        real = _slice(at, real, spaced, tables)
    left = [axis for axis in left if axis not in spaced]

    repeated = [axis for axis in left if repeats(tables[axis], extents[axis]) > 1]
    if repeated:
        scales = [repeats(tables[axis], extents[axis]) if axis in repeated else 1 for axis in range(len(order))]
        real = at.emit(
            "Resize", real, "", at.constant("scales", np.array(scales, dtype=np.float32)),
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    left = [axis for axis in left if axis not in repeated]

    for mode in MODES:
        pads = {axis: pair for axis in left if (pair := border(tables[axis], extents[axis], mode)) is not None}
        if pads:
            real = at.emit("Pad", real, _pads(at, pads, len(order)), mode=mode)
        left = [axis for axis in left if axis not in pads]
    for axis in left:
        real = at.emit("Gather", real, at.ints("indices", *tables[axis]), axis=axis)
    return _filled(op, at, real, tables)


def is_spaced(table: Table) -> bool:
    """Whether the indices are evenly spaced, and no two are the same."""
    step = table[1] - table[0] if len(table) > 1 else 1
    return step != 0 and all(index == table[0] + i * step for i, index in enumerate(table))


def repeats(table: Table, extent: int) -> int:
    """k when every index 0..extent-1 stands k times in a row, else 0."""
    times = len(table) // extent
    return times if table == tuple(i // times for i in range(extent * times)) else 0


def border(table: Table, extent: int, mode: Mode) -> tuple[int, int] | None:
    """(before, after) when the table pads an axis in this mode; None when it does not."""
    whole = tuple(range(extent))
    for before in range(len(table) - extent + 1):
        after = len(table) - extent - before
        if mode != "edge" and max(before, after) >= extent:
            continue  # onnxruntime reflects and wraps once at most
        if table[before : before + extent] == whole and table == pad_table(extent, before, after, mode):
            return before, after
    return None


def _slice(at: Site, real: str, axes: list[int], tables: tuple[Table, ...]) -> str:
    steps = [tables[axis][1] - tables[axis][0] if len(tables[axis]) > 1 else 1 for axis in axes]
    ends = [tables[axis][-1] + step for axis, step in zip(axes, steps, strict=True)]
    return at.emit(
        "Slice", real,
        at.ints("starts", *(tables[axis][0] for axis in axes)),
        at.ints("ends", *(end if end >= 0 else BEFORE_THE_START for end in ends)),
        at.ints("axes", *axes),
        at.ints("steps", *steps),
    )  # fmt: skip


def _pads(at: Site, pads: dict[int, tuple[int, int]], rank: int) -> str:
    pairs = [pads.get(axis, (0, 0)) for axis in range(rank)]
    return at.ints("pads", *(before for before, _ in pairs), *(after for _, after in pairs))


def _filled(op: QCopy, at: Site, real: str, tables: tuple[Table, ...]) -> str:
    """Pad with the fill value; its positions are the first and last ones of an axis."""
    pads: dict[int, tuple[int, int]] = {}
    for axis, (m, table) in enumerate(zip(op.maps, tables, strict=True)):
        if len(table) < len(m.indices):
            before = next((n for n, index in enumerate(m.indices) if index != FILL), len(m.indices))
            pads[axis] = (before, len(m.indices) - before - len(table))
    if not pads:
        return real
    fill = at.number("fill", (op.fill - at.y.zero_point) * at.y.scale)
    return at.emit("Pad", real, _pads(at, pads, len(op.maps)), fill)


def keeps_batch(op: QCopy, shape: Shape) -> bool:
    """Whether axis 0 of the result is the untouched axis 0, of extent 1, of an input of `shape`."""
    first = op.maps[0]
    return first.source == 0 and first.indices == (0,) and shape[0] == 1
