"""How much accuracy early answers lose at most, from a finite number of samples and with a stated confidence.

The loss of a sample is right(full net) - right(early): 1 where the early answer lost a right one, -1 where it gained
one, 0 otherwise. Its mean is the drop. Nothing is assumed but that samples are independent and alike: no normal
approximation, and nothing about how losses and gains go together. All counts are of samples, all drops are shares
(0..1).

The test. `log_wealth` is what a gambler owns who bets against "the drop is at least d" with fixed stakes on every
sample (I. Waudby-Smith and A. Ramdas, Estimating means of bounded random variables by betting, JRSS B 2024, a mixture
of constant bets). Under that hypothesis it exceeds w with probability at most 1 / w. Stakes that do not change make it
a function of the counts alone, so no order of the samples is to be chosen. That inequality is Markov's and gives much
away; with only three outcomes the probability can be computed instead: the p-value is the largest chance, over all
pairs of shares of lost and gained answers with a difference of d, that the wealth is as large as found. The share of
gained answers is not known; it is first confined to an interval that misses it with probability `ASIDE` of the error
allowed, which is added (R. L. Berger and D. D. Boos, P values maximized over a confidence set for the nuisance
parameter, JASA 1994).

With no sample lost or gained the p-value is (1 - d)**n and what was set aside: that of the exact binomial test, and
none does better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, log, log1p

import numpy as np

from freeml.ir.types import Array, FloatArray, IntArray

STAKES: FloatArray = np.geomspace(0.98, 0.005, 24)
"""What is bet on each sample, as shares of the largest bet that cannot go below nothing."""

ASIDE = 0.01
"""Share of the error allowed that is spent on confining the share of gained answers."""

CELLS = 40
"""Parts of that interval; in each, the chance is bounded from above."""

REACH = 9.0
"""Standard deviations beyond which counts are left out: a chance below 1e-15, covered by `SLACK`."""

COUNTED = 100_000
"""Samples beyond which `needed` says how many it takes by the formula alone, a few too many or too few: nobody has
them."""

SLACK = 1e-9
HALVINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two nets, or a net and its early answers, on the same samples. `drop` is the share of right answers lost, `low`
    and `high` its interval (two one-sided bounds by the test of this module), `p_value` that of McNemar's exact
    two-sided test that as many answers are lost as gained."""

    samples: int
    lost: int
    gained: int
    drop: float
    low: float
    high: float
    p_value: float


def paired(before_right: Array, after_right: Array, confidence: float = 0.95) -> Paired:
    """Whether answers got worse: bool (samples,) each, right before and right after.

    The p-value is the exact binomial one over the samples that changed (Q. McNemar, 1947).
    """
    count = len(before_right)
    lost, gained = int((before_right & ~after_right).sum()), int((~before_right & after_right).sum())
    one_sided = 1 - (1 - confidence) / 2
    return Paired(
        samples=count, lost=lost, gained=gained, drop=(lost - gained) / count,
        low=-upper(gained, lost, count, one_sided), high=upper(lost, gained, count, one_sided),
        p_value=min(1.0, 2 * at_most(min(lost, gained), lost + gained, 0.5)),
    )  # fmt: skip


@lru_cache(maxsize=8)
def _log_factorials(count: int) -> FloatArray:
    return np.concatenate([np.zeros(1), np.cumsum(np.log(np.arange(1, count + 1)))])


def at_most(found: int, count: int, share: float) -> float:
    """Chance of at most `found` successes in `count` trials that succeed with `share` each."""
    if found >= count or share <= 0:
        return 1.0
    if found < 0 or share >= 1:
        return 0.0
    logs, k = _log_factorials(count), np.arange(found + 1)
    terms = logs[count] - logs[k] - logs[count - k] + k * log(share) + (count - k) * np.log1p(-share)
    return min(1.0, float(np.exp(terms).sum()))


def share_within(found: int, count: int, error: float) -> tuple[float, float]:
    """The exact interval of a share (C. Clopper and E. Pearson, 1934): each end is missed with `error` / 2 at most."""
    return 1 - _share_up_to(count - found, count, error / 2), _share_up_to(found, count, error / 2)


def _share_up_to(found: int, count: int, error: float) -> float:
    if found >= count:
        return 1.0
    low, high = found / count, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if at_most(found, count, middle) <= error else (middle, high)
    return high


def log_wealth(lost: IntArray, gained: IntArray, count: int, drop: float) -> FloatArray:
    """Logarithm of the wealth, mean over `STAKES`; the arrays have a common shape. Falls with `lost`, rises with
    `gained`. Needs `drop` below 1."""
    stake = STAKES / (1 - drop)
    each = (
        np.multiply.outer(lost, np.log1p(-STAKES) - np.log1p(stake * drop))
        + np.multiply.outer(gained, np.log1p(stake * (1 + drop)) - np.log1p(stake * drop))
        + count * np.log1p(stake * drop)
    )
    top = each.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(each - top).mean(axis=-1)))


@lru_cache(maxsize=65536)
def certified(lost: int, gained: int, count: int, drop: float, confidence: float) -> bool:
    """Whether `count` samples, of which so many were lost and gained, show that the drop is below `drop`.

    Where it is not, True comes with probability 1 - `confidence` at most. The first two answers are shortcuts
    that agree with the whole test or are more careful.
    """
    if drop >= 1:
        return True
    if lost - gained >= count * drop:
        return False
    allowed = 1 - confidence
    aside = ASIDE * allowed
    least = float(log_wealth(np.array(lost), np.array(gained), count, drop))
    if exp(-least) <= allowed - aside:
        return True
    low, high = share_within(gained, count, aside)
    edges = np.linspace(max(low, -drop), min(high, (1 - drop) / 2), CELLS + 1)
    if edges[-1] <= edges[0]:  # no such drop goes with that share
        return True
    region = _region(least, count, drop, float(edges[0]), float(edges[-1]))
    bound = allowed - aside - SLACK
    # Taking samples from the lost to the unchanged, or from those to the gained, only adds to the wealth. So in a cell
    # the chance is at most that of its smallest share of lost with its largest share of gained answers.
    order = np.argsort(np.abs(np.arange(CELLS) - CELLS // 2))  # where the largest chance is likely first
    return all(_chance(region, count, float(edges[i]) + drop, float(edges[i + 1])) <= bound for i in order)


def _region(least: float, count: int, drop: float, low: float, high: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Counts lost and gained, each (points,), whose log wealth is `least` or more, with the logarithms of the number of
    orders of samples that have them; those left out are out of `REACH` for all shares gained from `low` to `high`."""
    first, end = _window(count, low, high)
    gained = np.arange(first, end + 1)
    under, over = np.full(len(gained), -1), count - gained  # the largest number lost, by halving
    while (under < over).any():
        middle = (under + over + 1) // 2
        enough = log_wealth(middle, gained, count, drop) >= least - 1e-9 * abs(least) - 1e-12
        under, over = np.where(enough, middle, under), np.where(enough, over, middle - 1)
    start = _window(count, max(low + drop, 0.0), 1.0)[0]
    sizes = np.maximum(under - start + 1, 0)
    row = np.repeat(np.arange(len(gained)), sizes)
    lost = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + start
    logs, b = _log_factorials(count), gained[row]
    return lost, b, logs[count] - logs[lost] - logs[b] - logs[count - lost - b]


def _window(count: int, low: float, high: float) -> tuple[int, int]:
    """Counts within `REACH` of those expected of shares from `low` to `high`."""
    first = count * low - REACH * (count * low) ** 0.5 - REACH
    end = count * high + REACH * (count * high) ** 0.5 + REACH * REACH
    return max(0, int(first)), min(count, ceil(end))


def _chance(region: tuple[IntArray, IntArray, FloatArray], count: int, lost: float, gained: float) -> float:
    """Chance of the region where samples are lost and gained with these shares."""
    rest = max(1 - lost - gained, 1e-300)
    a, b, orders = region
    terms = orders + a * log(max(lost, 1e-300)) + b * log(max(gained, 1e-300)) + (count - a - b) * log(rest)
    return float(np.exp(terms).sum())


def upper(lost: int, gained: int, count: int, confidence: float) -> float:
    """The drop is below this, with this confidence: the smallest drop that `certified` agrees to, to within
    2e-6; below 0 where accuracy was gained for certain."""
    low, high = (lost - gained) / count, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if certified(lost, gained, count, middle, confidence) else (middle, high)
    return high


def needed(drop: float, confidence: float) -> int | None:
    """Samples without a loss that it takes to certify `drop`; None where none are enough (no drop allowed)."""
    if drop <= 0:
        return None
    if drop >= 1:
        return 1
    count: int = max(1, ceil(log(1 - confidence) / log1p(-drop)))
    if count > COUNTED:
        return ceil(log((1 - confidence) * (1 - ASIDE)) / log1p(-drop))
    while not certified(0, 0, count, drop, confidence):
        count += max(1, count // 500)
    return count
