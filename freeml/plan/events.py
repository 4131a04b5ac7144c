"""What a layer does, counted: windows gathered, elements copied, dot products, requantizations, loop turns.

The counts follow the loops of the templates below `codegen_templates/ops` and are exact, but for what depends on the
values (a clamp's branch, say). They know no board; `freeml.plan.cost` gives each event its price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Protocol

from freeml.ir.types import ITEM_BYTES
from freeml.ops.base import CRequant, Kernel
from freeml.ops.concat import ConcatView
from freeml.ops.conv import ConvView
from freeml.ops.dense import DenseView
from freeml.ops.pool import PoolView
from freeml.ops.storage import BLOCK, Packed, Sparse
from freeml.ops.windows import Plane
from freeml.plan.counting import Events, count_requant, spans
from freeml.plan.others import ALONE, elementwise, numbers
from freeml.plan.reach import type_reach

WORDS_PAY = 4
"""Elements from which on a port's copy may go by words."""

PER_WINDOW = ("gather", "copy.s8", "copy.s16", "conv.windows", "pooled.windows")
"""How the events begin that a window causes by itself."""


class LayerKernels(Protocol):
    """What the C program says of an emitted layer function."""

    @property
    def head(self) -> Kernel:
        """The loop nest."""

    @property
    def elementwise(self) -> Sequence[tuple[Kernel, str]]:
        """Stages on its numbers."""

    @property
    def pool(self) -> Kernel | None:
        """The pool that consumes them, where there is one."""

    @property
    def pool_accumulators(self) -> bool:
        """Whether it takes the largest accumulator instead of the largest output."""


def events_by_layer(layers: Sequence[LayerKernels]) -> tuple[Events, ...]:
    """Events of every layer of a program, in its order."""
    gathering = Counter(view.suffix for layer in layers if (view := _gathering(layer)))
    requants = [requant for layer in layers for kernel in _kernels(layer) for requant in _requants(kernel.view)]
    merged = len(requants) <= MERGED
    # An argument that is the same in every call is not passed.
    passed = [name for name in PASSED if not merged and len({getattr(requant, name) for requant in requants}) > 1]
    result = []
    for layer in layers:
        view = _gathering(layer)
        # A function that one place calls is merged into it, and what that place knows makes it cheaper.
        gather = "gather" if view and gathering[view.suffix] > 1 else "gather.merged"
        found = _layer_events(layer, gather)
        for name in passed:
            found[f"requant.passed.{name}"] = found["requant"] + found["requant.wide"]
        if merged:
            found["requant.merged"] = found.pop("requant", 0)
        result.append(+found)  # without those that never happen
    return tuple(result)


MERGED = 2
"""Calls of fm_requant up to which compilers that optimise for size still write it out in each place."""

PASSED = ("pre_shift", "shift", "zero_point", "low", "high")
"""Arguments of fm_requant that may be the same in all of a program."""


def _kernels(layer: LayerKernels) -> list[Kernel]:
    return [layer.head, *(kernel for kernel, _ in layer.elementwise), *([layer.pool] if layer.pool else [])]


def _requants(view: object) -> Iterator[CRequant]:
    """The requantizations in an operator's view: one call each."""
    if isinstance(view, ConcatView):
        yield from (part.requant for part in view.parts if part.requant)
        return
    for field in fields(view):  # type: ignore[arg-type]
        if isinstance(value := getattr(view, field.name), CRequant):
            yield value


def _gathering(layer: LayerKernels) -> ConvView | None:
    view = layer.head.view
    return view if isinstance(view, ConvView) and view.gathers else None


def per_window(events: Events) -> Events:
    """Those events of a convolution that happen for a window whatever the number of its output channels."""
    return Counter({name: count for name, count in events.items() if name.startswith(PER_WINDOW)})


def per_region(layer: LayerKernels) -> Events:
    """Events of a layer that every call of its function causes, whatever part of the layer it computes."""
    found: Events = Counter()
    if len(layer.head.inputs) > 1 and layer.head.inputs[1].whole:
        _unpacked(found, layer.head, 0, 0)
    return +found


def _layer_events(layer: LayerKernels, gather: str) -> Events:
    """Events of one layer; `gather` is what those of gathering windows are called."""
    head = layer.head
    found: Events = Counter({"layer": 1})
    if isinstance(head.view, ConvView):
        outputs = _conv(found, layer, head.view, gather)
        reach = (head.view.requant.low, head.view.requant.high)
    elif isinstance(head.view, DenseView):
        outputs = _dense(found, head, head.view)
        reach = (head.view.requant.low, head.view.requant.high)
    elif alone := ALONE.get(type(head.view)):
        outputs, reach = head.outputs[0].type.size, type_reach(head.outputs[0].ctype)
        alone(found, head)
    else:
        outputs = head.outputs[0].type.size
        reach = elementwise(found, head)
    for kernel, _ in layer.elementwise:
        reach = numbers(found, kernel, outputs, reach)
    return found


def _dot(found: Events, name: str, depth: int, count: int, *, strided: bool) -> None:
    """`count` dot products of `depth` pairs. Loops are unrolled by 16, 8 or 4 where a port brings its own."""
    if strided and depth == 1:  # no loop is left of it
        found[f"dot.strided.{name}.one"] += count
        return
    if strided or name.endswith("_wide"):  # a loop of one product a turn
        kind = f"dot.strided.{name}" if strided else f"dot.{name}"
        found[kind] += count
        found[f"{kind}.macs"] += count * depth
        return
    found[f"dot.{name}"] += count
    found[f"dot.{name}.by16"] += count * (depth // 16)
    found[f"dot.{name}.by8"] += count * (depth // 8)
    found[f"dot.{name}.by4"] += count * (depth % 16 // 4)
    found[f"dot.{name}.over8"] += count * (depth % 8)
    found[f"dot.{name}.over4"] += count * (depth % 4)
    if depth % 8 == 0:
        found[f"dot.{name}.even8"] += count


def _far(found: Events, kernel: Kernel, row: int, count: int) -> None:
    """`count` rows of `row` weights fetched from beyond the reach of pointers."""
    weights = kernel.inputs[1]
    if weights.far_address is None:
        return
    row_bytes = row * ITEM_BYTES[weights.type.dtype]
    found["far"] += count
    # Words only where address and length are even throughout; otherwise every other row at least goes by bytes.
    even = row_bytes % 2 == 0 and weights.far_address % 2 == 0
    found["far.words" if even else "far.bytes"] += count * (row_bytes // 2 if even else row_bytes)


def _products(found: Events, kernel: Kernel, view: ConvView | DenseView, outputs: int, *, strided: bool) -> None:
    """The dot products of a layer, and bringing their weights to where they are read."""
    weights = kernel.inputs[1]
    if isinstance(weights.packed, Sparse):
        _sparse(found, weights.packed, view.dot, view.depth, weights.type.shape[0], outputs)
        return
    _dot(found, view.dot, view.depth, outputs, strided=strided)
    if not strided:
        _far(found, kernel, view.depth, outputs)
    _unpacked(found, kernel, view.depth, outputs)


def _unpacked(found: Events, kernel: Kernel, row: int, outputs: int) -> None:
    """Packed weights brought to SRAM: all of them once, or a row of `row` for each of so many outputs."""
    weights = kernel.inputs[1]
    if isinstance(weights.packed, Packed):
        times, count = (1, weights.type.size) if weights.packed.whole else (outputs, row)
        name, each = f"unpack{weights.packed.bits}", 8 // weights.packed.bits
        found[name] += times
        found[f"{name}.bytes"] += times * (count // each)
        found[f"{name}.rest"] += times * (count % each)


def _sparse(found: Events, sparse: Sparse, name: str, row: int, rows: int, outputs: int) -> None:
    """Dot products with weights without their zeros."""
    found[f"sparse.{sparse.kind}.{name}"] += outputs
    found[f"sparse.{sparse.kind}.{name}.entries"] += sparse.entries * (outputs // rows)
    if sparse.kind == "bitmap":
        found[f"sparse.bitmap.{name}.bytes"] += outputs * sparse.row_bytes(row)
    if sparse.kind == "block":
        found[f"sparse.block.{name}.blocks"] += outputs * (row // BLOCK)
        if row % BLOCK:  # what fills no block is a dot product of its own
            _dot(found, name, row % BLOCK, outputs, strided=False)


# --- convolutions and dense layers -----------------------------------------------------------------------------------


def _pooled(out: int, plane: Plane, axis: str) -> Counter[int]:
    """How often each position of the convolution's output is computed under a pool (windows may overlap)."""
    stride, kernel, before, extent = (
        (plane.stride_h, plane.kernel_h, plane.top, plane.in_h)
        if axis == "h"
        else (plane.stride_w, plane.kernel_w, plane.left, plane.in_w)
    )
    times: Counter[int] = Counter()
    for position in range(out):
        start = position * stride - before
        times.update(range(max(start, 0), min(start + kernel, extent)))
    return times


def _conv(found: Events, layer: LayerKernels, view: ConvView, gather: str) -> int:
    """Events of a convolution, pooled or not; returns how many numbers its elementwise stages see."""
    p, pool = view.plane, layer.pool
    if pool is None:
        rows, columns = Counter(range(p.out_h)), Counter(range(p.out_w))
    else:
        assert isinstance(pool.view, PoolView)
        q = pool.view.plane
        rows, columns = _pooled(q.out_h, q, "h"), _pooled(q.out_w, q, "w")
    windows = rows.total() * columns.total()
    outputs = windows * view.out_channels
    found["conv.rows"] += rows.total() if pool is None else q.out_h * q.out_w
    found["conv.windows"] += windows
    if view.gathers:
        calls = 1 if view.group == 1 or view.depthwise else view.group
        _gather(found, view, rows, columns, calls, gather)
        found["conv.groups"] += windows * (0 if view.group == 1 or view.depthwise else view.group)
    kind = "depthwise" if view.depthwise else "conv"
    found[f"{kind}.outputs"] += outputs
    if not view.gathers:
        found[f"{kind}.outputs.direct"] += outputs
    _products(found, layer.head, view, outputs, strided=view.depthwise)
    if pool is None:
        count_requant(found, view.requant, outputs, wide=view.wide)
        found["conv.stores"] += outputs
        return outputs
    assert isinstance(pool.view, PoolView)
    if view.wide:  # a loop within the layer's own, to which a pool leaves fewer registers
        found["dot.wide.pooled.macs"] += outputs * view.depth
    pooled = q.out_h * q.out_w * view.out_channels
    found[f"pooled.{pool.view.kind}"] += outputs
    found["pooled.outputs"] += pooled
    found["pooled.windows"] += q.out_h * q.out_w
    if layer.pool_accumulators:
        count_requant(found, view.requant, pooled)
    else:
        count_requant(found, view.requant, outputs, wide=view.wide)
        count_requant(found, pool.view.requant, pooled)
    return outputs


def _gather(found: Events, view: ConvView, rows: Counter[int], columns: Counter[int], calls: int, name: str) -> None:
    """fm_gather: the same loops, counted by what each row and column position does."""
    p = view.plane
    down = spans(p.in_h, p.out_h, p.kernel_h, p.stride_h, p.dilation_h, p.top)
    across = spans(p.in_w, p.out_w, p.kernel_w, p.stride_w, p.dilation_w, p.left)
    joined = p.dilation_w * p.channels == view.group_channels
    kernel_row = p.kernel_w * view.group_channels
    even = p.channels % 2 == 0 and view.group_channels % 2 == 0  # then bytes lie evenly, and words do
    for y, times_y in rows.items():
        inside = down[y][1] - down[y][0]
        for x, times_x in columns.items():
            first, last = across[x]
            width, times = last - first, times_y * times_x * calls
            valid = inside if width else 0
            run = (width if joined else 1) * view.group_channels
            filled = (p.kernel_h - valid) * kernel_row + valid * (p.kernel_w - width) * view.group_channels
            elements = f"copy.{view.suffix}.elements"
            if view.suffix == "s8":
                elements += ".short" if run < WORDS_PAY else ".even" if even else ""
            runs = times * valid * (1 if joined else width)
            found[name] += times
            found[f"{name}.trims"] += times * (p.kernel_w - width)
            found[f"{name}.rows"] += times * valid
            found[f"{name}.rows.outside"] += times * (p.kernel_h - valid)
            found[f"{name}.filled"] += times * filled
            found[f"copy.{view.suffix}"] += runs
            found[f"{name}.taps"] += 0 if joined else runs
            found[f"copy.{view.suffix}.long"] += runs if run >= WORDS_PAY else 0
            found[elements] += times * valid * width * view.group_channels


def _dense(found: Events, head: Kernel, view: DenseView) -> int:
    outputs = view.rows * view.out_channels
    found["dense.rows"] += view.rows
    found["dense.outputs"] += outputs
    _products(found, head, view, outputs, strided=False)
    count_requant(found, view.requant, outputs, wide=view.wide)
    return outputs
