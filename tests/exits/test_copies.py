"""Changed copies of training samples: only such as the net tolerates, of all samples alike, and never two of a sample
on both sides of a cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import IMAGE, dataset, level_net, levels, net, samples

from freeml.compression.variety import Variety
from freeml.exits import copies
from freeml.exits.asked import asked_exits
from freeml.exits.attach import attach
from freeml.exits.copies import COPIES, answers_of, with_copies
from freeml.exits.heads import FOLDS, folds_of


def test_samples_come_first_and_their_copies_turn_by_turn():
    x, y = levels(100, 0)
    more, labels, count = with_copies(level_net().qgraph, x, y, "logits", weights=1000, most=1000, seed=0)
    assert count == COPIES + 1 and more.shape == (100 * count, *IMAGE) and more.dtype == np.float32
    assert np.array_equal(more[:100], x) and np.array_equal(labels, np.tile(y, count))
    net_, before = level_net().qgraph, answers_of(level_net().qgraph, x, "logits").argmax(axis=1)
    for turn in range(1, count):
        changed = more[100 * turn : 100 * (turn + 1)]
        assert not np.array_equal(changed, x)
        after = answers_of(net_, changed, "logits").argmax(axis=1)
        assert (after == before).mean() > 0.9  # each is still behind its own sample
    again = with_copies(level_net().qgraph, x, y, "logits", weights=1000, most=1000, seed=0)[0]
    assert np.array_equal(more, again)


def test_no_more_samples_than_asked():
    x, y = levels(100, 0)
    for most, count in ((100, 1), (199, 1), (200, 2), (399, 3)):
        more, _, found = with_copies(level_net().qgraph, x, y, "logits", weights=1000, most=most, seed=0)
        assert (len(more), found) == (100 * count, count)


def test_no_more_copies_than_weights_need():
    x, y = levels(100, 0)
    for weights, count in ((1, 1), (20, 1), (21, 2), (60, 3), (10_000, COPIES + 1)):
        found = with_copies(level_net().qgraph, x, y, "logits", weights=weights, most=10_000, seed=0)[2]
        assert found == count


def test_changes_that_the_net_does_not_tolerate():
    x, y = samples(200, 0)  # patterns at fixed places
    more, labels, count = with_copies(net().qgraph, x, y, "logits", weights=1000, most=10_000, seed=0)
    assert more is x and labels is y and count == 1


@pytest.mark.parametrize(("single", "turns"), [(10, 1), (10, 4), (3, 2), (100, 7)])
def test_copies_of_a_sample_are_in_one_fold(single: int, turns: int):
    folds = folds_of(single * turns, 3, turns)
    assert len(folds) == FOLDS
    assert sorted(np.concatenate(folds).tolist()) == list(range(single * turns))
    for fold in folds:
        assert len(fold) == turns * len(set((fold % single).tolist()))
    few = folds_of(single * turns, 3, turns, 3)
    assert sum(map(len, few)) == 3 * turns


@pytest.mark.parametrize("kind", ["shared", "linear", "separate"])
def test_what_scores_are_worth_is_told_by_samples_as_they_are(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Copies that hold nothing but noise teach little, but leave the accuracy on samples held back what it is."""

    def noise(self: Variety, x, chance):
        return x + torch.from_numpy(8 * chance.normal(size=tuple(x.shape))).float()

    monkeypatch.setattr(copies, "PER_WEIGHT", 100)
    plain = attach(net(), dataset(), asked_exits(kind), seed=0)
    monkeypatch.setattr(copies, "_tolerated", lambda *_: Variety(mirrored=(3,)))
    monkeypatch.setattr(Variety, "change", noise)
    noisy = attach(net(), dataset(), asked_exits(kind), seed=0)
    for before, after in zip(plain.exits, noisy.exits, strict=True):
        assert after.held_accuracy != before.held_accuracy  # they did teach
        assert after.held_accuracy > before.held_accuracy - 0.25
