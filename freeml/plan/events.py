"""What a layer does, counted: windows gathered, elements copied, dot products, requantizations, loop turns.

The counts follow the loops of the templates below `codegen_templates/ops` and are exact, but for what depends on the
values (a clamp's branch, say). They know no board; `freeml.plan.cost` gives each event its price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Protocol

from freeml.ir.types import ITEM_BYTES
from freeml.ops.argmax import ArgMaxView
from freeml.ops.base import CRequant, Kernel
from freeml.ops.binary import BinaryView
from freeml.ops.concat import ConcatView
from freeml.ops.conv import ConvView
from freeml.ops.copying import CopyView
from freeml.ops.dense import DenseView
from freeml.ops.logsoftmax import LogSoftmaxView
from freeml.ops.pool import PoolView
from freeml.ops.prelu import PReluView
from freeml.ops.reducemean import ReduceMeanView
from freeml.ops.softmax import SoftmaxView
from freeml.ops.windows import Plane

Events = Counter[str]
"""How often each event happens in one run of a layer."""

SHORT = 3
"""Turns of a loop that compilers write out instead."""

WORDS_PAY = 4
"""Elements from which on a port's copy may go by words."""


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
    result = []
    for layer in layers:
        view = _gathering(layer)
        # A function that one place calls is merged into it, and what that place knows makes it cheaper.
        gather = "gather" if view and gathering[view.suffix] > 1 else "gather.merged"
        result.append(_layer_events(layer, gather))
    return tuple(result)


def _gathering(layer: LayerKernels) -> ConvView | None:
    view = layer.head.view
    return view if isinstance(view, ConvView) and view.gathers else None


def _layer_events(layer: LayerKernels, gather: str) -> Events:
    """Events of one layer; `gather` is what those of gathering windows are called."""
    head = layer.head
    found: Events = Counter({"layer": 1})
    if isinstance(head.view, ConvView):
        outputs = _conv(found, layer, head.view, gather)
    elif isinstance(head.view, DenseView):
        outputs = _dense(found, head, head.view)
    else:
        outputs = head.outputs[0].type.size
        _ALONE.get(type(head.view), _elementwise)(found, head)
    for kernel, _ in layer.elementwise:
        _numbers(found, kernel, outputs)
    return +found  # without those that never happen


SHIFTS = range(31)


def shift_event(shift: int) -> str:
    """A rounding shift by so many bits: without a barrel shifter each number of them has its own cost."""
    return f"requant.shift{shift:02}"


def _requant(found: Events, view: CRequant | None, count: int, *, wide: bool = False) -> None:
    """`count` requantizations; their cost depends on the shifts on a processor without a barrel shifter."""
    if view is None or count == 0:
        return
    # 64-bit accumulators take the wide form, and so does a multiplier that must be applied after dropping bits.
    found["requant.wide" if wide or view.pre_shift < 0 else "requant"] += count
    if view.pre_shift:
        found["requant.pre"] += count
        found["requant.pre.bits"] += count * abs(view.pre_shift)
    found[shift_event(view.shift)] += count
    found["requant.bits"] += count * view.shift
    if "[" in view.multiplier:
        found["requant.by_channel"] += count


def _dot(found: Events, name: str, depth: int, count: int, *, strided: bool) -> None:
    """`count` dot products of `depth` pairs. Loops are unrolled by 16, 8 or 4 where a port brings its own."""
    if strided:
        found[f"dot.strided.{name}"] += count
        found[f"dot.strided.{name}.macs"] += count * depth
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


# --- convolutions and dense layers -----------------------------------------------------------------------------------


def _spans(extent: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> list[tuple[int, int]]:
    """[first, last) taps inside the map, of every window along one axis."""
    spans = []
    for position in range(out):
        start = position * stride - before
        inside = [tap for tap in range(kernel) if 0 <= start + tap * dilation < extent]
        spans.append((inside[0], inside[-1] + 1) if inside else (kernel, kernel))
    return spans


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
    _dot(found, view.dot, view.depth, outputs, strided=view.depthwise)
    if not view.depthwise:
        _far(found, layer.head, view.depth, outputs)
    if pool is None:
        _requant(found, view.requant, outputs, wide=view.wide)
        found["conv.stores"] += outputs
        return outputs
    assert isinstance(pool.view, PoolView)
    pooled = q.out_h * q.out_w * view.out_channels
    found[f"pooled.{pool.view.kind}"] += outputs
    found["pooled.outputs"] += pooled
    found["pooled.windows"] += q.out_h * q.out_w
    if layer.pool_accumulators:
        _requant(found, view.requant, pooled)
    else:
        _requant(found, view.requant, outputs, wide=view.wide)
        _requant(found, pool.view.requant, pooled)
    return outputs


def _gather(found: Events, view: ConvView, rows: Counter[int], columns: Counter[int], calls: int, name: str) -> None:
    """fm_gather: the same loops, counted by what each row and column position does."""
    p = view.plane
    down = _spans(p.in_h, p.out_h, p.kernel_h, p.stride_h, p.dilation_h, p.top)
    across = _spans(p.in_w, p.out_w, p.kernel_w, p.stride_w, p.dilation_w, p.left)
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
            copy = f"copy.{view.suffix}" + (".short" if run < WORDS_PAY else ".even" if even else "")
            found[name] += times
            found[f"{name}.trims"] += times * (p.kernel_w - width)
            found[f"{name}.rows"] += times * valid
            found[f"{name}.rows.outside"] += times * (p.kernel_h - valid)
            found[f"{name}.filled"] += times * filled
            found[copy] += times * valid * (1 if joined else width)
            found[f"{copy}.elements"] += times * valid * width * view.group_channels


def _dense(found: Events, head: Kernel, view: DenseView) -> int:
    outputs = view.rows * view.out_channels
    found["dense.rows"] += view.rows
    found["dense.outputs"] += outputs
    _dot(found, view.dot, view.depth, outputs, strided=False)
    _far(found, head, view.depth, outputs)
    _requant(found, view.requant, outputs, wide=view.wide)
    return outputs


# --- everything else --------------------------------------------------------------------------------------------------


def _pool(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, PoolView)
    p = view.plane
    down = _spans(p.in_h, p.out_h, p.kernel_h, p.stride_h, p.dilation_h, p.top)
    across = _spans(p.in_w, p.out_w, p.kernel_w, p.stride_w, p.dilation_w, p.left)
    outputs = p.out_h * p.out_w * view.channels
    tap_rows = sum(last - first for first, last in down)
    taps = tap_rows * sum(last - first for first, last in across)
    name = f"pool.{view.kind}"
    found[f"{name}.windows"] += p.out_h * p.out_w
    found[f"{name}.outputs"] += outputs
    found[f"{name}.rows"] += tap_rows * p.out_w * view.channels
    found[f"{name}.taps.{_width(kernel)}"] += taps * view.channels
    _requant(found, view.requant, outputs)


def _copy(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, CopyView)
    outer = 1
    for depth, loop in enumerate(view.loops):
        last = depth + 1 == len(view.loops)
        found["copy.filled"] += outer * (loop.before + loop.after)
        found["copy.loops"] += outer
        outer *= loop.count
        how = "table" if loop.table else "plain" if loop.step == 1 else "step"
        how += "" if loop.count > SHORT else ".short"
        found[f"copied.{how}.{_width(kernel)}" if last else f"copy.rows.{how}"] += outer
    _requant(found, view.requant, outer)


def _concat(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, ConcatView)
    for part in view.parts:
        found["concat.runs"] += view.outer
        found[f"concat.copied.{_width(kernel)}"] += view.outer * part.run
        _requant(found, part.requant, view.outer * part.run)


def _reducemean(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, ReduceMeanView)
    outputs = prod(loop.count for loop in view.kept)
    found["mean.outputs"] += outputs
    inner = outputs
    for loop in view.reduced[:-1]:
        inner *= loop.count
        found["mean.rows"] += inner
    found[f"mean.added.{_width(kernel)}"] += inner * view.reduced[-1].count
    _requant(found, view.requant, outputs)


def _softmax(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, (SoftmaxView, LogSoftmaxView))
    rows = view.rows.outer * view.rows.inner
    name = "softmax" if isinstance(view, SoftmaxView) else "logsoftmax"
    found[f"{name}.rows"] += rows
    found[f"{name}.elements"] += rows * view.rows.length
    _requant(found, view.requant, rows * view.rows.length)
    if isinstance(view, LogSoftmaxView):
        _requant(found, view.logarithm, rows)


def _argmax(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, ArgMaxView)
    rows = view.rows.outer * view.rows.inner
    found["argmax.rows"] += rows
    short = "" if view.rows.length > SHORT else ".short"
    found[f"argmax.elements.{_width(kernel)}{short}"] += rows * view.rows.length


def _elementwise(found: Events, kernel: Kernel) -> None:
    """A loop of its own around one elementwise operator."""
    count = kernel.outputs[0].type.size
    shape = "even"
    if isinstance(kernel.view, BinaryView) and not kernel.view.aligned:
        shape, outer = "broadcast", 1
        for axis in kernel.view.axes[:-1]:
            outer *= axis.extent
            found["broadcast.turns"] += outer
    if kernel.channels is not None:
        shape = "channels"
        found["map.channels"] += kernel.channels.outer * kernel.channels.channels
    found[f"map.{kernel.template}.{shape}.{_width(kernel)}"] += count
    _numbers(found, kernel, count, fused=False)


def _numbers(found: Events, kernel: Kernel, count: int, *, fused: bool = True) -> None:
    """An elementwise operator on `count` numbers."""
    view = kernel.view
    # Two sides with equal shifts become one piece of code.
    merged = isinstance(view, PReluView) and view.positive.shift == view.negative.shift
    if fused or merged:
        found[f"{'each' if fused else 'map'}.{kernel.template}{'.merged' if merged else ''}"] += count
    if isinstance(view, PReluView):
        # Which side a number falls on is unknown: half of them on either.
        _requant(found, view.positive, count - count // 2)
        _requant(found, view.negative, count // 2)
        return
    if isinstance(view, BinaryView):
        _products(found, kernel, view, count)
    for name in ("requant", "gate", "line"):
        _requant(found, getattr(view, name, None), count)


def _products(found: Events, kernel: Kernel, view: BinaryView, count: int) -> None:
    """Products by the two factors of a sum: one where they are equal, a shift where one is a power of two, and once for
    all turns of the innermost loop where the operand stays the same there."""
    inner = view.axes[-1] if view.axes and not view.aligned else None
    changing: set[int] = set()
    staying: set[int] = set()
    for index, (factor, operand) in enumerate(zip(view.factors, kernel.inputs, strict=True)):
        if abs(factor).bit_count() < 2 or operand.type.size == 1:
            continue
        (changing if inner is None or inner.strides[index] else staying).add(abs(factor))
    found["multiplied"] += count * len(changing)
    if inner is not None:
        found["multiplied"] += count // inner.extent * len(staying)


def _width(kernel: Kernel) -> str:
    return kernel.inputs[0].ctype.removesuffix("_t")


_ALONE: dict[type, Callable[[Events, Kernel], None]] = {
    PoolView: _pool,
    CopyView: _copy,
    ConcatView: _concat,
    ReduceMeanView: _reducemean,
    SoftmaxView: _softmax,
    LogSoftmaxView: _softmax,
    ArgMaxView: _argmax,
}
