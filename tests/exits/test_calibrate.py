"""Reliability tables say what is so, temperatures are those that were put in, and entropies that tell nothing are seen."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scored import SCALE, calibrated, population

from freeml.exits.calibrate import reliability, rising, steps, telling_range, temperature
from freeml.fixedpoint.confidence import margins
from freeml.ir.exits import BINS
from freeml.ops.answer import confidence


@pytest.mark.parametrize("exit_", [0, 1, 2])
def test_tables_are_honest(exit_):
    """Learned from 1,000 samples, held against 60,000 others: in every bin, and on average over all."""
    learned, truth = population(1000, 11), population(60_000, 1)
    table = reliability(learned.scores[exit_], learned.labels)
    said = confidence(truth.scores[exit_], table) / 255
    right = truth.scores[exit_].argmax(axis=1) == truth.labels
    assert abs(said.mean() - right.mean()) < 0.03
    error = sum(
        abs(said[said == level].mean() - right[said == level].mean()) * (said == level).mean() for level in set(said)
    )
    assert error < 0.05
    assert len(set(table.right)) >= 6  # it tells more than the mean


def test_tables_rise_and_cover():
    for seed, exit_ in product(range(4), range(3)):
        samples = population(300, seed)
        table = reliability(samples.scores[exit_], samples.labels)
        assert list(table.right) == sorted(table.right) and len(table.right) == BINS
        assert table.right[0] >= 0 and table.right[-1] < 255
        bins = np.minimum(margins(samples.scores[exit_]) >> table.bin_shift, BINS - 1)
        assert len(np.unique(bins)) >= 6 and (bins == BINS - 1).mean() < 0.5


def test_few_samples_say_little():
    one = np.array([[5000, 0, 0]])
    assert set(reliability(one, np.array([0])).right) == {int(255 * (1 + 2 * 2 / 3) / 3)}
    assert set(reliability(one, np.array([1])).right) == {int(255 * (0 + 2 * 1 / 3) / 3)}
    equal = np.zeros((50, 4), dtype=np.int64)
    assert set(reliability(equal, np.zeros(50, dtype=np.int64)).right) == {int(255 * (50 + 2 * 51 / 52) / 52)}
    far = np.array([[32767, -32768]] * 40)
    assert reliability(far, np.zeros(40, dtype=np.int64)).right[-1] == int(255 * (40 + 2 * 41 / 42) / 42)


def test_no_samples_say_nothing():
    table = reliability(np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.int64))
    assert table.right == (127,) * BINS


def test_pooled_violators_are_the_nearest_rising_sequence():
    rng = np.random.default_rng(0)
    for _ in range(12):
        values, weights = rng.integers(0, 5, 4) / 4, rng.integers(1, 4, 4).astype(float)
        found = rising(values, weights)
        assert (np.diff(found) >= 0).all()
        levels = np.linspace(0, 1, 13)
        best = min(
            float((weights * (np.array(tried) - values) ** 2).sum()) for tried in product(levels, repeat=4) if list(tried) == sorted(tried)
        )  # fmt: skip
        assert float((weights * (found - values) ** 2).sum()) <= best + 1e-12


@pytest.mark.parametrize("heat", [0.25, 1.0, 3.0])
def test_a_temperature_is_found_again(heat):
    """Labels are drawn from the softmax at that temperature."""
    rng = np.random.default_rng(5)
    scores = np.rint(rng.normal(0, 2 * heat, (20_000, 6)) / SCALE).astype(np.int64)
    chance = np.exp(scores * SCALE / heat)
    chance /= chance.sum(axis=1, keepdims=True)
    labels = (chance.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert temperature(scores, labels, SCALE) == pytest.approx(heat, rel=0.04)


def test_temperatures_at_the_ends():
    right = np.array([[500, 0], [0, 500]] * 20)
    labels = np.array([0, 1] * 20)
    # One of 41 samples is right by halves: the other class has a share of 1 / 82.
    assert temperature(right, labels, SCALE) == pytest.approx(500 * SCALE / np.log(81))
    assert temperature(right, 1 - labels, SCALE) > 1000
    assert np.isfinite(temperature(np.zeros((5, 3), dtype=np.int64), np.zeros(5, dtype=np.int64), SCALE))


def test_steps():
    assert steps(1 / 256) == 4096  # 256 units are a nat, and that is sixteen steps
    assert (256 * steps(1 / 256)) >> 16 == 16
    assert steps(1 / 256, 2.0) == 2048
    assert steps(10.0) == 65535 and steps(1e-9) == 1


def test_the_range_of_exits_that_tell():
    exits, samples = calibrated(), population(2000, 6)
    assert telling_range(exits, samples.scores, samples.final) == (0, 2)
    rng = np.random.default_rng(7)
    noise = rng.integers(-1000, 1000, samples.final.shape)
    first, middle, last = samples.scores
    assert telling_range(exits, (noise, middle, last), samples.final) == (1, 2)
    assert telling_range(exits, (first, middle, noise), samples.final) == (0, 1)
    assert telling_range(exits, (first, noise, last), samples.final) == (0, 2)
    assert telling_range(exits, (noise, noise, noise), samples.final) == (1, 0)
    assert telling_range(exits, (noise, noise, samples.final), samples.final) == (2, 2)  # never disagrees
    turned = np.roll(samples.final, 1, axis=1)
    assert telling_range(exits, (turned, turned, turned), samples.final) == (1, 0)  # never agrees
