"""Training the branch: linear layers over the slices of all exits, whose sums run on from exit to exit.

    scores_i = gain_i * scores_(i-1) + features_i @ W_i + b_i

The loss of an exit is the cross entropy with what the backbone answers at its end, mixed with the labels. All problems
are smooth and small, so L-BFGS on all samples solves them; sums are taken in one thread, and one seed gives one result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from freeml.ir.types import Array, FloatArray, IntArray

STEPS = 60
"""Of L-BFGS, at most."""

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Of squared weights on standardised features, tried by cross-validation."""

FOLDS, FOLD_SAMPLES, FOLD_SINGLE, HELD_SAMPLES = 3, 4_000, 1_000, 10_000
"""Parts of a cross-validation; samples that penalties are chosen on, and those of them that are no copies of others, at
least; samples, at most, that a layer is trained on which only stands for another, on samples that the other was trained
with."""

DISTILLED = 0.5
"""Share of the backbone's answers in what is trained towards; the labels have the rest."""

PROBE_PENALTIES = (0.01, 0.1, 1.0)
"""Of least squares, relative to the variance of a feature."""

LEAST_GAIN = 1e-3
"""Scores before count for nothing below that; the sums of the board have 16 bits."""

EARLY = 4.0
"""How much more an exit's loss weighs than the next one's where all are trained at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What an exit adds: weights (features, classes), biases (classes,), and what the scores before are multiplied
    by."""

    weights: FloatArray
    bias: FloatArray
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Features of each exit (samples, words), float32 and standardised, and shares of classes (samples, classes). All
    samples occur `copies` times, one turn of all after the other, changed a little."""

    features: tuple[Array, ...]
    aims: Array
    copies: int = 1


def scores_of(layers: Sequence[Layer], features: Sequence[Array]) -> tuple[FloatArray, ...]:
    """The scores at each exit, (samples, classes), float64."""
    found: list[FloatArray] = []
    for layer, words in zip(layers, features, strict=True):
        before = found[-1] * layer.gain if found else 0.0
        found.append(before + words.astype(np.float64) @ layer.weights + layer.bias)
    return tuple(found)


def aims(labels: IntArray, answers: FloatArray, distilled: float = DISTILLED) -> FloatArray:
    """Shares of classes to train towards: labels (samples,) and the softmax of the backbone's scores."""
    exact = np.eye(answers.shape[1])[labels]
    return (1 - distilled) * exact + distilled * softmax(answers)


def softmax(scores: FloatArray) -> FloatArray:
    """Shares of classes, float64."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _descend(parameters: Sequence[Tensor], loss: Callable[[], Tensor], steps: int = STEPS) -> None:
    optimiser = torch.optim.LBFGS(
        list(parameters), max_iter=steps, history_size=10, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def _entropy(scores: Tensor, aim: Tensor) -> Tensor:
    return -(torch.log_softmax(scores, dim=1) * aim).sum(dim=1).mean()


def fit_layer(
    words: Array,
    aim: Array,
    before: FloatArray | None,
    penalty: float,
    *,
    start: Sequence[Layer] = (),
    steps: int = STEPS,
) -> Layer:
    """The best next exit for scores before it that stay as they are; None where it is the first. The descent begins at
    the mean of the layers of `start`."""
    x, y = torch.from_numpy(words), torch.from_numpy(aim.astype(np.float32))
    weights, bias, log_gain = torch.zeros(x.shape[1], y.shape[1]), torch.zeros(y.shape[1]), torch.zeros(())
    for layer in start:
        weights += torch.from_numpy(layer.weights) / len(start)
        bias += torch.from_numpy(layer.bias) / len(start)
        log_gain += float(np.log(layer.gain)) / len(start)
    for leaf in (weights, bias, log_gain):
        leaf.requires_grad_()
    base = None if before is None else torch.from_numpy(before.astype(np.float32))

    def loss() -> Tensor:
        scores = x @ weights + bias
        if base is not None:
            scores = scores + base * log_gain.exp()
        return _entropy(scores, y) + penalty * weights.square().sum()

    _descend([weights, bias] if base is None else [weights, bias, log_gain], loss, steps)
    return _layer(weights, bias, log_gain)


def _layer(weights: Tensor, bias: Tensor, log_gain: Tensor) -> Layer:
    return Layer(
        weights=weights.detach().numpy().astype(np.float64), bias=bias.detach().numpy().astype(np.float64),
        gain=max(LEAST_GAIN, float(log_gain.detach().exp())),
    )  # fmt: skip


def fit_jointly(
    lesson: Lesson, start: Sequence[Layer], weight: Sequence[float], penalties: Sequence[float], steps: int = STEPS
) -> tuple[Layer, ...]:
    """All exits in one loss, their losses weighted, from layers that are near."""
    x, y = [torch.from_numpy(f) for f in lesson.features], torch.from_numpy(lesson.aims.astype(np.float32))

    def leaf(values: FloatArray | float) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32).requires_grad_()

    weights, biases = [leaf(layer.weights) for layer in start], [leaf(layer.bias) for layer in start]
    gains = [leaf(np.log(layer.gain)) for layer in start]

    def loss() -> Tensor:
        total, scores = torch.zeros(()), torch.zeros_like(y)
        for index, words in enumerate(x):
            scores = scores * gains[index].exp() + words @ weights[index] + biases[index]
            total = total + weight[index] * _entropy(scores, y)
            total = total + weight[index] * penalties[index] * weights[index].square().sum()
        return total / sum(weight)

    _descend([*weights, *biases, *gains[1:]], loss, steps)
    return tuple(_layer(w, b, g) for w, b, g in zip(weights, biases, gains, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The layers of a branch and the penalty of each. `held` are the scores at each exit of the samples `rows`, each
    (rows, classes), by layers that were trained without them; `first` are the layers trained without the first fold."""

    layers: tuple[Layer, ...]
    penalties: tuple[float, ...]
    rows: IntArray
    held: tuple[FloatArray, ...]
    first: tuple[Layer, ...]


def folds_of(samples: int, seed: int, copies: int = 1, most: int | None = None) -> tuple[IntArray, ...]:
    """The samples in FOLDS parts by chance, each in order; of `most` samples where there are more, and with all copies
    of a sample in one part."""
    single = samples // copies
    order = np.random.default_rng(seed).permutation(single)[:most]
    turns = single * np.arange(copies)[:, np.newaxis]
    return tuple((turns + np.sort(fold)).ravel() for fold in np.array_split(order, FOLDS))


def _without(fold: IntArray, samples: int, seed: int) -> IntArray:
    """HELD_SAMPLES of the samples that are not in a fold, in order."""
    rest = np.setdiff1d(np.arange(samples), fold, assume_unique=True)
    return np.sort(np.random.default_rng(seed).permutation(rest)[:HELD_SAMPLES])


def fit_in_turn(lesson: Lesson, *, shared: bool, seed: int, show: Callable[[float], None] = lambda _: None) -> Trained:
    """One exit after the other, each the best for scores before it that stay as they are (`shared`), or for itself.

    What an exit adds to are scores of samples that its predecessors were not trained with: those that they were trained
    with are too good to add anything to.
    """
    layers: list[Layer] = []
    penalties: list[float] = []
    held: list[FloatArray] = []
    first: list[Layer] = []
    folds = folds_of(len(lesson.aims), seed, lesson.copies)
    for index, words in enumerate(lesson.features):
        before = held[-1] if shared and held else None
        penalty = choose_penalty(words, lesson.aims, before, seed, lesson.copies)
        out, found = np.empty(lesson.aims.shape), list[Layer]()
        for fold in folds:
            kept = _without(fold, len(words), seed)
            scaled = penalty * len(words) / len(kept)
            found.append(fit_layer(words[kept], lesson.aims[kept], None if before is None else before[kept], scaled))
            out[fold] = _added(found[-1], words[fold], None if before is None else before[fold])
        layers.append(fit_layer(words, lesson.aims, before, penalty, start=found, steps=STEPS // 2))
        penalties.append(penalty)
        held.append(out)
        first.append(found[0])
        show((index + 1) / len(lesson.features))
    return Trained(
        layers=tuple(layers), penalties=tuple(penalties), rows=np.arange(len(lesson.aims)), held=tuple(held),
        first=tuple(first),
    )  # fmt: skip


def _added(layer: Layer, words: Array, before: FloatArray | None) -> FloatArray:
    own: FloatArray = words.astype(np.float64) @ layer.weights + layer.bias
    return own if before is None else own + layer.gain * before


def fit_together(
    lesson: Lesson, labels: IntArray, turn: Trained, *, seed: int, show: Callable[[float], None] = lambda _: None
) -> Trained:
    """All exits in one loss, from what fitting in turn gave; that itself where any exit is less often right on samples
    that were held back, labels (samples,)."""
    if len(lesson.features) < 2:
        return turn
    fold = folds_of(len(labels), seed, lesson.copies)[0]
    kept = _without(fold, len(labels), seed)
    weight = [EARLY ** (len(lesson.features) - 1 - index) for index in range(len(lesson.features))]
    part = Lesson(features=tuple(f[kept] for f in lesson.features), aims=lesson.aims[kept])
    scaled = [penalty * len(labels) / len(kept) for penalty in turn.penalties]
    first = fit_jointly(part, turn.first, weight, scaled)
    show(0.5)
    held = scores_of(first, [f[fold] for f in lesson.features])
    before = [scores[fold] for scores in turn.held]
    if any(_right(new, labels[fold]) < _right(old, labels[fold]) for new, old in zip(held, before, strict=True)):
        return turn
    layers = fit_jointly(lesson, turn.layers, weight, turn.penalties)
    return Trained(layers=layers, penalties=turn.penalties, rows=fold, held=held, first=first)


def _right(scores: FloatArray, labels: IntArray) -> float:
    return float((scores.argmax(axis=1) == labels).mean())


def choose_penalty(words: Array, aim: Array, before: FloatArray | None, seed: int, copies: int = 1) -> float:
    """The penalty with the least loss over the folds of a subsample, for as many samples as there are."""
    folds = folds_of(len(words), seed, copies, max(FOLD_SINGLE, FOLD_SAMPLES // copies))
    losses = dict.fromkeys(PENALTIES, 0.0)
    for held in range(FOLDS):
        if len(folds[held]) == 0:  # fewer samples than folds
            continue
        kept = np.sort(np.concatenate([fold for index, fold in enumerate(folds) if index != held]))
        start: tuple[Layer, ...] = ()
        for penalty in sorted(PENALTIES, reverse=True):
            layer = fit_layer(
                words[kept], aim[kept], None if before is None else before[kept], penalty * len(words) / len(kept),
                start=start, steps=STEPS // 3,
            )  # fmt: skip
            start = (layer,)
            scores = _added(layer, words[folds[held]], None if before is None else before[folds[held]])
            losses[penalty] += cross_entropy(scores, aim[folds[held]])
    return min(losses, key=lambda penalty: losses[penalty])


def cross_entropy(scores: FloatArray, aim: FloatArray) -> float:
    """Mean over samples, in nats."""
    top = scores.max(axis=1, keepdims=True)
    logs = scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))
    return float(-(logs * aim).sum(axis=1).mean())


def spread(words: Array) -> FloatArray:
    """What each feature is divided by, (words,): its standard deviation, and a hundredth of all of them together, lest
    a feature that hardly ever changes has weights beyond all others."""
    found: FloatArray = words.std(axis=0, dtype=np.float64) + 0.01 * float(words.std()) + 1e-12
    return found


def probe(words: Array, aim: Array, labels: IntArray, seed: int) -> float:
    """Share of right answers of least squares on these features, (samples, words), on samples held back: a cheap
    measure of what a linear layer can tell from them."""
    x = np.asarray(words - words.mean(axis=0), dtype=np.float32)
    x /= spread(words).astype(np.float32)
    folds = np.array_split(np.random.default_rng(seed).permutation(len(x)), 2)
    right = np.zeros(len(PROBE_PENALTIES))
    for kept, held in (folds, folds[::-1]):
        middle = aim[kept].mean(axis=0)
        gram, moments = x[kept].T @ x[kept] / len(kept), x[kept].T @ (aim[kept] - middle).astype(np.float32) / len(kept)
        for index, penalty in enumerate(PROBE_PENALTIES):
            weights = np.linalg.solve(gram + penalty * np.eye(len(gram), dtype=np.float32), moments)
            right[index] += float(((x[held] @ weights + middle).argmax(axis=1) == labels[held]).sum())
    return float(right.max()) / len(x)
