"""How sure an answer really is: reliability tables, the temperature of an exit, and the exits whose entropy says
something.

Scores are integers, (samples, classes); labels (samples,). What is learned here from labelled samples makes part of the
rule, so that the samples that certify a threshold (`freeml/exits/thresholds.py`) should be others.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lgamma, log

import numpy as np

from freeml.fixedpoint.confidence import EXP_STEPS, entropies, margins
from freeml.ir.exits import BINS, Exits, Reliability
from freeml.ir.types import Array, FloatArray, IntArray

PRIOR = 2.0
"""Samples that are imagined in every bin, right as often as all are: a bin with few samples says little."""

MOST_SHIFT = 12
"""16 bins of 4,096 hold every margin of 16-bit scores."""

HALVINGS = 60
COLDEST, HOTTEST = 2.0**-12, 2.0**12

TELLS = 3.0
"""Standard deviations by which an entropy must separate answers that stay from answers that change."""

FEW = 10
"""Answers that change: from fewer no rank sum tells much."""


def reliability(scores: IntArray, labels: IntArray) -> Reliability:
    """How often answers are right, by margin, from samples that neither net nor branch was trained on.

    The width of bins is the power of two that has the largest evidence: the chance of these right and wrong answers
    when every bin has a share of its own, drawn from a Beta distribution that is worth `PRIOR` samples (M. P. Naeini,
    G. Cooper and M. Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015). The share
    of a bin is that distribution's mean given its samples. Shares are made to rise with the margin by pooling adjacent
    violators (M. Ayer et al., 1955). A bin without samples says what the next filled one below says, or the first
    filled one above. Shares are rounded down. Without any sample all shares are a half.
    """
    if len(labels) == 0:
        return Reliability(bin_shift=0, right=(127,) * BINS)
    sure = margins(scores)
    right = scores.argmax(axis=1) == labels
    overall = (float(right.sum()) + 1) / (len(right) + 2)
    tables = [_bins(sure, right, shift) for shift in range(MOST_SHIFT + 1)]
    evidence = [_evidence(count, hits, overall) for count, hits in tables]
    shift = int(np.argmax(evidence))
    count, hits = tables[shift]
    filled = np.flatnonzero(count)
    shares = rising((hits[filled] + PRIOR * overall) / (count[filled] + PRIOR), count[filled] + PRIOR)
    source = np.maximum(np.searchsorted(filled, np.arange(BINS), side="right") - 1, 0)
    return Reliability(bin_shift=shift, right=tuple(int(255 * shares[s]) for s in source))


def _bins(sure: IntArray, right: Array, shift: int) -> tuple[FloatArray, FloatArray]:
    index = np.minimum(sure >> shift, BINS - 1)
    return np.bincount(index, minlength=BINS).astype(float), np.bincount(index, weights=right, minlength=BINS)


def _evidence(count: FloatArray, hits: FloatArray, overall: float) -> float:
    a, b = PRIOR * overall, PRIOR * (1 - overall)
    whole = lgamma(a + b) - lgamma(a) - lgamma(b)
    return sum(
        whole + lgamma(hit + a) + lgamma(all_ - hit + b) - lgamma(all_ + a + b)
        for all_, hit in zip(count.tolist(), hits.tolist(), strict=True)
    )


def rising(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The non-decreasing sequence nearest to `values` in the weighted sum of squares, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many values
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (one, many, first), (two, more, then) = blocks[-2:]
            blocks[-2:] = [((one * many + two * more) / (many + more), many + more, first + then)]
    return np.concatenate([np.full(length, mean) for mean, _, length in blocks])


def temperature(scores: IntArray, labels: IntArray, scale: float) -> float:
    """The temperature T at which the softmax of `scale` * scores / T gives labels the largest likelihood (C. Guo et
    al., On calibration of modern neural networks, ICML 2017).

    One sample is added whose label may be any class alike: without it, scores that are all right would have no largest
    likelihood.
    """
    logits = scale * (scores - scores.max(axis=1, keepdims=True)).astype(float)
    wanted = float(logits[np.arange(len(labels)), labels].sum() + logits.mean())

    def excess(sharpness: float) -> float:  # the likelihood's negative slope; rises with the sharpness 1 / T
        weight = np.exp(sharpness * logits)
        share = weight / weight.sum(axis=1, keepdims=True)
        expected = (share * logits).sum(axis=1)
        return float(expected.sum() + expected.mean()) - wanted

    low, high = log(1 / HOTTEST), log(1 / COLDEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(float(np.exp(middle))) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def steps(scale: float, heat: float = 1.0) -> int:
    """`Exit.steps` of scores of this scale at temperature `heat`; 1..65535, so a score may be worth a sixteenth of a
    nat at most."""
    return min(max(round(scale / heat * EXP_STEPS * 65536), 1), 65535)


def telling_range(exits: Exits, scores: Sequence[IntArray], final: IntArray) -> tuple[int, int]:
    """The first and the last exit whose entropy tells something, learned without labels.

    It tells something when answers that agree with the end's have lower entropies than those that do not: the rank-sum
    statistic (H. B. Mann and D. R. Whitney, 1947; ties by halves) is `TELLS` standard deviations above chance. Where an
    exit disagrees `FEW` times at most, and in one sample of ten at most, there is nothing to tell by and little to
    lose. Exits between the two are in the range too. (1, 0), an empty range, where no exit's entropy tells anything.
    """
    end = final.argmax(axis=1)
    telling = []
    for index, (exit_, values) in enumerate(zip(exits.exits, scores, strict=True)):
        agrees = values.argmax(axis=1) == end
        seldom = (~agrees).sum() <= FEW and agrees.mean() >= 0.9
        if seldom or _separates(entropies(values, exit_.steps), agrees):
            telling.append(index)
    return (telling[0], telling[-1]) if telling else (1, 0)


def _separates(entropy: IntArray, agrees: Array) -> bool:
    """Whether low entropies go with True."""
    yes, no = int(agrees.sum()), int((~agrees).sum())
    if yes == 0:
        return False
    _, which, sizes = np.unique(entropy, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[which]
    larger = float(ranks[~agrees].sum()) - no * (no + 1) / 2  # pairs in which the one that disagrees has more entropy
    count = yes + no
    ties = float((sizes.astype(float) ** 3 - sizes).sum()) / (count * max(count - 1, 1))
    spread = (yes * no / 12 * (count + 1 - ties)) ** 0.5
    return bool(larger - yes * no / 2 > TELLS * spread)
