"""What the counting of a layer's events is made of: requantizations, spans of windows, names."""

from __future__ import annotations

from collections import Counter

from freeml.ops.base import CRequant, Kernel
from freeml.plan.reach import UNKNOWN, Reach, requant_clamps, type_reach

Events = Counter[str]
"""How often each event happens in one run of a layer."""

SHORT = 3
"""Turns of a loop that compilers write out instead."""

SHIFTS = range(31)
"""Bits that a requantization may shift by."""


def shift_event(shift: int) -> str:
    """A rounding shift by so many bits: without a barrel shifter each number of them has its own cost."""
    return f"requant.shift{shift:02}"


def count_requant(
    found: Events, view: CRequant | None, count: int, *, wide: bool = False, reach: Reach = UNKNOWN
) -> None:
    """`count` requantizations of numbers that reach `reach`; their cost depends on the shifts on a processor without a
    barrel shifter."""
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
    if view.zero_point:
        found["requant.zero"] += count
    for part in requant_clamps(view, reach):
        found[f"requant.clamp.{part}"] += count


def spans(extent: int, out: int, kernel: int, stride: int, dilation: int, before: int) -> list[tuple[int, int]]:
    """[first, last) taps inside the map, of every window along one axis."""
    found = []
    for position in range(out):
        start = position * stride - before
        inside = [tap for tap in range(kernel) if 0 <= start + tap * dilation < extent]
        found.append((inside[0], inside[-1] + 1) if inside else (kernel, kernel))
    return found


def digits(factor: int) -> int:
    """Additions and subtractions that a multiplication by a constant is made of; from three on it is a call."""
    return min(3, (factor ^ 3 * factor).bit_count())


def element_reach(ctype: str, zero: int) -> Reach:
    """That of an element of a tensor less its zero point."""
    low, high = type_reach(ctype)
    return low - zero, high - zero


def width(kernel: Kernel) -> str:
    """C type of a kernel's first input, in short: int8."""
    return kernel.inputs[0].ctype.removesuffix("_t")
