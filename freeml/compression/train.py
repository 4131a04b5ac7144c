"""Retraining with distillation: one seed, one result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.coarse import NO_ROUNDING, Rounding
from freeml.compression.head import Head
from freeml.compression.twin import Twin, gains_name, levels_name, step_name
from freeml.compression.variety import Answers, Batch, Pages, find_variety
from freeml.data import Part
from freeml.ir.graph import Graph
from freeml.ir.types import Array
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.work import macs_by_value

CHUNK = 256
PARTS, MACS_TO_SPLIT = 2, 100_000
"""Parts that a batch is trained in, each in a thread, for nets of so many multiply-accumulates at least: as many
whatever the number of cores, so that the sums are the same."""

TEMPERATURE = 3.0
DISTILLED = 0.9
"""Weight of the original net's answers in the loss, times the share of them that is right; the labels have the rest."""

STEP = 0.05
"""Largest step of a parameter, relative to the size of its channel's weights or of its layer's output."""

STEP_OF_STEPS = 0.25
"""What the logarithm of a coarse layer's steps changes by, relative to what its weights do."""

STEP_OF_GAINS = 0.5
"""What the logarithm of a batch norm's gains changes by, likewise."""

STEP_OF_LEVELS = 0.1
"""What a level of a book changes by, relative to their root mean square, likewise."""

WARM_SHARE, LEAST_PACE = 0.25, 0.04
"""Of a training: until when its steps grow, and what they start at, relative to the largest."""

BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What nets are trained towards: samples (n, *input shape), their classes, and what the original net answers.

    `answers` are its logits (n, classes); `others` its further real outputs by name, (n, *shape); `original` gives both
    for any samples. `distilled` is the weight of those answers in the loss.
    """

    original: Answers
    x: Tensor
    y: Tensor
    answers: Tensor
    others: dict[str, Tensor]
    distilled: float = DISTILLED

    @property
    def knows(self) -> float:
        """Share of samples that the original net answers right."""
        return float((self.answers.argmax(dim=1) == self.y).double().mean())

    def __len__(self) -> int:
        return len(self.y)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_lesson(graph: Graph, head: Head, part: Part) -> Lesson:
    """The original net's answers on a part of the data."""
    x = torch.from_numpy(part.x.reshape(len(part), *graph.types[graph.inputs[0]].shape))
    further = [name for name in graph.outputs[1:] if graph.types[name].dtype == "float32"]
    twin = Twin(graph)

    def original(x: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            values = twin({graph.inputs[0]: x})
            return head.logits(values), *(values[name] for name in further)

    answers, *others = (torch.cat(parts) for parts in zip(*map(original, torch.split(x, CHUNK)), strict=True))
    return Lesson(
        original=original, x=x, y=torch.from_numpy(part.y), answers=answers,
        others=dict(zip(further, others, strict=True)),
    )  # fmt: skip


def make_pages(lesson: Lesson, validation: Lesson, *, seed: int) -> Pages:
    """The samples to train with: the lesson's, changed in what the original net tolerates on validation data."""
    variety = find_variety(validation.x, validation.y, lesson.original)
    return Pages(lesson.x, variety, lesson.original, seed=seed)


def right_answers(graph: Graph, head: Head, lesson: Lesson) -> Array:
    """Which samples the float net answers right, (n,) bool."""
    twin, found = Twin(graph), []
    with torch.no_grad():
        for x, y in zip(torch.split(lesson.x, CHUNK), torch.split(lesson.y, CHUNK), strict=True):
            found.append(head.logits(twin({graph.inputs[0]: x})).argmax(dim=1) == y)
    return np.asarray(torch.cat(found).numpy(), dtype=bool)


def _distance(logits: Tensor, answers: Tensor) -> Tensor:
    """From the original net's softened answers."""
    soft, aim = torch.log_softmax(logits / TEMPERATURE, dim=1), torch.softmax(answers / TEMPERATURE, dim=1)
    return TEMPERATURE**2 * functional.kl_div(soft, aim, reduction="batchmean")


def _loss(
    twin: Twin, head: Head, lesson: Lesson, x: Tensor, answers: Sequence[Tensor], y: Tensor, part: int = 0
) -> Tensor:
    """Of samples with what the original net answers, and their classes (n,), or shares of classes (n, classes)."""
    values = twin({twin.graph.inputs[0]: x}, part=part)
    logits = head.logits(values)
    distance, labels = _distance(logits, answers[0]), functional.cross_entropy(logits, y)
    loss = lesson.distilled * distance + (1 - lesson.distilled) * labels
    for (name, whole), aim in zip(lesson.others.items(), answers[1:], strict=True):
        loss = loss + functional.mse_loss(values[name], aim) / whole.square().mean().clamp_min(1e-12)
    return loss


def _validation_loss(twin: Twin, head: Head, validation: Lesson) -> float:
    with torch.no_grad():
        total = 0.0
        for rows in torch.split(torch.arange(len(validation)), CHUNK):
            answers = [validation.answers[rows], *(whole[rows] for whole in validation.others.values())]
            loss = _loss(twin, head, validation, validation.x[rows], answers, validation.y[rows])
            total += float(loss) * len(rows)
        return total / len(validation)


def retrain(
    graph: Graph,
    head: Head,
    lesson: Lesson,
    validation: Lesson,
    pages: Pages,
    *,
    epochs: int,
    seed: int,
    show: Callable[[int], None],
    masks: Mapping[str, Array] | None = None,
    largest_step: float = STEP,
    rounding: Rounding = NO_ROUNDING,
) -> Graph:
    """The net of the epoch with the least loss on validation data, the start included.

    The loss decides, not the right answers: on a few hundred samples those are a lottery whose winner is often a net
    that was hardly trained.
    Adam with steps that rise and fall (`pace`), relative to what they change: batch norms that were folded before leave
    weights of any size. New ones stand behind the layers meanwhile, but not with `rounding`; large nets have each
    batch in two parts.
    `pages` hold the samples; `show` is told how many epochs are done. `masks` (bool, by constant name) say which
    weights may differ from zero; the others, zero in `graph`, are zero again after each step. With `rounding` the net
    is trained as it will be rounded.
    """
    twin, parts = Twin(graph, rounding), PARTS if sum(macs_by_value(graph).values()) >= MACS_TO_SPLIT else 1
    if rounding == NO_ROUNDING:
        twin.normalise({graph.inputs[0]: lesson.x[:CHUNK]}, parts)
    sizes = sizes_of(twin, lesson.x[:CHUNK])
    first = {name: torch.zeros_like(tensor) for name, tensor in twin.parameters.items()}
    second = {name: torch.zeros_like(tensor) for name, tensor in twin.parameters.items()}
    best, least = graph, _validation_loss(twin, head, validation)
    page, done = int(np.random.default_rng(seed).integers(pages.count)), 0
    with ThreadPoolExecutor(parts, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for epoch in range(epochs):
            for batch in pages.read(page + epoch):
                step = largest_step * pace(done / (epochs * pages.batches))
                done += 1
                slopes = _slopes(twin, head, lesson, batch, parts, pool)
                descend(twin, slopes, sizes, first, second, step, done)
                _threshold(twin, masks or {})
            found = twin.to_graph()
            loss = _validation_loss(Twin(found, rounding), head, validation)
            if loss < least:
                best, least = found, loss
            show(epoch + 1)
    return best


def _slopes(twin: Twin, head: Head, lesson: Lesson, batch: Batch, parts: int, pool: Executor) -> dict[str, Tensor]:
    """The loss's slope along each parameter, by name: the mean of the batch's parts, each of which has its thread."""
    names, y = tuple(twin.parameters), batch.classes(lesson.y, head.classes)

    def slopes_of(part: int, rows: Tensor) -> Sequence[Tensor]:
        answers = [whole[rows] for whole in batch.answers]
        loss = _loss(twin, head, lesson, batch.x[rows], answers, y[rows], part)
        along = [twin.parameters[name] for name in names]
        return torch.autograd.grad(loss * (len(rows) / len(y)), along, allow_unused=True, materialize_grads=True)

    rows = torch.arange(len(y)).chunk(parts)
    found = pool.map(slopes_of, range(len(rows)), rows)
    return {name: torch.stack(slopes).sum(dim=0) for name, *slopes in zip(names, *found, strict=True)}


def pace(share: float) -> float:
    """The step, relative to the largest, where such a share of the training is done: it rises, then falls to nothing,
    along cosines (L. N. Smith and N. Topin, 2018)."""
    rising = share < WARM_SHARE
    along = share / WARM_SHARE if rising else (share - WARM_SHARE) / (1 - WARM_SHARE)
    return LEAST_PACE + (1 - LEAST_PACE) * 0.5 * (1 - cos(pi * along)) if rising else 0.5 * (1 + cos(pi * along))


def sizes_of(twin: Twin, x: Tensor) -> dict[str, Tensor]:
    """What a step of each parameter is measured in: weights by the output channel they belong to, biases by the
    layer's output; each at least a tenth of the layer's."""
    with torch.no_grad():
        values = twin({twin.graph.inputs[0]: x})
        sizes: dict[str, Tensor] = {}
        for stage in twin.graph.stages():
            if not isinstance(stage.op, (Conv, Dense)):
                continue
            channel = 1 if isinstance(stage.op, Conv) else -1
            for index, name in enumerate(stage.inputs[1:]):
                if name not in twin.parameters:
                    continue
                tensor = twin.parameters[name]
                if index == 1:
                    sizes[name] = values[stage.outputs[0]].square().mean().sqrt().clamp_min(1e-6)
                    continue
                if gains_name(name) in twin.parameters:
                    sizes[gains_name(name)] = torch.tensor(STEP_OF_GAINS)
                if step_name(name) in twin.parameters:
                    sizes[step_name(name)] = torch.tensor(STEP_OF_STEPS)
                if levels_name(name) in twin.parameters:
                    levels = twin.parameters[levels_name(name)]
                    sizes[levels_name(name)] = STEP_OF_LEVELS * levels.square().mean().sqrt().clamp_min(1.0)
                axes = [axis for axis in range(tensor.ndim) if axis != channel % tensor.ndim]
                size = tensor.square().mean().sqrt().clamp_min(1e-6)
                sizes[name] = torch.maximum(tensor.square().mean(dim=axes, keepdim=True).sqrt(), 0.1 * size)
    return sizes


def descend(
    twin: Twin,
    slopes: Mapping[str, Tensor],
    sizes: Mapping[str, Tensor],
    first: dict[str, Tensor],
    second: dict[str, Tensor],
    step: float,
    count: int,
) -> None:
    """One step of Adam (D. P. Kingma and J. Ba, 2015) in units of `sizes`."""
    with torch.no_grad():
        for name, tensor in twin.parameters.items():
            grad = slopes[name] * sizes[name]
            first[name].lerp_(grad, 1 - BETAS[0])
            second[name].lerp_(grad.square(), 1 - BETAS[1])
            mean, power = first[name] / (1 - BETAS[0] ** count), second[name] / (1 - BETAS[1] ** count)
            tensor.sub_(step * sizes[name] * mean / (power.sqrt() + 1e-8))


def _threshold(twin: Twin, masks: Mapping[str, Array]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            twin.parameters[name].mul_(torch.from_numpy(mask)[None])
