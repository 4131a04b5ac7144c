"""What a layer can be cut into: the units its emitted function computes a range of, from coarse to fine.

Units of a layer write its output one after the other, each the same number of elements (the first and the last may
write padding besides), and none reads what another writes. The grains follow the templates below
`codegen_templates/ops`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from freeml.codegen.program import WHOLE, CLayer, Split
from freeml.ops.argmax import ArgMaxView
from freeml.ops.base import Kernel
from freeml.ops.binary import BinaryView
from freeml.ops.concat import ConcatView
from freeml.ops.conv import ConvView
from freeml.ops.copying import CopyView
from freeml.ops.dense import DenseView
from freeml.ops.logsoftmax import LogSoftmaxView
from freeml.ops.pool import PoolView
from freeml.ops.reducemean import ReduceMeanView
from freeml.ops.softmax import SoftmaxView


def grains(layer: CLayer) -> tuple[Split, ...]:
    """Every way to divide a layer into units, coarse to fine; the first is the layer as a whole."""
    found = [WHOLE]
    for split in _grains(layer):
        if split.units > found[-1].units:
            found.append(split)
    return tuple(found)


def _grains(layer: CLayer) -> Iterator[Split]:
    head, size = layer.head, layer.out.type.size
    view = head.view
    if isinstance(view, ConvView):
        group = view.group_outputs if view.group > 1 and not view.depthwise else 1
        yield from _positions(size, view.out_channels, group)
    elif isinstance(view, DenseView):
        if view.rows == 1:
            yield Split(units=view.out_channels, elements=1)
        else:
            yield from _positions(size, view.out_channels, 1)
    elif isinstance(view, PoolView):
        yield Split(units=size // view.channels, elements=view.channels)
    elif isinstance(view, ConcatView):
        yield Split(units=view.outer, elements=size // view.outer)
    elif isinstance(view, (SoftmaxView, LogSoftmaxView, ArgMaxView)):
        yield Split(units=view.rows.outer, elements=size // view.rows.outer)
    elif isinstance(view, CopyView):
        yield from _copy(view, size)
    elif isinstance(view, ReduceMeanView):
        yield from _nested([loop.count for loop in view.kept])
    elif head.elementwise:
        yield from _elementwise(head, size)


def _positions(size: int, channels: int, group: int) -> Iterator[Split]:
    """Pixels, then blocks of a pixel's channels: divisors of their number, whole groups each."""
    positions = size // channels
    yield Split(units=positions, elements=channels)
    for block in range(channels - 1, 0, -1):
        if channels % block == 0 and block % group == 0:
            yield Split(units=positions * (channels // block), elements=block, block=block)


def _nested(extents: Sequence[int], *, lead: int = 0, inner: int = 1, depths: int | None = None) -> Iterator[Split]:
    """Nested loops cut at each depth; `inner` elements are written inside the innermost."""
    for depth in range(1, (depths or len(extents)) + 1):
        elements = prod(extents[depth:]) * inner
        yield Split(units=prod(extents[:depth]), elements=elements, depth=depth, lead=lead)


def _copy(view: CopyView, size: int) -> Iterator[Split]:
    outer = view.loops[0]
    if outer.count == 0:
        return
    lead = outer.before
    inner = (size - lead - outer.after) // outer.count
    yield Split(units=outer.count, elements=inner, depth=1, lead=lead, tail=outer.after)
    if lead or outer.after:
        return
    units = outer.count
    for depth, loop in enumerate(view.loops[1:], start=2):
        if loop.before or loop.after:
            return  # padding between units would make them unequal
        units *= loop.count
        yield Split(units=units, elements=size // units, depth=depth)


def _elementwise(head: Kernel, size: int) -> Iterator[Split]:
    if isinstance(head.view, BinaryView) and not head.view.aligned:
        yield from _nested([axis.extent for axis in head.view.axes])
    elif head.channels is not None:
        yield Split(units=size // head.channels.inner, elements=head.channels.inner)
    else:
        yield Split(units=size, elements=1)
