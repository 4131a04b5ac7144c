"""How much channels, bits and weights matter: what the loss is expected to grow by without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.channels import Channels
from freeml.compression.coarse import coarsen
from freeml.compression.head import Head
from freeml.compression.train import CHUNK, TEMPERATURE, Lesson
from freeml.compression.twin import FORMS, Twin
from freeml.ir.graph import Graph, Op
from freeml.ir.types import Array, FloatArray
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.storage import PackedBits

SCORED_SAMPLES = 1024

T = TypeVar("T")


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
