"""Events of the layers that are no products with weights: pools, copies, means, softmax, elementwise operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import prod

from freeml.ops.answer import AnswerView
from freeml.ops.argmax import ArgMaxView
from freeml.ops.base import Kernel
from freeml.ops.binary import BinaryView
from freeml.ops.clip import QClip
from freeml.ops.concat import ConcatView
from freeml.ops.copying import CopyView
from freeml.ops.logsoftmax import LogSoftmaxView
from freeml.ops.pool import PoolView
from freeml.ops.prelu import PReluView
from freeml.ops.reducemean import ReduceMeanView
from freeml.ops.softmax import SoftmaxView
from freeml.plan.counting import SHORT, Events, count_requant, digits, element_reach, spans, width
from freeml.plan.reach import UNKNOWN, Reach, stage_reaches, type_reach


def _pool(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, PoolView)
    p = view.plane
    down = spans(p.in_h, p.out_h, p.kernel_h, p.stride_h, p.dilation_h, p.top)
    across = spans(p.in_w, p.out_w, p.kernel_w, p.stride_w, p.dilation_w, p.left)
    outputs = p.out_h * p.out_w * view.channels
    tap_rows = sum(last - first for first, last in down)
    columns = Counter(last - first for first, last in across)
    tap_columns = sum(inside * times for inside, times in columns.items())
    name = f"pool.{view.kind}"
    found[f"{name}.windows"] += p.out_h * p.out_w
    found[f"{name}.outputs" if p.taps > 1 else f"{name}.outputs.one"] += outputs
    taps = tap_rows * tap_columns * view.channels
    found[f"{name}.taps.{width(kernel)}"] += taps
    if view.kind == "average" and view.input_zero:
        found[f"{name}.zero"] += taps
    if p.kernel_h > 1:
        trips = _trips(p.out_h, (p.out_h - 1) * p.stride_h - p.top + (p.kernel_h - 1) * p.dilation_h, p.in_h, p.top)
        found[f"{name}.rows.{trips}"] += tap_rows * p.out_w * view.channels
    if p.kernel_w > 1:
        trips = _trips(p.out_w, (p.out_w - 1) * p.stride_w - p.left + (p.kernel_w - 1) * p.dilation_w, p.in_w, p.left)
        found[f"{name}.taps.{trips}"] += taps
        if view.channels > 1 and p.out_w > 1:  # where pointers do not walk, a tap's address is a product
            found[f"{name}.taps.digits{digits(view.channels)}"] += taps
    if view.kind == "max":
        rows = Counter(last - first for first, last in down)
        raised = sum(_raised(h * w) * n * m for h, n in rows.items() for w, m in columns.items())
        found[f"{name}.raised"] += round(raised * view.channels)
    reach = UNKNOWN if p.taps > 1 else element_reach(kernel.inputs[0].ctype, view.input_zero)
    count_requant(found, view.requant, outputs, reach=reach)


def _trips(windows: int, last: int, extent: int, before: int) -> str:
    """What compilers see of how many taps of a window lie in the map, whose last one is at `last` along an axis.

    Where the last window ends with the map some find out too late to make use of it.
    """
    if windows == 1 or (before == 0 and last + 1 < extent):
        return "known"
    return "touching" if before == 0 and last + 1 == extent else "clipped"


def _raised(count: int) -> float:
    """How often a maximum grows over so many numbers in random order, the first one included."""
    return sum(1 / n for n in range(1, count + 1))


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
        found[f"copied.{how}.{width(kernel)}" if last else f"copy.rows.{how}"] += outer
    count_requant(found, view.requant, outer, reach=element_reach(kernel.inputs[0].ctype, view.input_zero))


def _concat(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, ConcatView)
    for part in view.parts:
        found["concat.runs"] += view.outer
        found[f"concat.copied.{width(kernel)}"] += view.outer * part.run
        count_requant(found, part.requant, view.outer * part.run, reach=element_reach(part.ctype, part.input_zero))


def _reducemean(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, ReduceMeanView)
    outputs = prod(loop.count for loop in view.kept)
    if all(loop.count == 1 for loop in view.reduced):  # a mean of one number is that number
        found["mean.copied"] += outputs
        return
    found["mean.outputs"] += outputs
    inner = outputs
    for loop in view.reduced[:-1]:
        inner *= loop.count
        found["mean.rows"] += inner
    short = "" if view.reduced[-1].count > SHORT else ".short"
    found[f"mean.added.{width(kernel)}{short}"] += inner * view.reduced[-1].count
    if view.reduced[-1].step != 1:
        found["mean.added.strided"] += inner * view.reduced[-1].count
    count_requant(found, view.requant, outputs)


def _softmax(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, (SoftmaxView, LogSoftmaxView))
    rows = view.rows.outer * view.rows.inner
    name = "softmax" if isinstance(view, SoftmaxView) else "logsoftmax"
    found[f"{name}.rows"] += rows
    found[f"{name}.elements.{width(kernel)}"] += rows * view.rows.length
    if view.rows.inner != 1:
        found[f"{name}.elements.strided"] += rows * view.rows.length
    count_requant(found, view.requant, rows * view.rows.length)
    if isinstance(view, LogSoftmaxView):
        count_requant(found, view.logarithm, rows)


def _argmax(found: Events, kernel: Kernel) -> None:
    view = kernel.view
    assert isinstance(view, ArgMaxView)
    rows = view.rows.outer * view.rows.inner
    found["argmax.rows"] += rows
    short = "" if view.rows.length > SHORT else ".short"
    found[f"argmax.elements.{width(kernel)}{short}"] += rows * view.rows.length
    if view.rows.inner != 1:
        found[f"argmax.elements.digits{digits(view.rows.inner)}"] += rows * view.rows.length
    found["argmax.raised"] += round(rows * (_raised(view.rows.length) - 1))


def elementwise(found: Events, kernel: Kernel) -> Reach:
    """A loop of its own around one elementwise operator; returns the reach of its results."""
    count = kernel.outputs[0].type.size
    shape = "even"
    if isinstance(kernel.view, BinaryView) and not kernel.view.aligned:
        shape, outer = "broadcast", 1
        for axis in kernel.view.axes[:-1]:
            outer *= axis.extent
            found["broadcast.turns"] += outer
        found["broadcast.rows"] += outer
        inner = kernel.view.axes[-1]
        for stride in inner.strides:  # what stays the same is read before the innermost loop
            found["broadcast.read"] += count if stride else outer
    if kernel.channels is not None:
        shape = "channels"
        found["map.channels"] += kernel.channels.outer * kernel.channels.channels
    found[f"map.{kernel.template}.{width(kernel)}"] += count
    found[f"map.{shape}"] += count
    return numbers(found, kernel, count, type_reach(kernel.inputs[0].ctype), fused=False)


def numbers(found: Events, kernel: Kernel, count: int, v: Reach, *, fused: bool = True) -> Reach:
    """An elementwise operator on `count` numbers that reach `v`; returns the reach of its results."""
    view = kernel.view
    # Two sides with equal shifts become one piece of code.
    merged = isinstance(view, PReluView) and view.positive.shift == view.negative.shift
    if fused or merged:
        found[f"{'each' if fused else 'map'}.{kernel.template}{'.merged' if merged else ''}"] += count
    requants, result = stage_reaches(kernel, v)
    if isinstance(view, PReluView):
        # Which side a number falls on is unknown: half of them on either.
        shares: tuple[int, ...] = (count - count // 2, count // 2)
    else:
        shares = (count,) * len(requants)
    if isinstance(view, BinaryView):
        _products(found, kernel, view, count)
    if isinstance(view, QClip):
        result = (max(v[0], view.low), min(v[1], view.high))
        found["clip.halves"] += count * ((v[0] < view.low) + (v[1] > view.high))
        found["clip.both"] += count * (v[0] < view.low and v[1] > view.high)
        found["clip.zero"] += count * (view.low == 0 or view.high == 0)
    for (requant, reach), share in zip(requants, shares, strict=True):
        count_requant(found, requant, share, reach=reach)
    return result


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


def _answer(found: Events, kernel: Kernel) -> None:
    """Looking for the largest and the second largest score is about what two arg-maxima are."""
    classes = kernel.inputs[0].type.size
    short = "" if classes > SHORT else ".short"
    found["argmax.rows"] += 2
    found[f"argmax.elements.{width(kernel)}{short}"] += 2 * classes
    found["argmax.raised"] += round(2 * (_raised(classes) - 1))


ALONE: dict[type, Callable[[Events, Kernel], None]] = {
    PoolView: _pool,
    CopyView: _copy,
    ConcatView: _concat,
    ReduceMeanView: _reducemean,
    SoftmaxView: _softmax,
    LogSoftmaxView: _softmax,
    ArgMaxView: _argmax,
    AnswerView: _answer,
}
