"""What is promised of a rule is kept: the test against exact chances, choices against a known truth, and a mutant that
trusts the mean and is caught."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import numpy as np
import pytest
from scored import CYCLES, calibrated, population

from freeml.errors import FreemlError
from freeml.exits import risk, thresholds
from freeml.exits.ladders import ladder, levels, never, reached, words
from freeml.exits.risk import at_most, certified, needed, paired, share_within, upper
from freeml.exits.thresholds import choose, label_free
from freeml.fixedpoint.confidence import entropies, margins
from freeml.ir.exits import KINDS, NEVER, Exits
from freeml.ops.answer import decide

SET = [kind for kind in KINDS if kind != "none"]


# The test


def chances(count, lost, gained):
    """Of every pair of counts, (lost, gained), by its definition."""
    found = np.zeros((count + 1, count + 1))
    for a in range(count + 1):
        for b in range(count + 1 - a):
            orders = comb(count, a) * comb(count - a, b)
            found[a, b] = orders * lost**a * gained**b * (1 - lost - gained) ** (count - a - b)
    return found


@pytest.mark.parametrize(("count", "drop"), [(40, 0.1), (50, 0.05), (30, 0.3), (25, 0.0)])
def test_the_error_is_never_above_what_is_allowed(count, drop):
    """Over all outcomes, at the drop itself, whatever share of answers is gained: exact, no sampling."""
    passed = np.array(
        [[a + b <= count and certified(a, b, count, drop, 0.95) for b in range(count + 1)] for a in range(count + 1)]
    )
    errors = []
    for gained in np.concatenate([[0.0, 1e-4], np.linspace(0.01, (1 - drop) / 2 - 1e-9, 15)]):
        chance = chances(count, drop + gained, gained)
        assert chance.sum() == pytest.approx(1)
        errors.append(float(chance[passed].sum()))
    assert max(errors) <= 0.05
    assert drop == 0 or max(errors) > 0.02  # and it is not idle
    assert (np.diff(passed.astype(int), axis=0)[: count // 2] <= 0).all()  # more lost never helps


@pytest.mark.parametrize("count", [300, 400, 600, 800, 1000, 2500, 5000])
def test_as_tight_as_a_binomial_test_where_nothing_is_gained(count):
    """Which knows that nothing can be gained; no test that does not know it can do better."""
    best = max(lost for lost in range(60) if at_most(lost, count, 0.01) <= 0.05)
    assert certified(best, 0, count, 0.01, 0.95) and not certified(best + 1, 0, count, 0.01, 0.95)


def test_gained_answers_make_up_for_lost_ones():
    assert not certified(6, 0, 800, 0.01, 0.95) and certified(6, 5, 800, 0.01, 0.95)
    assert not certified(20, 5, 800, 0.01, 0.95)
    assert not certified(8, 0, 800, 0.01, 0.95)
    assert certified(800, 0, 800, 1.0, 0.95) and not certified(0, 0, 5000, 0.0, 0.95)
    assert certified(0, 12, 800, 0.0, 0.95)


def test_needed():
    for drop, confidence in ((0.1, 0.95), (0.02, 0.95), (0.01, 0.95), (0.01, 0.9), (0.05, 0.99)):
        count = needed(drop, confidence)
        assert (1 - drop) ** count <= 1 - confidence and (1 - drop) ** (count - 3) > 1 - confidence
        assert certified(0, 0, count, drop, confidence) and not certified(0, 0, count - 3, drop, confidence)
    assert needed(0.01, 0.95) == 300
    assert needed(0.0, 0.95) is None and needed(1.0, 0.95) == 1


def test_needed_for_next_to_nothing(monkeypatch):
    """As many as nobody has are not counted out."""
    counted = needed(0.001, 0.95)
    monkeypatch.setattr("freeml.exits.risk.COUNTED", 10)
    assert needed(0.001, 0.95) == pytest.approx(counted, rel=0.003)
    assert needed(1e-9, 0.95) == pytest.approx(3.0057e9, rel=1e-3)
    with monkeypatch.context() as patch:
        patch.setattr("freeml.exits.risk._log_factorials", None)  # which would take 8 bytes for each
        assert needed(1e-17, 0.95) > 1e17


def test_upper():
    for lost, gained, count in ((0, 0, 800), (3, 0, 800), (10, 10, 1000), (1, 30, 500), (400, 0, 500)):
        found = upper(lost, gained, count, 0.95)
        assert (lost - gained) / count <= found < (lost - gained) / count + 0.06
        assert certified(lost, gained, count, found, 0.95)
        assert not certified(lost, gained, count, found - 1e-5, 0.95)
    assert upper(0, 0, 800, 0.95) == pytest.approx(1 - 0.05 ** (1 / 800), rel=0.01)


def test_shares_within():
    low, high = share_within(3, 50, 0.05)
    assert at_most(3, 50, high) == pytest.approx(0.025) and 1 - at_most(2, 50, low) == pytest.approx(0.025)
    assert share_within(0, 50, 0.05)[0] == 0 and share_within(50, 50, 0.05)[1] == 1
    assert at_most(2, 5, 0.3) == pytest.approx(sum(comb(5, k) * 0.3**k * 0.7 ** (5 - k) for k in range(3)))


def test_paired():
    before = np.array([True] * 90 + [False] * 10)
    after = before.copy()
    same = paired(before, after)
    assert same.p_value == 1 and same.drop == 0 and same.low == -same.high < 0
    after[:12] = False
    after[95:97] = True
    found = paired(before, after)
    assert (found.lost, found.gained, found.drop) == (12, 2, pytest.approx(0.1))
    assert found.p_value == pytest.approx(2 * (1 + 14 + 91) / 2**14)
    assert 0.01 < found.low < found.drop < found.high < 0.2
    back = paired(after, before)
    assert (back.low, back.high) == (-found.high, -found.low)


# The rules


@pytest.mark.parametrize("kind", KINDS)
def test_rows_end_what_their_rules_end(kind):
    exits, samples = calibrated(), population(400, 8)
    for first, last in ((0, 0xFFFF), (1, 1), (1, 0)):
        rules = ladder(exits, kind, 10, first=first, last=last)
        rows = levels(exits, samples.scores, rules)
        before = None
        for at in ((-1,) * 3, *rules.tied()):
            end = reached(rows, at)
            assert np.array_equal(end, decide(exits, samples.scores, samples.final, rules.policy(at)).exit)
            assert before is None or (end <= before).all()
            before = end
        assert not rules.rows or (before == min(first, 3) if first <= last else before == 3).all()
        if kind in thresholds.REFINED:
            at = (len(rules.rows) // 2, -1, len(rules.rows) - 1)
            assert np.array_equal(
                reached(rows, at), decide(exits, samples.scores, samples.final, rules.policy(at)).exit
            )


def test_margins_mean_the_same_at_every_exit():
    exits = calibrated()
    for row in ladder(exits, "confidence", 10).rows:
        nats = [t * e.steps / 2**20 for t, e in zip(row, exits.exits, strict=True) if t != NEVER]
        assert max(nats, default=0) - min(nats, default=0) <= max(e.steps for e in exits.exits) / 2**20
    coarse = replace(exits, exits=tuple(replace(e, steps=1) for e in exits.exits))
    rules = ladder(coarse, "confidence", 10)
    assert rules.rows[0] == (NEVER,) * 3
    largest = [np.array([[32767, *[-32768] * 9]])] * 3  # a margin as large as the number that stands for never
    assert reached(levels(coarse, largest, rules), (0, 0, 0)).tolist() == [3]


def test_words():
    exits = calibrated()
    assert (
        words(never("confidence", 3), exits)
        == words(never("patience", 3), exits)
        == words(never("none", 3), exits)
        == "never"
    )
    policy = replace(never("entropy", 3), thresholds=(512, 512, 512))
    assert words(policy, exits) == "0.500 nat"
    assert words(replace(policy, first=1, last=1), exits) == "never / 0.500 nat / never"
    assert words(replace(never("patience", 3), patience=2), exits) == "2 agree"
    assert (
        words(replace(never("reliability", 3), thresholds=(255, 204, NEVER)), exits)
        == "1.000 right / 0.800 right / never"
    )


# The promise

POOL = 15_000
SHARED = 1 - (1 - 0.95) / 3
"""Confidence of each of the walks, one for every exit that may be the first to end anything."""


class Truth:
    """Accuracy lost on the whole population, of which every validation part is a sample."""

    def __init__(self, exits: Exits):
        self.exits, self.pool, self.known = exits, population(POOL, 1), {}
        right = np.stack([s.argmax(axis=1) == self.pool.labels for s in (*self.pool.scores, self.pool.final)])
        self.loss = right[-1].astype(int) - right
        # What rules look at, once: deciding anew for every rule chosen is what these tests would spend their time on.
        self.sure = np.stack([margins(s) for s in self.pool.scores])
        self.spread = np.stack([entropies(s, e.steps) for s, e in zip(self.pool.scores, exits.exits, strict=True)])

    def drop(self, policy):
        if policy not in self.known:
            limits = np.array(policy.thresholds)[:, np.newaxis]
            asked = np.array([policy.first <= index <= policy.last for index in range(3)])[:, np.newaxis]
            if policy.kind in ("confidence", "entropy"):
                ends = self.spread < limits if policy.kind == "entropy" else (self.sure >= limits) & (limits != NEVER)
                ends &= asked
                found = np.where(ends.any(axis=0), ends.argmax(axis=0), 3)
            else:
                found = decide(self.exits, self.pool.scores, self.pool.final, policy).exit
            self.known[policy] = float(self.loss[found, np.arange(POOL)].mean())
        return self.known[policy]

    def kept(self, kind, count, points, repeats=200, seed=5, **more):
        """The share of resampled validation parts whose promise holds, and the mean share of cycles."""
        rng = np.random.default_rng(seed)
        kept, cycles, refined = 0, 0.0, 0
        for _ in range(repeats):
            val = self.pool.at(rng.integers(0, POOL, count))
            found = choose(self.exits, val.scores, val.final, val.labels, kind, CYCLES, max_drop_points=points, **more)
            kept += self.drop(found.policy) <= points / 100
            cycles += found.mean_cycles / CYCLES[-1]
            refined += found.refined
        return kept / repeats, cycles / repeats, refined / repeats


@pytest.fixture(scope="module")
def truth():
    return Truth(calibrated())


def test_truth_is_what_rules_do(truth):
    for kind, thresholds_ in (
        ("confidence", (900, NEVER, 500)),
        ("entropy", (300, 0, 800)),
        ("reliability", (220, NEVER, 190)),
    ):
        for first in (0, 1):
            policy = replace(never(kind, 3), thresholds=thresholds_, first=first)
            pool = truth.pool
            answer = decide(truth.exits, pool.scores, pool.final, policy).answer
            before = (pool.final.argmax(axis=1) == pool.labels).mean()
            assert truth.drop(policy) == pytest.approx(before - (answer == pool.labels).mean())


@pytest.fixture
def one_bound(monkeypatch):
    """The bound of a chosen rule is not looked at in these tests, and takes most of their time."""
    monkeypatch.setattr(thresholds, "upper", lambda *_: 0.0)


@pytest.mark.parametrize("kind", SET)
def test_the_promise_holds(truth, one_bound, kind):
    kept, cycles, _ = truth.kept(kind, 400, 2.0, among=1 if kind == "entropy" else None)
    assert kept >= 0.95
    assert kind == "patience" or cycles < 0.85  # nor is it bought by running to the end


def test_the_promise_holds_where_exits_get_thresholds_of_their_own(one_bound, monkeypatch):
    """A half of the samples picks, the other half certifies. The first exit thinks itself four times surer than it is."""
    monkeypatch.setattr(thresholds, "PLENTY", 8)
    monkeypatch.setattr(thresholds, "PRICES", thresholds.PRICES[::3])  # coarser: 200 paths are a while
    kept, cycles, refined = Truth(bent_exits()).kept("confidence", 8 * needed(0.05, 0.95), 5.0, among=1)
    assert kept >= 0.95 and refined > 0.7 and cycles < 0.75


def test_samples_are_parted_where_there_are_plenty():
    count = thresholds.PLENTY * needed(0.1, SHARED)
    assert chosen("confidence", count, max_drop_points=10.0).samples == count // 2
    assert chosen("confidence", count - 1, max_drop_points=10.0).samples == count - 1
    assert chosen("patience", count, max_drop_points=10.0).samples == count


def bent_exits():
    exits = calibrated()
    first = replace(exits.exits[0], steps=4 * exits.exits[0].steps)
    return replace(exits, exits=(first, *exits.exits[1:]))


def trusting(lost, gained, count, drop, confidence):
    return lost - gained <= count * drop


def test_a_rule_that_trusts_the_mean_breaks_the_promise(truth, one_bound, monkeypatch):
    monkeypatch.setattr(thresholds, "certified", trusting)
    assert truth.kept("confidence", 400, 2.0, repeats=60)[0] < 0.9


# What is chosen


def chosen(kind, count=800, seed=9, **more):
    samples = population(count, seed)
    return choose(calibrated(), samples.scores, samples.final, samples.labels, kind, CYCLES, **more)


@pytest.mark.parametrize("kind", SET)
def test_what_is_said_of_a_choice_is_so(kind):
    samples, found = population(1000, 9), chosen(kind, 1000, max_drop_points=2.0)
    assert found.policy.kind == kind and found.note == "" and found.promised_drop == 0.02
    answers = decide(calibrated(), samples.scores, samples.final, found.policy)
    end = answers.exit
    loss = (samples.final.argmax(axis=1) == samples.labels).astype(int) - (answers.answer == samples.labels)
    if kind == "label-free":  # counted on three quarters, and as answers that differ
        assert found.samples == 750 and found.gained == 0 and found.val_drop >= 0
        assert np.mean(end) == pytest.approx(np.dot(found.shares, range(4)), abs=0.1)
    else:
        assert (found.lost, found.gained) == ((loss > 0).sum(), (loss < 0).sum())
        assert found.val_drop == pytest.approx(loss.mean())
        assert found.shares == pytest.approx([(end == e).mean() for e in range(4)])
        assert found.mean_cycles == pytest.approx(np.array(CYCLES)[end].mean())
    assert found.val_drop < found.bound <= 0.02 and found.mean_cycles < CYCLES[-1]
    assert chosen(kind, 1000, max_drop_points=2.0) == found


def test_few_samples_promise_nothing():
    found = chosen("confidence", 200)
    assert found.policy == never("confidence", 3) and found.promised_drop == found.bound == 0
    assert found.mean_cycles == CYCLES[-1] and found.shares == (0, 0, 0, 1)
    assert "inference always runs to the end" in found.note
    assert "takes 300 samples without a loss, and there are 200" in found.note
    assert "no number of samples shows that nothing at all is lost" in chosen("entropy", max_drop_points=0.0).note
    assert "even the most careful one" in chosen("patience", 800, max_drop_points=0.5, confidence=0.9).note
    assert chosen("none").note == "" and chosen("none").policy == never("none", 3)


def test_a_walk_that_shares_the_error_with_others():
    """Tested at its share of the error, and named by the confidence that was asked for."""
    least = needed(0.01, 1 - (1 - 0.95) / 3)
    assert f"with confidence 0.95: that takes {least} samples" in chosen("confidence", least - 1, among=3).note
    assert "with confidence 0.9999999999999: that takes" in chosen("confidence", 800, confidence=0.9999999999999).note
    alone, among = (chosen("entropy", 800, max_drop_points=2.0, among=number) for number in (1, 3))
    assert among.confidence == alone.confidence == 0.95 and among.mean_cycles > alone.mean_cycles
    alone, among = (chosen("label-free", 1000, max_drop_points=2.0, among=number) for number in (None, 3))
    assert alone == among  # it has but one walk


def test_exits_that_save_nothing_are_not_taken():
    samples = population(800, 9)
    found = choose(
        calibrated(), samples.scores, samples.final, samples.labels, "confidence", (400_000,) * 4, max_drop_points=100
    )
    assert found.policy == never("confidence", 3) and "none saves cycles" in found.note


def test_all_may_be_lost():
    assert chosen("confidence", max_drop_points=100.0).shares == (1, 0, 0, 0)
    assert chosen("patience", max_drop_points=100.0).policy.patience == 1


def test_picking_by_other_samples():
    val, train = population(1600, 9), population(1500, 10)
    tied = choose(bent_exits(), val.scores, val.final, val.labels, "confidence", CYCLES)
    own = choose(bent_exits(), val.scores, val.final, val.labels, "confidence", CYCLES, picking=train)
    assert own.refined and not tied.refined and own.samples == 1600
    assert own.mean_cycles < 0.97 * tied.mean_cycles


def test_label_free_reads_no_labels_and_learns_its_range():
    samples = population(1600, 9)
    noise = np.random.default_rng(0).integers(-1000, 1000, samples.final.shape)
    found = label_free(calibrated(), (noise, *samples.scores[1:]), samples.final, CYCLES)
    assert (found.policy.first, found.policy.last) == (1, 2) and found.shares[0] == 0 and found.mean_cycles < CYCLES[-1]
    nothing = label_free(calibrated(), (noise, noise, noise), samples.final, CYCLES)
    assert nothing.shares[-1] == 1 and "the entropy of no exit tells" in nothing.note
    wrong = replace(samples, labels=(samples.labels + 1) % 10)
    both = [choose(calibrated(), s.scores, s.final, s.labels, "label-free", CYCLES) for s in (samples, wrong)]
    assert both[0] == both[1]


def test_label_free_runs_further_on_noise():
    found, clean = chosen("label-free", 1600), population(4000, 12)
    depths = []
    for noise in (0.0, 0.5, 1.0, 2.0):
        samples = population(4000, 12, noise=noise) if noise else clean
        depths.append(decide(calibrated(), samples.scores, samples.final, found.policy).exit.mean())
    assert depths == sorted(depths) and depths[-1] > depths[0] + 0.3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_drop_points": -1.0}, "--max-drop: expected 0 to 100 points of accuracy, found -1"),
        ({"max_drop_points": float("nan")}, "--max-drop: expected 0 to 100"),
        ({"confidence": 1.0}, "--confidence: expected a probability between 0 and 1, as in 0.95, found 1"),
    ],
)
def test_promises_that_are_none(more, message):
    for kind in ("confidence", "label-free"):
        with pytest.raises(FreemlError, match=message):
            chosen(kind, 50, **more)


def test_a_chance_is_bounded_over_a_whole_cell():
    """What `certified` relies on: the region's chance is largest at the corner of fewest lost and most gained answers."""
    region = risk._region(float(risk.log_wealth(np.array(2), np.array(1), 200, 0.05)), 200, 0.05, 0.0, 0.1)
    corner = risk._chance(region, 200, 0.06, 0.02)
    for gained in np.linspace(0.01, 0.02, 11):
        assert risk._chance(region, 200, gained + 0.05, gained) <= corner
