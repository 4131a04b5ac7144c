"""Retraining with distillation, and how much each unit of channels matters. One thread, one seed, one result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, pi
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.channels import Channels
from freeml.compression.coarse import NO_ROUNDING, Rounding, coarsen
from freeml.compression.head import Head
from freeml.compression.twin import FORMS, Twin, levels_name, step_name
from freeml.compression.variety import Answers, Pages, find_variety
from freeml.data import Part
from freeml.ir.graph import Graph, Op
from freeml.ir.types import Array, FloatArray
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.storage import PackedBits

CHUNK = 256
TEMPERATURE = 3.0
DISTILLED = 0.9
"""Weight of the original net's answers in the loss, times the share of them that is right; the labels have the rest."""

STEP = 0.02
"""Largest step of a parameter, relative to the size of its channel's weights or of its layer's output."""

STEP_OF_STEPS = 0.25
"""What the logarithm of a coarse layer's steps changes by, relative to what its weights do."""

STEP_OF_LEVELS = 0.1
"""What a level of a book changes by, relative to their root mean square, likewise."""

BETAS = (0.9, 0.99)
SCORED_SAMPLES = 1024

T = TypeVar("T")


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


def _loss(twin: Twin, head: Head, lesson: Lesson, x: Tensor, answers: Sequence[Tensor], y: Tensor) -> Tensor:
    """Of samples with what the original net answers, and their classes (n,), or shares of classes (n, classes)."""
    values = twin({twin.graph.inputs[0]: x})
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
    Adam with a cosine schedule, steps relative to what they change: folded batch norms leave weights of any size.
    `pages` hold the samples; `show` is told how many epochs are done. `masks` (bool, by constant name) say which
    weights may differ from zero; the others, zero in `graph`, are zero again after each step. With `rounding` the net
    is trained as it will be rounded.
    """
    twin = Twin(graph, rounding)
    sizes = _sizes(twin, lesson.x[:CHUNK])
    first = {name: torch.zeros_like(tensor) for name, tensor in twin.parameters.items()}
    second = {name: torch.zeros_like(tensor) for name, tensor in twin.parameters.items()}
    best, least = graph, _validation_loss(twin, head, validation)
    page, done = int(np.random.default_rng(seed).integers(pages.count)), 0
    for epoch in range(epochs):
        for batch in pages.read(page + epoch):
            step = largest_step * 0.5 * (1 + cos(pi * done / (epochs * pages.batches)))
            done += 1
            y = batch.classes(lesson.y, head.classes)
            _loss(twin, head, lesson, batch.x, batch.answers, y).backward()  # type: ignore[no-untyped-call]
            _descend(twin, sizes, first, second, step, done)
            _threshold(twin, masks or {})
        loss = _validation_loss(twin, head, validation)
        if loss < least:
            best, least = twin.to_graph(), loss
        show(epoch + 1)
    return best


def _sizes(twin: Twin, x: Tensor) -> dict[str, Tensor]:
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
                if step_name(name) in twin.parameters:
                    sizes[step_name(name)] = torch.tensor(STEP_OF_STEPS)
                if levels_name(name) in twin.parameters:
                    levels = twin.parameters[levels_name(name)]
                    sizes[levels_name(name)] = STEP_OF_LEVELS * levels.square().mean().sqrt().clamp_min(1.0)
                axes = [axis for axis in range(tensor.ndim) if axis != channel % tensor.ndim]
                size = tensor.square().mean().sqrt().clamp_min(1e-6)
                sizes[name] = torch.maximum(tensor.square().mean(dim=axes, keepdim=True).sqrt(), 0.1 * size)
    return sizes


def _descend(
    twin: Twin, sizes: dict[str, Tensor], first: dict[str, Tensor], second: dict[str, Tensor], step: float, count: int
) -> None:
    """One step of Adam (D. P. Kingma and J. Ba, 2015) in units of `sizes`."""
    with torch.no_grad():
        for name, tensor in twin.parameters.items():
            if tensor.grad is None:
                continue
            grad = tensor.grad * sizes[name]
            first[name].lerp_(grad, 1 - BETAS[0])
            second[name].lerp_(grad.square(), 1 - BETAS[1])
            mean, power = first[name] / (1 - BETAS[0] ** count), second[name] / (1 - BETAS[1] ** count)
            tensor.sub_(step * sizes[name] * mean / (power.sqrt() + 1e-8))
            tensor.grad = None


def _threshold(twin: Twin, masks: Mapping[str, Array]) -> None:
    with torch.no_grad():
        for name, mask in masks.items():
            twin.parameters[name].mul_(torch.from_numpy(mask)[None])


def importance(graph: Graph, channels: Channels, head: Head, lesson: Lesson, *, seed: int) -> dict[int, float]:
    """What removing each unit is expected to cost: half the mean square of the loss's slope along the unit's gates.

    The Fisher form of a Taylor score (L. Theis et al., 2018): a gate multiplies the channel wherever a convolution or
    dense layer reads it, and the loss is the net's own log likelihood of a class drawn from its softened answer, whose
    curvature is that of the distillation.
    """
    readers = {
        stage.outputs[0]: channels.labels[stage.inputs[0]]
        for stage in graph.stages()
        if stage.inputs[0] in channels.labels and _reads(stage.op)
    }
    scores = dict.fromkeys(channels.units, 0.0)
    if not readers:
        return scores
    twin, chance = Twin(graph), np.random.default_rng(seed)
    sources = {stage.outputs[0]: stage.inputs[0] for stage in graph.stages()}
    column = {unit: index for index, unit in enumerate(channels.units)}
    rows = torch.from_numpy(chance.permutation(len(lesson))[:SCORED_SAMPLES])
    total = torch.zeros(len(column), dtype=torch.float64)
    for batch in torch.split(rows, CHUNK):
        gates: dict[str, Tensor] = {}
        for name, found in readers.items():
            shape = [1] * len(graph.types[sources[name]].shape)
            shape[found.axis] = len(found.ids)
            gates[name] = torch.ones((len(batch), *shape), requires_grad=True)
        values = twin({graph.inputs[0]: lesson.x[batch]}, gates)
        loss = _own_loss(values, head, lesson, chance)
        slopes = torch.autograd.grad(loss, list(gates.values()), allow_unused=True, materialize_grads=True)
        by_unit = torch.zeros((len(batch), len(column)), dtype=torch.float64)
        for found, slope in zip(readers.values(), slopes, strict=True):
            places = np.flatnonzero(found.ids)
            columns = torch.tensor([column[int(found.ids[i])] for i in places])
            by_unit.index_add_(1, columns, slope.flatten(1)[:, torch.from_numpy(places)].double())
        total += by_unit.square().sum(dim=0)
    return {unit: float(total[index]) / (2 * len(rows)) for unit, index in column.items()}


def coarseness(
    graph: Graph, options: Sequence[tuple[str, PackedBits]], head: Head, lesson: Lesson, *, seed: int
) -> dict[tuple[str, PackedBits], float]:
    """What fewer bits for the weights of a layer are expected to cost: see `change_costs`."""
    changed = {option: (option[0], coarsen(graph, *option).constants[option[0]]) for option in options}
    return change_costs(graph, changed, head, lesson, seed=seed)


def change_costs(
    graph: Graph, changed: Mapping[T, tuple[str, Array]], head: Head, lesson: Lesson, *, seed: int
) -> dict[T, float]:
    """What other weights of a layer (their constant's name and what they become) are expected to cost, in the units of
    `importance`: half the mean square of the loss's slope along what the layer's output changes by."""
    scores = dict.fromkeys(changed, 0.0)
    if not changed:
        return scores
    makers = {stage.inputs[1]: stage for stage in graph.stages() if isinstance(stage.op, (Conv, Dense))}
    twin, chance = Twin(graph), np.random.default_rng(seed)
    rows = torch.from_numpy(chance.permutation(len(lesson))[:SCORED_SAMPLES])
    for batch in torch.split(rows, CHUNK):
        values = twin({graph.inputs[0]: lesson.x[batch]})
        outputs = [values[makers[name].outputs[0]] for name, _ in changed.values()]
        loss = _own_loss(values, head, lesson, chance)
        slopes = torch.autograd.grad(loss, outputs, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for (option, (name, array)), output, slope in zip(changed.items(), outputs, slopes, strict=True):
                stage = makers[name]
                weights = torch.from_numpy(array.copy())[None]
                arguments = (values[stage.inputs[0]], weights, *map(twin.constant, stage.inputs[2:]))
                change = FORMS[type(stage.op)](stage.op, arguments) - output
                scores[option] += float((slope * change).flatten(1).sum(dim=1).double().square().sum())
    return {option: score / (2 * len(rows)) for option, score in scores.items()}


def salience(graph: Graph, names: Collection[str], head: Head, lesson: Lesson, *, seed: int) -> dict[str, FloatArray]:
    """What each weight of the layers with these weights matters within its layer, like the weights: its square, times
    the mean square of the input that it meets, times that of the loss's slope along its output.

    The diagonal of the Fisher information, the two factors taken as independent (J. Martens and R. Grosse, 2015).
    """
    makers = {stage.inputs[1]: stage for stage in graph.stages() if isinstance(stage.op, (Conv, Dense))}
    if not names:
        return {}
    twin, chance = Twin(graph), np.random.default_rng(seed)
    met: dict[str, Tensor] = {}
    felt: dict[str, Tensor] = {}
    for batch in torch.split(torch.from_numpy(chance.permutation(len(lesson))[:SCORED_SAMPLES]), CHUNK):
        values = twin({graph.inputs[0]: lesson.x[batch]})
        outputs = [values[makers[name].outputs[0]] for name in names]
        loss = _own_loss(values, head, lesson, chance)
        slopes = torch.autograd.grad(loss, outputs, allow_unused=True, materialize_grads=True)
        for name, slope in zip(names, slopes, strict=True):
            axis = 2 if isinstance(makers[name].op, Conv) else slope.ndim - 1
            for found, tensor in ((met, values[makers[name].inputs[0]].detach()), (felt, slope)):
                power = tensor.double().square().transpose(0, axis).flatten(1).mean(dim=1)
                found[name] = found.get(name, torch.zeros_like(power)) + power
    return {
        name: _outer(makers[name].op, graph.constants[name], met[name].numpy(), felt[name].numpy()) for name in names
    }


def _outer(op: Op, weights: FloatArray, met: FloatArray, felt: FloatArray) -> FloatArray:
    """Squares of weights times what their inputs and outputs bring, each a number for a channel."""
    squares: FloatArray = np.square(weights, dtype=np.float64)
    if not isinstance(op, Conv):
        return squares * met[:, np.newaxis] * felt
    by_group = np.repeat(met.reshape(op.group, -1), len(weights) // op.group, axis=0)  # (outputs, inputs of each)
    matters: FloatArray = (by_group * felt[:, np.newaxis]).reshape(*weights.shape[:2], *(1,) * (weights.ndim - 2))
    return squares * matters


def _own_loss(values: dict[str, Tensor], head: Head, lesson: Lesson, chance: np.random.Generator) -> Tensor:
    """Minus the log likelihood, summed over the samples, of what is drawn from the net's own answer: a class from the
    softened one, and of each further output numbers about its own, as far from them as its mean is large."""
    soft = head.logits(values) / TEMPERATURE
    draws = torch.from_numpy(chance.random((len(soft), 1)))
    shares = torch.softmax(soft.detach().double(), dim=1).cumsum(dim=1)
    drawn = (shares < draws).sum(dim=1).clamp_max(soft.shape[1] - 1)
    loss = functional.cross_entropy(soft, drawn, reduction="sum")
    for name, whole in lesson.others.items():
        power, noise = whole.square().mean().clamp_min(1e-12), torch.from_numpy(chance.normal(size=values[name].shape))
        aim = values[name].detach() + power.sqrt() * noise.float()
        loss = loss + (values[name] - aim).square().flatten(1).mean(dim=1).sum() / (2 * power)
    return loss


def _reads(op: object) -> bool:
    return isinstance(op, Dense) or (isinstance(op, Conv) and op.group == 1)
