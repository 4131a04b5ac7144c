"""Copies: what Slice, Pad, Resize and Transpose become. Every output axis reads one input axis through an index table.

The C is nested loops over as few axes as the index tables allow: axes whose elements lie evenly spaced are walked by
multiplication, neighbours that form one even run become one loop, and only uneven axes (nearest-neighbour resizing,
reflecting pads) cost a table in flash.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import Requant, make_requant
from freeml.ir.graph import QOp
from freeml.ir.types import IntArray, QType, Shape
from freeml.ops.base import CArray, CRequant, Kernel, LoweredOp, Lowering, Quantized, Quantizing, requant_view

FILL = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """From one number format to another: clamp(round((q - zero_point) * M) + new zero point)."""

    zero_point: int
    requant: Requant

    def apply(self, values: IntArray) -> IntArray:
        """Integers of the new format."""
        return self.requant.apply(values - self.zero_point)


def make_rescale(node: str, source: QType, target: QType) -> Rescale | None:
    """How numbers of `source` become numbers of `target`; None when the formats are equal.

    Raises QuantizationError when the scales are too far apart for 32 bits.
    """
    if (source.scale, source.zero_point, source.dtype) == (target.scale, target.zero_point, target.dtype):
        return None
    requant = make_requant(
        np.array([source.scale / target.scale]),
        accumulator_bound=max(source.qmax - source.zero_point, source.zero_point - source.qmin),
        zero_point=target.zero_point, low=target.qmin, high=target.qmax,
    )  # fmt: skip
    if requant is None:
        raise QuantizationError(
            f"node {node}: expected input and output of comparable range, found scales {source.scale:.3g} and "
            f"{target.scale:.3g}; check the calibration data"
        )
    return Rescale(zero_point=source.zero_point, requant=requant)


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisMap:
    """One axis of the output: it reads axis `source` of the input, output index i at `indices[i]`.

    FILL (-1) stands for padding; only the first and the last indices of an axis may be padding.
    """

    source: int
    indices: tuple[int, ...]


def axis_maps(tables: tuple[tuple[int, ...], ...]) -> tuple[AxisMap, ...]:
    """Index tables of a copy that keeps the order of the axes."""
    return tuple(AxisMap(source=axis, indices=table) for axis, table in enumerate(tables))


def quantize_copy(q: Quantizing, maps: tuple[AxisMap, ...], fill: int = 0) -> Quantized:
    """The copy as an integer operator; `fill` is in the output's format."""
    rescale = make_rescale(q.node, q.input(0), q.outputs[0])
    return Quantized(op=QCopy(maps=maps, fill=fill, rescale=rescale), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QCopy(LoweredOp):
    """Copy by index. `rescale` is set where a quantized model brings another format for the output."""

    maps: tuple[AxisMap, ...]
    fill: int = 0
    rescale: Rescale | None = None

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact, but for the rounding of a rescaling."""
        y = inputs[0].transpose(0, *(m.source + 1 for m in self.maps))
        for axis, m in enumerate(self.maps, start=1):
            if m.indices != tuple(range(y.shape[axis])):
                y = y.take([max(i, 0) for i in m.indices], axis=axis)
        y = np.array(y if self.rescale is None else self.rescale.apply(y))
        for axis, m in enumerate(self.maps, start=1):
            padding = np.array(m.indices, dtype=np.int64) == FILL
            if padding.any():
                y[(slice(None),) * axis + (padding,)] = self.fill
        return (y,)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Any layout: the axes of input and output move together."""
        maps = (self.maps[axis] for axis in order)
        return replace(self, maps=tuple(replace(m, source=order.index(m.source)) for m in maps))

    def lower(self, c: Lowering) -> Kernel:
        """Template copy.c.j2."""
        return lower_copy(c, self.maps, self.fill, self.rescale)


# --- the loops of a copy ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLoop:
    """One loop: `before` padding elements, `count` iterations `step` input elements apart, `after` padding elements.

    An uneven axis has a `table` of element offsets instead of a step. `before` and `after` count output elements, all
    axes inside included.
    """

    before: int
    count: int
    after: int
    step: int
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyView:
    """Values of codegen_templates/ops/copy.c.j2. `start` is the first element read; `loops` are outermost first."""

    start: int
    loops: tuple[CopyLoop, ...]
    fill: int
    input_zero: int
    requant: CRequant | None


def strides(shape: Shape) -> tuple[int, ...]:
    """Elements between neighbours along each axis."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def merged_loops(loops: list[CopyLoop]) -> tuple[CopyLoop, ...]:
    """Fewer loops for the same walk: an unpadded, evenly spaced axis joins the axis around it where the steps fit."""
    result: list[CopyLoop] = []
    for loop in loops:
        outer = result[-1] if result else None
        plain = not loop.before and not loop.after
        if plain and loop.count == 1:
            continue
        even = plain and outer is not None and not outer.table and not loop.table
        if even and outer is not None and (outer.count == 1 or outer.step == loop.step * loop.count):
            result[-1] = replace(outer, count=outer.count * loop.count, step=loop.step)
        else:
            result.append(loop)
    return tuple(result) or (CopyLoop(before=0, count=1, after=0, step=1),)


def copy_loops(
    maps: tuple[AxisMap, ...], shape: Shape, c: Lowering
) -> tuple[int, tuple[CopyLoop, ...], tuple[CArray, ...]]:
    """(first element read, loops, tables of offsets) for an input of `shape`."""
    steps_of = strides(shape)
    start = 0
    loops: list[CopyLoop] = []
    tables: list[CArray] = []
    for axis, m in enumerate(maps):
        inner = prod(len(other.indices) for other in maps[axis + 1 :])
        core = tuple(i for i in m.indices if i != FILL)
        before = next((n for n, i in enumerate(m.indices) if i != FILL), len(m.indices))
        after = len(m.indices) - before - len(core)
        assert m.indices[before : before + len(core)] == core, "padding inside an axis"
        stride = steps_of[m.source]
        if not core:  # nothing of the input is left
            return 0, (CopyLoop(before=prod(len(o.indices) for o in maps), count=0, after=0, step=1),), ()
        steps = {b - a for a, b in itertools.pairwise(core)}
        if len(steps) <= 1:
            start += core[0] * stride
            step, table = stride * (steps.pop() if steps else 1), ""
        else:
            offsets = tuple(i * stride for i in core)
            name = f"offsets{len(tables)}"
            step, table = 0, c.table(name)
            tables.append(CArray(suffix=name, ctype="uint16_t" if max(offsets) < 2**16 else "uint32_t", values=offsets))
        loops.append(CopyLoop(before=before * inner, count=len(core), after=after * inner, step=step, table=table))
    return start, merged_loops(loops), tuple(tables)


def lower_copy(c: Lowering, maps: tuple[AxisMap, ...], fill: int, rescale: Rescale | None) -> Kernel:
    """Kernel of a copy."""
    start, loops, tables = copy_loops(maps, c.inputs[0].type.shape, c)
    view = CopyView(
        start=start,
        loops=loops,
        fill=fill,
        input_zero=rescale.zero_point if rescale else 0,
        requant=requant_view(rescale.requant, "") if rescale else None,
    )
    return Kernel(template="copy", inputs=c.inputs, outputs=c.outputs, view=view, tables=tables)
