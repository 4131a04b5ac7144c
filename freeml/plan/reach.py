"""What a compiler can prove of the numbers of a loop: it leaves out the halves of a clamp that no number can reach."""

from __future__ import annotations

from freeml.ops.base import CRequant, Kernel
from freeml.ops.binary import BinaryView
from freeml.ops.hardsigmoid import HardSigmoidView
from freeml.ops.hardswish import HardSwishView
from freeml.ops.prelu import PReluView

Reach = tuple[int, int]
"""The least and the largest value that a number can have."""

UNKNOWN: Reach = (-(2**31), 2**31 - 1)
"""That of an accumulator of a loop."""


def type_reach(ctype: str) -> Reach:
    """Of a C integer type, `int8_t` say."""
    bits = int("".join(letter for letter in ctype if letter.isdigit()))
    return (0, 2**bits - 1) if ctype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def requant_clamps(view: CRequant, reach: Reach) -> tuple[str, ...]:
    """What is left of a requantization's clamp in its code.

    `signed` and `unsigned` are clamps that an instruction for saturation may do, `both` any other. `low` and `high` are
    the halves that some number can reach: compilers that see that none can leave a half out.
    """
    multipliers = type_reach("int32_t") if not view.multiplier.isdecimal() else (int(view.multiplier),) * 2
    shift, half = max(view.pre_shift, 0), 1 << (view.shift - 1)
    ends = (min(max(end << shift, UNKNOWN[0]), UNKNOWN[1]) for end in reach)
    products = [(end * multiplier) >> 32 for end in ends for multiplier in multipliers]
    least, largest = (((p + half) >> view.shift) + view.zero_point for p in (min(products), max(products)))
    halves = ("low",) * (least < view.low) + ("high",) * (largest > view.high)
    if (view.high - view.low + 1).bit_count() == 1:
        if view.zero_point == 0 and view.low == -view.high - 1:
            return ("signed",) if len(halves) == 2 else halves
        if view.zero_point == view.low:
            return ("unsigned", *halves)
    return ("both", *halves)


def stage_reaches(kernel: Kernel, v: Reach) -> tuple[tuple[tuple[CRequant, Reach], ...], Reach]:
    """An elementwise operator on numbers that reach `v`: what each of its requantizations is given, and its result."""
    view = kernel.view
    if isinstance(view, PReluView):
        low, high = v[0] - view.zero_point, v[1] - view.zero_point
        sides = ((view.positive, (0, max(high, 0))), (view.negative, (min(low, -1), -1)))
        return sides, (view.positive.low, view.positive.high)
    if isinstance(view, BinaryView):
        one = _minus(v, view.zero_points[0])
        other = _minus(type_reach(kernel.inputs[1].ctype), view.zero_points[1])
        if kernel.template == "sum":
            first, second = _times(one, view.factors[0]), _times(other, view.factors[1])
            reach = (first[0] + second[0], first[1] + second[1])
        else:
            products = [a * b for a in one for b in other]
            reach = (min(products), max(products))
        return ((view.requant, reach),), (view.requant.low, view.requant.high)
    if isinstance(view, HardSwishView):
        x = _minus(v, view.zero_point)
        gated = [a * b for a in x for b in (view.gate.low, view.gate.high)]
        pairs = ((view.gate, x), (view.requant, (min(gated), max(gated))))
        return pairs, (view.requant.low, view.requant.high)
    if isinstance(view, HardSigmoidView):
        low, high = ((end << view.extra_bits) + view.offset for end in _minus(v, view.zero_point))
        return ((view.line, (low, high)),), (view.line.low, view.line.high)
    return (), type_reach(kernel.outputs[0].ctype)


def _minus(reach: Reach, zero: int) -> Reach:
    return reach[0] - zero, reach[1] - zero


def _times(reach: Reach, factor: int) -> Reach:
    low, high = sorted(end * factor for end in reach)
    return low, high
