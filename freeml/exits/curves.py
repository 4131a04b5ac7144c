"""Accuracy against mean cycles: what a rule of each kind gives from its most careful threshold to its boldest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freeml.exits.ladders import ladder, levels, reached, words
from freeml.ir.exits import Exits, Policy, PolicyKind
from freeml.ir.types import IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A rule on a data set. `threshold` is for people; `accuracy` (0..1) and `mean_cycles` of all samples; `shares` of
    inferences that end at each exit, and last at the end."""

    kind: PolicyKind
    threshold: str
    policy: Policy
    accuracy: float
    mean_cycles: float
    shares: tuple[float, ...]


def curve(
    exits: Exits,
    scores: Sequence[IntArray],
    final: IntArray,
    labels: IntArray,
    cycles_per_exit: Sequence[int],
    kind: PolicyKind,
    points: int = 24,
) -> tuple[Point, ...]:
    """At most `points` rules of a kind, careful ones first: the one that never ends early, the boldest, and between
    them those whose mean cycles are spread most evenly. Rules that end all samples alike are one point.

    `scores` are those of all exits, each (samples, classes), `final` those of the end, labels (samples,).
    `cycles_per_exit` is what an inference takes that ends at each exit, and at the end. "label-free" ends at the exits
    that the rule of `exits` names, where that is one of this kind. "none" is one point.
    """
    answers = np.stack([*(values.argmax(axis=1) for values in scores), final.argmax(axis=1)])
    right, cycles = answers == labels, np.array(cycles_per_exit)
    rule = exits.policy
    first, last = (rule.first, rule.last) if kind == rule.kind == "label-free" else (0, 0xFFFF)
    rules = ladder(exits, kind, final.shape[1], first=first, last=last)
    rows = levels(exits, scores, rules)
    found: dict[bytes, Point] = {}
    for at in ((-1,) * len(scores), *rules.tied()):
        end = reached(rows, at)
        key = end.tobytes()
        if key not in found:
            found[key] = _point(exits, rules.policy(at), end, right, cycles)
    return _spread(tuple(found.values()), points)


def _point(exits: Exits, policy: Policy, end: IntArray, right: IntArray, cycles: IntArray) -> Point:
    count = len(end)
    return Point(
        kind=policy.kind, threshold=words(policy, exits), policy=policy,
        accuracy=float(right[end, np.arange(count)].mean()), mean_cycles=float(cycles[end].mean()),
        shares=tuple((np.bincount(end, minlength=len(cycles)) / count).tolist()),
    )  # fmt: skip


def _spread(points: tuple[Point, ...], most: int) -> tuple[Point, ...]:
    """The points nearest to cycles at equal distances; the first and the last are always among them."""
    if len(points) <= most:
        return points
    cycles = np.array([point.mean_cycles for point in points])
    wanted = np.linspace(cycles[0], cycles[-1], max(most, 2))[1:-1]
    near = {int(np.abs(cycles - at).argmin()) for at in wanted}
    return tuple(points[index] for index in sorted({0, *near, len(points) - 1}))
