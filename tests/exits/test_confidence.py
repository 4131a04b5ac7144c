"""How sure scores are: the integer measures against real arithmetic, within bounds that are derived, and the rule that
reads them against one that is written sample by sample."""

from __future__ import annotations

import re
from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.fixedpoint.confidence import EXP_STEPS, EXP_TABLE, LOG_2, LOG_TABLE, NAT, entropies, margins
from freeml.ir.exits import BINS, KINDS, MOST_CLASSES, NEVER, Exit, Exits, Policy, Reliability
from freeml.ops.answer import confidence, decide, stops
from freeml.resources import resource_dir

LOW, HIGH = -32768, 32767
LEFT_OUT = len(EXP_TABLE) / EXP_STEPS
"""Nats at which a class no longer counts."""


def real_entropy(nats):
    """Of the softmax whose classes lie so many nats below the best, (samples, classes), in nats."""
    weight = np.exp(-nats)
    total = weight.sum(axis=1)
    return np.log(total) + (weight * nats).sum(axis=1) / total


def bound(classes):
    """How far `entropies` may be from the real entropy, in nats, for exact distances of so many classes.

    Distances are rounded down by less than a sixteenth of a nat. H changes with the distance of class k at the rate
    p_k (-log p_k - H), so by at most a sixteenth of the mean deviation of -log p, which is at most its standard deviation,
    sqrt(log(K - 1)^2 / 4 + 1) (D. Reeb and M. Wolf, 2015, theorem 8). Classes left out have together a share of at most
    q = (K - 1) exp(-11) against the best one; removing a share q lowers H by at most q (1 + distance) - q log q.
    Logarithms are rounded down by log(1 + 1 / 64) at most, and table entries are off by half a unit.
    """
    q = (classes - 1) * exp(-LEFT_OUT)
    rounding = sqrt(log(max(classes - 1, 1)) ** 2 / 4 + 1) / EXP_STEPS
    left_out = q * (1 + LEFT_OUT - log(q) + log(classes)) if q else 0.0
    tables = 2**-16 * classes * (2 + LEFT_OUT) + (8 * abs(LOG_2 - log(2) * NAT) + 0.5 + 1) / NAT
    return rounding + left_out + log(1 + 1 / 64) + tables


def drawn(classes, count=4000, seed=0):
    """Scores of all spreads, from almost equal to the extremes of 16 bits."""
    rng = np.random.default_rng(seed)
    spread = 2.0 ** rng.uniform(0, 15, (count, 1))
    scores = np.clip(np.rint(rng.normal(0, 1, (count, classes)) * spread), LOW, HIGH).astype(np.int64)
    scores[0], scores[1, 0] = 0, HIGH
    scores[1, 1:] = LOW
    return scores


def test_margins():
    assert margins(np.array([[3, 9, 4], [5, 5, 1], [LOW, HIGH, LOW], [-7, -3, -3]])).tolist() == [5, 0, 65535, 0]
    scores = drawn(10)
    assert margins(scores).tolist() == [sorted(row)[-1] - sorted(row)[-2] for row in scores.tolist()]


@pytest.mark.parametrize("classes", [2, 3, 10, MOST_CLASSES])
@pytest.mark.parametrize("steps", [1, 300, 4000, 65535])
def test_entropies_are_those_of_real_arithmetic(classes, steps):
    scores = drawn(classes, 1000 if classes > 10 else 4000)
    nats = (scores.max(axis=1, keepdims=True) - scores) * steps / 65536 / EXP_STEPS
    error = entropies(scores, steps) / NAT - real_entropy(nats)
    assert np.abs(error).max() <= bound(classes)


@pytest.mark.parametrize("classes", [2, 10, MOST_CLASSES])
def test_entropies_at_the_ends(classes):
    equal = np.zeros((1, classes), dtype=np.int64)
    sure = np.full((1, classes), LOW)
    sure[0, 0] = HIGH
    for steps in (1, 65535):
        assert entropies(equal, steps)[0] == pytest.approx(log(classes) * NAT, abs=17)
        assert entropies(equal + HIGH, steps)[0] == entropies(equal + LOW, steps)[0] == entropies(equal, steps)[0]
    assert entropies(sure, 65535)[0] == 0
    assert entropies(sure, 1)[0] == entropies(equal, 1)[0]  # the largest distance is less than a sixteenth of a nat
    assert entropies(sure, 2)[0] <= entropies(equal, 2)[0] + 17


def test_entropy_falls_as_one_class_pulls_ahead():
    """Never up by more than the floor of a logarithm, and down to nothing."""
    for classes in (2, 10, MOST_CLASSES):
        ahead = np.zeros((12 * EXP_STEPS, classes), dtype=np.int64)
        ahead[:, 0] = np.arange(len(ahead)) * 65536  # sixteenths of a nat at one step
        found = entropies(ahead, 1)
        assert np.diff(found).max() <= NAT * log(1 + 1 / 64) + 2
        assert np.abs(found - NAT * real_entropy((ahead.max(axis=1, keepdims=True) - ahead) / 2**20)).max() < 60
        assert found[0] >= found.max() - 17 and found[-1] == 0


def test_sums_fit_32_bits():
    """The sums of the C are unsigned and 32 bits wide; the products too."""
    worst = max(weight * index for index, weight in enumerate(EXP_TABLE))
    assert (MOST_CLASSES - 1) * worst * (NAT // EXP_STEPS) < 2**32
    assert 2**15 * MOST_CLASSES < 2**32 and (HIGH - LOW) * 65535 < 2**32
    assert len(EXP_TABLE) == 176 and len(LOG_TABLE) == 64 and EXP_TABLE[0] == 2**15


def table(seed):
    rng = np.random.default_rng(seed)
    return Reliability(bin_shift=int(rng.integers(0, 13)), right=tuple(sorted(rng.integers(0, 256, BINS).tolist())))


def exits_of(count, seed=0, policy=None):
    made = tuple(
        Exit(
            name=f"e{i}",
            value=f"s{i}",
            point=f"p{i}",
            steps=[1, 300, 4000, 65535][(i + seed) % 4],
            reliability=table(i),
        )
        for i in range(count)
    )
    return Exits(exits=made, final=table(99), policy=policy or Policy(kind="none", thresholds=(NEVER,) * count))


def plain_entropy(row, steps):
    total = spread = 0
    for value in row:
        index = min(((max(row) - value) * steps) // 65536, 176)
        weight = EXP_TABLE[index] if index < 176 else 0
        total, spread = total + weight, spread + weight * index
    shift = 0
    while total >> shift >= 65536:
        shift += 1
    return shift * LOG_2 + LOG_TABLE[((total >> shift) - 32768) // 512] + spread * 64 // total


def plain_margin(row):
    first, second = sorted(row, reverse=True)[:2]
    return first - second


def plain_confidence(row, table):
    return table.right[min(plain_margin(row) >> table.bin_shift, BINS - 1)]


def plain_end(kind, row, exit_, threshold):
    """Whether a rule that looks at one exit ends there."""
    if kind in ("entropy", "label-free"):
        return plain_entropy(row, exit_.steps) < threshold
    if kind == "none" or threshold == NEVER:
        return False
    return (plain_margin(row) if kind == "confidence" else plain_confidence(row, exit_.reliability)) >= threshold


def plain_decision(exits, rows, final, policy):
    """One sample, one exit after the other: (answer, exit, reason, confidence). Written from the words of `Policy`."""
    agreeing, answer_before = 0, None
    for index, (exit_, row) in enumerate(zip(exits.exits, rows, strict=True)):
        answer = row.index(max(row))
        agreeing = agreeing + 1 if answer == answer_before else 1
        answer_before = answer
        if policy.kind == "patience":
            ends = agreeing >= policy.patience
        else:
            ends = plain_end(policy.kind, row, exit_, policy.thresholds[index])
        if policy.first <= index <= policy.last and ends:
            return [answer, index, 1, plain_confidence(row, exit_.reliability)]
    return [final.index(max(final)), len(rows), 0, plain_confidence(final, exits.final)]


@st.composite
def decisions(draw):
    count, classes = draw(st.integers(1, 5)), draw(st.integers(2, 12))
    kind = draw(st.sampled_from(KINDS))
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    spread = [4, 40, 400, 4000, 40000][draw(st.integers(0, 4))]
    scores = np.clip(np.rint(rng.normal(0, spread, (count + 1, 40, classes))), LOW, HIGH).astype(np.int64)
    if draw(st.booleans()):
        scores = scores // 16 * 16  # ties
    most = {"entropy": 2500, "label-free": 2500, "reliability": 256}.get(kind, 2 * spread + 1)
    threshold = st.one_of(st.integers(0, min(most, NEVER)), st.sampled_from([0, 1, NEVER - 1, NEVER]))
    policy = Policy(
        kind=kind, thresholds=tuple(draw(threshold) for _ in range(count)), patience=draw(st.integers(1, count + 1)),
        first=draw(st.integers(0, count)), last=draw(st.sampled_from([0, 1, count - 1, 0xFFFF])),
    )  # fmt: skip
    return exits_of(count, seed, policy), scores


@settings(max_examples=300)
@given(decisions())
def test_decisions_are_those_of_a_plain_restatement(case):
    exits, scores = case
    found = decide(exits, list(scores[:-1]), scores[-1]).as_record().tolist()
    for sample, record in enumerate(found):
        rows = [values[sample].tolist() for values in scores]
        assert record == plain_decision(exits, rows[:-1], rows[-1], exits.policy)


def test_what_later_exits_say_changes_nothing():
    """After a failure of power the board asks again with the exits it has passed."""
    rng = np.random.default_rng(3)
    scores = list(rng.integers(-2000, 2000, (4, 200, 6)))
    for kind in KINDS:
        policy = Policy(kind=kind, thresholds=(900, 700, 500, 300), patience=2)
        whole = stops(exits_of(4, policy=policy), scores)
        for passed in range(1, 5):
            exits = exits_of(passed, policy=replace(policy, thresholds=policy.thresholds[:passed]))
            assert np.array_equal(stops(exits, scores[:passed]), whole[:passed])


def test_another_policy_and_never():
    rng = np.random.default_rng(4)
    scores = [np.array([[HIGH, LOW], [5, 3]]), np.array([[HIGH, LOW], [5, 3]])]
    exits = exits_of(2)
    for kind in KINDS:
        none = 0 if kind in ("entropy", "label-free") else NEVER
        policy = Policy(kind=kind, thresholds=(none, none), patience=3)
        assert not stops(replace(exits, policy=policy), scores).any()
        every = replace(policy, thresholds=(8000,) * 2 if none == 0 else (0, 0), patience=1)
        assert stops(exits, scores, every).all() == (kind != "none")
        assert np.array_equal(stops(exits, scores, every), stops(replace(exits, policy=every), scores))
    lengths = rng.integers(0, 65536, 50)
    both = np.stack([np.zeros(50, dtype=np.int64), -lengths], axis=1)
    expected = [exits.final.right[min(m >> exits.final.bin_shift, 15)] for m in lengths.tolist()]
    assert confidence(both, exits.final).tolist() == expected


def test_the_tables_of_the_firmware_are_these() -> None:
    """fm_exits.c holds them as numbers: each is compared, whichever a net happens to look up."""
    text = (resource_dir("firmware") / "common" / "fm_exits.c").read_text()
    for name, table in (("exponentials", EXP_TABLE), ("logarithms", LOG_TABLE)):
        (size, numbers) = re.findall(rf"{name}\[(\d+)\] = {{(.*?)}};", text, re.DOTALL)[0]
        assert int(size) == len(table)
        assert tuple(map(int, re.findall(r"\d+", numbers))) == table
    assert re.findall(r"#define LOG_2 (\d+)U", text) == [str(LOG_2)]
    assert re.findall(r"#define UNITS_PER_STEP (\d+)U", text) == [str(NAT // EXP_STEPS)]
