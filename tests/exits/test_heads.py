"""Training the branch: what is learned, that it is learned anew in the same way, and that no exit loses by sharing."""

from __future__ import annotations

import numpy as np

from freeml.compression.train import one_thread
from freeml.exits.heads import (
    Lesson,
    aims,
    choose_penalty,
    cross_entropy,
    fit_in_turn,
    fit_layer,
    fit_together,
    probe,
    scores_of,
    softmax,
)

CLASSES = 3


def lesson(count: int, seed: int = 0, width: int = 12) -> tuple[Lesson, np.ndarray]:
    """Two exits with features of their own, each telling a part of the truth, and the labels."""
    rng = np.random.default_rng(5)
    centres = [rng.normal(size=(CLASSES, width)) * size for size in (0.25, 0.4)]
    rng = np.random.default_rng(100 + seed)
    y = rng.integers(0, CLASSES, count)
    words = tuple((c[y] + rng.normal(size=(count, width))).astype(np.float32) for c in centres)
    answers = 4 * np.eye(CLASSES)[y] + rng.normal(size=(count, CLASSES))
    return Lesson(features=words, aims=aims(y, answers)), y


def right(scores, y) -> list[float]:
    return [float((s.argmax(axis=1) == y).mean()) for s in scores]


def test_aims_mix_labels_and_answers():
    answers = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = aims(np.array([1, 2]), answers, 0.25)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[1], [1 / 12, 1 / 12, 0.75 + 1 / 12])
    np.testing.assert_allclose(found[0], 0.25 * softmax(answers)[0] + [0, 0.75, 0])


def test_a_layer_is_the_least_of_its_loss():
    with one_thread():
        made, _ = lesson(300)
        penalty = 0.01
        layer = fit_layer(made.features[0], made.aims, None, penalty, steps=200)

        def loss(weights, bias):
            return cross_entropy(made.features[0] @ weights + bias, made.aims) + penalty * (weights**2).sum()

        least = loss(layer.weights, layer.bias)
        rng = np.random.default_rng(0)
        for size in (0.003, 0.03):
            for _ in range(20):
                step = rng.normal(size=layer.weights.shape) * size
                assert loss(layer.weights + step, layer.bias) > least - 1e-6
                assert loss(layer.weights, layer.bias + rng.normal(size=CLASSES) * size) > least - 1e-6


def test_the_second_exit_uses_the_first():
    made, _ = lesson(400)
    unseen, truth = lesson(4000, seed=1)
    with one_thread():
        shared = fit_in_turn(made, shared=True, seed=0)
        alone = fit_in_turn(made, shared=False, seed=0)
    together = right(scores_of(shared.layers, unseen.features), truth)
    apart = [
        right(scores_of([layer], [words]), truth)[0] for layer, words in zip(alone.layers, unseen.features, strict=True)
    ]
    assert together[0] == apart[0]
    assert together[1] > apart[1] + 0.02
    with one_thread():
        exact = fit_layer(made.features[1], made.aims, shared.held[0], shared.penalties[1], steps=200)
    assert shared.layers[0].gain == 1.0
    assert abs(shared.layers[1].gain - exact.gain) < 0.02
    np.testing.assert_allclose(shared.layers[1].weights, exact.weights, atol=0.02)


def test_held_scores_are_of_layers_that_never_saw_the_sample():
    """Labels drawn at random: what a layer was trained with it answers, what was held back it cannot."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, CLASSES, 90)
    words = tuple(rng.normal(size=(90, 60)).astype(np.float32) for _ in range(2))
    made = Lesson(features=words, aims=aims(y, np.zeros((90, CLASSES)), 0.0))
    with one_thread():
        found = fit_in_turn(made, shared=True, seed=0)
        layer = fit_layer(words[0], made.aims, None, 1e-4)
        assert choose_penalty(words[0], made.aims, None, 0) == 1e-2
    assert right(scores_of([layer], words[:1]), y)[0] > 0.9
    assert max(right(found.held, y)) < 0.5
    # nothing is to be had from an exit that guesses, and nothing is taken: in-sample scores would be multiplied by much
    assert found.layers[1].gain < 0.6


def test_trained_at_once_only_where_no_exit_loses():
    made, y = lesson(400)
    with one_thread():
        turn = fit_in_turn(made, shared=True, seed=0)
        found = fit_together(made, y, turn, seed=0)
    before = right([scores[found.rows] for scores in turn.held], y[found.rows])
    after = right(found.held, y[found.rows])
    assert all(new >= old for new, old in zip(after, before, strict=True))
    # labels that call every answer so far right: whatever training at once changes is a loss
    spoilt = turn.held[0].argmax(axis=1)
    with one_thread():
        assert fit_together(made, spoilt, turn, seed=0) is turn


def test_one_seed_one_result():
    made, y = lesson(200)
    with one_thread():
        results = [fit_together(made, y, fit_in_turn(made, shared=True, seed=4), seed=4) for _ in range(2)]
    for first, second in zip(results[0].layers, results[1].layers, strict=True):
        assert first.weights.tobytes() == second.weights.tobytes()
        assert first.gain == second.gain


def test_a_probe_tells_features_apart():
    made, y = lesson(600)
    noise = np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
    weak, strong, none = (probe(words, made.aims, y, 0) for words in (*made.features, noise))
    assert none < 0.42 < weak < strong
