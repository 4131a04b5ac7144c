"""Thresholds with a guarantee: the boldest rule that samples show to lose no more accuracy than may be lost.

The rules of a kind lie on a path from careful to bold that is fixed before these samples are looked at. Each is tested
in turn, "it loses more than that" at the full error (`freeml/exits/risk.py`), and the first one that is not refuted
ends the walk: fixed-sequence testing, under which any of the rules walked past may be taken with no price for their
number (A. N. Angelopoulos et al., Learn then test: Calibrating predictive algorithms to achieve risk control, 2021).
Walks are as many as there are exits, each without the exits before one: an early exit that is sure and wrong would end
the only walk. They share the error (Bonferroni); with too few samples for that there is the one walk of all exits.
Taken is the rule of fewest cycles.

The promise, "with probability `confidence` over the samples drawn, the drop on inputs like these is at most
`max_drop_points`", holds for an `Exits` whose steps and tables were not learned from the same samples, and for
inferences that do not end for lack of energy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from freeml.exits.calibrate import telling_range
from freeml.exits.ladders import Ladder, ladder, levels, reached
from freeml.exits.risk import certified, needed, upper
from freeml.exits.rule import check_promise
from freeml.ir.exits import Exits, Policy, PolicyKind
from freeml.ir.types import FloatArray, IntArray

REFINED: tuple[PolicyKind, ...] = ("confidence", "entropy", "reliability")
"""Kinds that have a threshold for each exit."""

PLENTY = 16
"""Samples are parted, half to pick thresholds by and half to certify, when there are so many times as many as it takes
to certify anything at all. It depends on nothing else, so it biases nothing."""

WORTH = 0.97
"""Thresholds of their own are taken for exits when they promise at most this share of the cycles: they were chosen for
the samples that judge them."""

PRICES: tuple[float, ...] = tuple(1000 * 0.75**power for power in range(26))
"""Of a lost answer, in inferences that run to the end: from one that 1,000 of them must save to less than one."""

STRIDE = 2
"""Rows that an exit moves at a time on the way between two prices."""

ROUGHLY = 4
"""Every which tied row a descent may start from."""

TO_THE_END = "inference always runs to the end"

Path = tuple[tuple[int, ...], ...]
"""Rules from careful to bold, each as the row of the ladder at which every exit is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Scores of all exits, each (samples, classes), and of the end, and labels (samples,)."""

    scores: tuple[IntArray, ...]
    final: IntArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.final)

    def at(self, index: IntArray) -> Samples:
        """Some of the samples."""
        return Samples(
            scores=tuple(values[index] for values in self.scores), final=self.final[index], labels=self.labels[index]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A rule and what is known of it. Drops are shares (0..1) of right answers.

    `promised_drop` is what the drop stays within with `confidence`; 0 where inference always runs to the end, which
    `note` then explains. `bound` is the smallest drop that the certifying samples alone would promise of this rule, had
    it been the only one of its walk; `val_drop` what they lost on average, `lost` and `gained` of `samples` answers.
    For kind "label-free" a loss is an answer that differs from the end's, which is never less. `shares` of inferences
    that end at each exit and at the end, and the mean cycles, are of those samples too.
    """

    policy: Policy
    promised_drop: float
    confidence: float
    bound: float
    val_drop: float
    lost: int
    gained: int
    samples: int
    shares: tuple[float, ...]
    mean_cycles: float
    refined: bool
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """At most the share `drop` of answers is lost, with `confidence`; `tested` is that of one walk, which shares the
    error with others."""

    drop: float
    confidence: float
    tested: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What a walk reads of samples: the first row at which each exit ends them, (exits, samples), and what the loss is
    when it does, (exits + 1, samples) of -1, 0, 1."""

    first_row: IntArray
    loss: IntArray
    cycles: IntArray

    def counts(self, at: Sequence[int]) -> tuple[int, int, float]:
        """Samples lost and gained, and mean cycles, of a rule."""
        end = reached(self.first_row, at)
        loss = self.loss[end, np.arange(len(end))]
        cycles = float(np.bincount(end, minlength=len(self.cycles)) @ self.cycles) / len(end)
        return int(np.count_nonzero(loss > 0)), int(np.count_nonzero(loss < 0)), cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walked:
    """The rule of fewest cycles among those certified, its mean cycles, and whether a bolder one was not certified."""

    at: tuple[int, ...]
    cycles: float
    stopped: bool


def choose(
    exits: Exits,
    val_scores: Sequence[IntArray],
    val_final: IntArray,
    val_labels: IntArray,
    kind: PolicyKind,
    cycles_per_exit: Sequence[int],
    *,
    max_drop_points: float = 1.0,
    confidence: float = 0.95,
    picking: Samples | None = None,
    seed: int = 0,
    among: int | None = None,
) -> Chosen:
    """The rule of a kind that takes the fewest cycles among those certified on validation samples.

    `val_scores` are those of all exits, each (samples, classes), `val_final` those of the end; `cycles_per_exit` what
    an inference takes that ends at each exit, and at the end. `picking` are labelled samples apart from the validation
    part (those of training will do), by which exits may get thresholds of their own; without them, a half of the
    validation samples is set apart for that where there are plenty. Walks are one from every exit on; or with
    `among` the one of all exits, which shares the error with as many less one that are not made. "label-free" reads
    no labels, and makes one walk. Raises FreemlError.
    """
    check_promise(max_drop_points, confidence)
    if kind == "label-free":
        return label_free(
            exits, val_scores, val_final, cycles_per_exit,
            max_drop_points=max_drop_points, confidence=confidence, seed=seed, learning=picking,
        )  # fmt: skip
    drop = max_drop_points / 100
    samples = Samples(scores=tuple(val_scores), final=val_final, labels=val_labels)
    families = 1 if among else len(exits.exits)  # of the exits from some one on
    shared = 1 - (1 - confidence) / (among or families)
    least = needed(drop, shared)
    if not among and (least is None or len(samples) < least):
        families, shared, least = 1, confidence, needed(drop, confidence)
    promise = _Promise(drop=drop, confidence=confidence, tested=shared)
    if picking is None and kind in REFINED and least is not None and len(samples) >= PLENTY * least:
        order = np.random.default_rng(seed).permutation(len(samples))
        half = len(samples) // 2
        picking, samples = samples.at(np.sort(order[:half])), samples.at(np.sort(order[half:]))
    found = [_from(exits, first, samples, picking, kind, cycles_per_exit, promise) for first in range(families)]
    return min(found, key=lambda chosen: chosen.mean_cycles)


def _from(
    exits: Exits,
    first: int,
    samples: Samples,
    picking: Samples | None,
    kind: PolicyKind,
    cycles_per_exit: Sequence[int],
    promise: _Promise,
) -> Chosen:
    """The rule of fewest cycles among those certified that end inferences at exit `first` or later."""
    rules = ladder(exits, kind, samples.final.shape[1], first=first)
    view = _view(exits, samples, rules, cycles_per_exit)
    path, refined = rules.tied(), False
    if picking is not None and kind in REFINED and len(rules.rows) > 0:
        trial = _view(exits, picking, rules, cycles_per_exit)
        own = _own_thresholds(trial, len(rules.rows))
        tied_cycles = _walk(trial, path, promise, len(samples)).cycles
        if _walk(trial, own, promise, len(samples)).cycles <= WORTH * tied_cycles:
            path, refined = own, True
    found = _walk(view, path, promise, len(samples))
    return _chosen(rules, view, found, promise, refined=refined)


def label_free(
    exits: Exits,
    scores: Sequence[IntArray],
    final: IntArray,
    cycles_per_exit: Sequence[int],
    *,
    max_drop_points: float = 1.0,
    confidence: float = 0.95,
    seed: int = 0,
    learning: Samples | None = None,
) -> Chosen:
    """One entropy threshold over a range of exits, both learned from samples without labels (after T.-Q. Lin, H. Lee
    and H. Tang, DAISY, 2024).

    `learning` samples, or a quarter of those given, say which exits' entropy tells something (`telling_range`).
    On the others the threshold is
    the largest whose answers are certified to differ from the end's in at most `max_drop_points` of 100. An answer that
    does not differ loses nothing, so the drop is promised as well, for inputs like these; inputs that are harder run
    further, but nothing is promised of them. Raises FreemlError.
    """
    check_promise(max_drop_points, confidence)
    promise = _Promise(drop=max_drop_points / 100, confidence=confidence, tested=confidence)
    order = np.random.default_rng(seed).permutation(len(final))
    # With one sample or none to certify, the walk certifies nothing; no special case is needed.
    apart = 0 if learning is not None else len(final) // 4
    learn, rest = np.sort(order[:apart]), np.sort(order[apart:])
    first, last = (1, 0)
    if learning is not None:
        first, last = telling_range(exits, learning.scores, learning.final)
    elif len(learn):
        first, last = telling_range(exits, [values[learn] for values in scores], final[learn])
    rules = ladder(exits, "label-free", final.shape[1], first=first, last=last)
    kept = [values[rest] for values in scores]
    answers = np.stack([values[rest].argmax(axis=1) for values in (*scores, final)])
    view = _View(
        first_row=levels(exits, kept, rules), loss=(answers != answers[-1]).astype(np.int64),
        cycles=np.array(cycles_per_exit),
    )  # fmt: skip
    found = _walk(view, rules.tied(), promise, len(rest))
    chosen = _chosen(rules, view, found, promise, refined=False)
    if first > last:
        return replace(chosen, note=f"{TO_THE_END}: the entropy of no exit tells which answers would change")
    return chosen


def _view(exits: Exits, samples: Samples, rules: Ladder, cycles_per_exit: Sequence[int]) -> _View:
    right = np.stack([values.argmax(axis=1) == samples.labels for values in (*samples.scores, samples.final)])
    return _View(
        first_row=levels(exits, samples.scores, rules),
        loss=right[-1].astype(np.int64) - right.astype(np.int64),
        cycles=np.array(cycles_per_exit),
    )


def _walk(view: _View, path: Path, promise: _Promise, count: int) -> _Walked:
    """Along the path until a rule is not certified. Counts are taken as if there were `count` samples like these, which
    for the samples that certify there are."""
    scale = count / max(1, view.loss.shape[1])
    never_ends = (-1,) * len(view.first_row)
    best, fewest = never_ends, float(view.cycles[-1])
    tested: tuple[int, int] | None = None
    rows = [np.unique(first).tolist() for first in view.first_row]
    before: list[int] = []
    for at in path:
        ends = [bisect_right(known, row) for known, row in zip(rows, at, strict=True)]
        if ends == before:  # the same samples end at every exit: the same hypothesis
            continue
        before = ends
        lost, gained, cycles = view.counts(at)
        found = (round(lost * scale), round(gained * scale))
        if found != tested and not certified(*found, count, promise.drop, promise.tested):
            return _Walked(at=best, cycles=fewest, stopped=True)
        tested = found
        if cycles < fewest:
            best, fewest = at, cycles
    return _Walked(at=best, cycles=fewest, stopped=False)


def _own_thresholds(view: _View, rows: int) -> Path:
    """A path on which every exit has a row of its own: at each price of a lost answer, highest first, the rows of least
    cycles and price together that coordinate descent finds from the best tied row and from the rows of the price
    before."""
    path: list[tuple[int, ...]] = []
    at = (-1,) * len(view.first_row)
    tied = [(row,) * len(at) for row in range(0, rows, ROUGHLY)]
    found = [view.counts(start) for start in tied]
    for price in PRICES:
        unit = price * float(view.cycles[-1])
        cost = view.cycles[:, np.newaxis] + unit * view.loss
        totals = [cycles + unit * (lost - gained) / cost.shape[1] for lost, gained, cycles in found]
        starts = (at, tied[int(np.argmin(totals))])
        best = min(_descend(view.first_row, cost, start, rows) for start in starts)
        between = _between(at, best[1]) if path else ()
        at = best[1]
        path += [rule for rule in (*between, at) if rule not in path]
    return tuple(path)


def _between(one: tuple[int, ...], two: tuple[int, ...]) -> Path:
    """Rules on the way from one to another, a few rows apart: the walk must not fail for too long a stride."""
    pairs = list(zip(one, two, strict=True))
    parts = max((abs(b - a) for a, b in pairs if min(a, b) >= 0), default=0) // STRIDE
    return tuple(
        tuple(b if min(a, b) < 0 else a + (b - a) * part // parts for a, b in pairs) for part in range(1, parts)
    )


def _descend(first_row: IntArray, cost: FloatArray, start: tuple[int, ...], rows: int) -> tuple[float, tuple[int, ...]]:
    """The rows from which no exit alone can move to lower the sum of `cost`, (exits + 1, samples)."""
    at, column = list(start), np.arange(cost.shape[1])
    least = float(cost[reached(first_row, at), column].sum())
    improved = True
    while improved:
        improved = False
        for index in range(len(at)):
            without = [-1 if other == index else row for other, row in enumerate(at)]
            end = reached(first_row, without)
            saved = np.where(end > index, cost[index] - cost[end, column], 0.0)
            by_row = np.bincount(first_row[index], weights=saved, minlength=rows + 1)[:rows]
            totals = float(cost[end, column].sum()) + np.concatenate([np.zeros(1), np.cumsum(by_row)])
            row = int(np.argmin(totals)) - 1
            if totals[row + 1] < least - 1e-9 * abs(least):
                at[index], least, improved = row, float(totals[row + 1]), True
    return least, tuple(at)


def _chosen(rules: Ladder, view: _View, walked: _Walked, promise: _Promise, *, refined: bool) -> Chosen:
    count = view.loss.shape[1]
    exits = len(view.first_row)
    ends = any(row >= 0 for row in walked.at)
    lost, gained, cycles = view.counts(walked.at)
    share = np.bincount(reached(view.first_row, walked.at), minlength=exits + 1) / count
    return Chosen(
        policy=rules.policy(walked.at), promised_drop=promise.drop if ends else 0.0, confidence=promise.confidence,
        bound=upper(lost, gained, count, promise.tested) if ends else 0.0,
        val_drop=(lost - gained) / count, lost=lost, gained=gained, samples=count,
        shares=tuple(share.tolist()), mean_cycles=cycles, refined=refined and ends,
        note="" if ends else _why_never(count, promise, rules.kind, stopped=walked.stopped),
    )  # fmt: skip


def _why_never(count: int, promise: _Promise, kind: PolicyKind, *, stopped: bool) -> str:
    if kind == "none":
        return ""
    if not stopped:
        return f"{TO_THE_END}: no rule of kind {kind} ends an inference early, or none saves cycles by it"
    said = f"{TO_THE_END}: no rule of kind {kind} is certified to lose at most {100 * promise.drop:g} points"
    least = needed(promise.drop, promise.tested)
    if least is None:
        return f"{said}: no number of samples shows that nothing at all is lost; allow a drop above 0"
    if count < least:
        return (
            f"{said} with confidence {promise.confidence}: that takes {least:,} samples without a loss, and there are "
            f"{count:,}; give more validation data, or allow a larger drop"
        )
    return (
        f"{said} with confidence {promise.confidence}: of {count:,} samples even the most careful one that ends any "
        "early loses too many; allow a larger drop, or place exits later"
    )
