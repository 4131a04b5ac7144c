"""Each kind of rule from careful to bold: rows of thresholds, and the first row at which an exit ends an inference.

A ladder is fixed before any label is seen, so that its rows can be tested one after the other
(`freeml/exits/thresholds.py`). A row that is further down ends an inference wherever the rows above it do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np

from freeml.fixedpoint.confidence import EXP_STEPS, NAT, entropies, margins
from freeml.ir.exits import NEVER, Exits, Policy, PolicyKind
from freeml.ir.types import IntArray
from freeml.ops.answer import confidence

SIXTEENTHS: tuple[int, ...] = (
    *(int(256 * 1.15**power) for power in range(40, 0, -1)),
    *range(256, -1, -2),
)
"""Margins in sixteenths of a nat, the same for all exits: an eighth of a nat apart up to 16 nats. Beyond, where a net
is much too sure of itself, 15 % apart."""

FINER = 1.05
"""Ratio of an entropy threshold to the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The rows of a kind. `rows[l][e]` is the threshold of exit e at row l; for patience, `rows[l][0]` is how many
    exits must agree. Exits before `first` and behind `last` end nothing."""

    kind: PolicyKind
    exits: int
    rows: tuple[tuple[int, ...], ...]
    first: int = 0
    last: int = 0xFFFF

    def policy(self, at: Sequence[int]) -> Policy:
        """The rule in which exit e has the threshold of row `at[e]`; -1 stands for never."""
        none = never(self.kind, self.exits)
        if self.kind == "patience":
            patience = self.rows[at[0]][0] if at[0] >= 0 else none.patience
            return replace(none, patience=patience, first=self.first, last=self.last)
        thresholds = tuple(
            self.rows[row][index] if row >= 0 else none.thresholds[index] for index, row in enumerate(at)
        )
        return replace(none, thresholds=thresholds, first=self.first, last=self.last)

    def tied(self) -> tuple[tuple[int, ...], ...]:
        """One row after the other, the same for all exits, as `policy` and `reached` take them."""
        return tuple((index,) * self.exits for index in range(len(self.rows)))


def never(kind: PolicyKind, exits: int) -> Policy:
    """The rule of that kind under which inference always runs to the end."""
    threshold = 0 if kind in ("entropy", "label-free") else NEVER
    return Policy(kind=kind, thresholds=(threshold,) * exits, patience=exits + 1)


def ladder(exits: Exits, kind: PolicyKind, classes: int, *, first: int = 0, last: int = 0xFFFF) -> Ladder:
    """The ladder of a kind for scores of so many classes.

    confidence: margins of equally many nats at every exit, by its `steps`. entropy, label-free: the same entropy at
    every exit. patience: all exits agree, all but one, ... one. reliability: every level that the tables of the exits
    hold.
    """
    count = len(exits.exits)
    rows: list[tuple[int, ...]]
    if kind == "confidence":
        found = [tuple(_margin(nats, exit_.steps) for exit_ in exits.exits) for nats in SIXTEENTHS]
        rows = list(dict.fromkeys(found))
    elif kind in ("entropy", "label-free"):
        rows = [(entropy,) * count for entropy in _entropies(classes)]
    elif kind == "patience":
        rows = [(patience,) for patience in range(count, 0, -1)]
    elif kind == "reliability":
        levels = {level for exit_ in exits.exits for level in exit_.reliability.right}
        rows = [(level,) * count for level in sorted({*levels, 0}, reverse=True)]
    else:
        rows = []  # none: nothing to set
    return Ladder(kind=kind, exits=count, rows=tuple(rows), first=first, last=last)


def _margin(nats: int, steps: int) -> int:
    """The smallest margin that `steps` makes so many sixteenths of a nat, or never where 16 bits do not hold it."""
    return min(-((-nats << 16) // steps), NEVER)


def _entropies(classes: int) -> list[int]:
    """From the least entropy there is to above the largest, which the tables overstate by less than 2 per halving."""
    most = ceil(log(classes) * NAT) + 2 * EXP_STEPS
    found = [1]
    while found[-1] < most:
        found.append(max(found[-1] + 1, int(found[-1] * FINER)))
    return found


def levels(exits: Exits, scores: Sequence[IntArray], rules: Ladder) -> IntArray:
    """The first row at which the rule ends an inference at each exit, were it reached: (exits, samples); as many as
    there are rows where none does. `scores` are those of all exits, each (samples, classes).

    Row l ends it exactly where `freeml.ops.answer.stops` says so for `rules.policy` of that row.
    """
    most = len(rules.rows)
    found = np.full((rules.exits, len(scores[0])), most, dtype=np.int64)
    streak = np.zeros(len(scores[0]), dtype=np.int64)
    before = np.full(len(scores[0]), -1, dtype=np.int64)
    for index, (exit_, values) in enumerate(zip(exits.exits, scores, strict=True)):
        answer = values.argmax(axis=1)
        streak = np.where(answer == before, streak + 1, 1)
        before = answer
        if not rules.rows or not rules.first <= index <= rules.last:
            continue
        if rules.kind == "patience":
            found[index] = rules.exits - streak  # rows are patience of all exits, all but one, ...
            continue
        column = np.array([row[index] for row in rules.rows], dtype=np.int64)
        if rules.kind in ("entropy", "label-free"):
            found[index] = np.searchsorted(column, entropies(values, exit_.steps), side="right")
            continue
        column = np.where(column == NEVER, NEVER + 1, column)  # a margin may be as large
        sure = margins(values) if rules.kind == "confidence" else confidence(values, exit_.reliability)
        found[index] = np.searchsorted(-column, -sure, side="left")
    return found


def reached(first_row: IntArray, at: Sequence[int]) -> IntArray:
    """Where inferences end with exit e at row `at[e]`, -1 for never: (samples,), as many as there are exits for the
    end. `first_row` is from `levels`."""
    stop = first_row <= np.array(at, dtype=np.int64)[:, np.newaxis]
    return np.asarray(np.where(stop.any(axis=0), stop.argmax(axis=0), len(first_row)), dtype=np.int64)


def words(policy: Policy, exits: Exits) -> str:
    """The thresholds of a rule, for people: one where all exits have the same, else one for each exit."""
    if policy.kind == "patience":
        return f"{policy.patience} agree" if policy.patience <= len(exits.exits) else "never"
    none = never(policy.kind, 1).thresholds[0]
    said = []
    for index, (exit_, threshold) in enumerate(zip(exits.exits, policy.thresholds, strict=True)):
        if policy.kind == "none" or threshold == none or not policy.first <= index <= policy.last:
            said.append("never")
        elif policy.kind in ("entropy", "label-free"):
            said.append(f"{threshold / NAT:.3f} nat")
        elif policy.kind == "confidence":
            said.append(f"{threshold * exit_.steps / 65536 / EXP_STEPS:.2f} nat")
        else:
            said.append(f"{threshold / 255:.3f} right")
    return said[0] if len(set(said)) == 1 else " / ".join(said)
