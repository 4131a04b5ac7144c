"""A net trained together with exits, before it has integers: what two-stage training is compared with.

The exits of this training are linear layers on the maps, pooled as the real ones will pool them; they are thrown away.
What stays are the backbone's new constants, on whose integer maps exits are then trained as on any other net's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.head import Head, find_head
from freeml.compression.train import descend, one_thread, pace, sizes_of
from freeml.compression.twin import Twin
from freeml.data import Dataset
from freeml.errors import UnsupportedModelError
from freeml.evaluate import as_input
from freeml.exits.asked import AskedExits, ExitsError
from freeml.exits.attach import Sights, sights
from freeml.exits.features import pool
from freeml.exits.heads import DISTILLED
from freeml.ir.graph import Graph, QGraph
from freeml.ir.types import Array
from freeml.passes.fuse import fusion_groups
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.work import macs_by_value

SAMPLES, LEAST_SAMPLES = 50_000, 2_000
"""To train on, at most; and what a net's size does not take them below."""

EPOCHS, STEPS = 20, 300
"""How often all samples are seen, more often where that makes fewer steps than these."""

WORK = 4e11
"""Multiply-accumulates of the whole training: a minute or two on one core. Fewer epochs, then fewer samples, keep to
it."""

BATCH, CHUNK = 64, 256
"""Samples of a step, and of what needs no slopes."""

STEP, HEAD_STEP = 0.02, 3e-3
"""The largest step of a parameter of the backbone, relative to the size of its channel's weights or of its layer's
output; and of a weight of an exit, whose features have standard deviations near 1."""

EXIT_WEIGHT = 1.0
"""Of an exit's loss, where that of the end has 1."""

HELD = 6
"""One sample of so many chooses the epoch."""

PROBES = 64
"""Samples that the integer net is calibrated on in which points are looked for."""

Show = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """Samples (n, *input shape), shares of classes (n, classes) to be learned, and what the net gives at its further
    real outputs, each (n, *shape)."""

    x: Tensor
    aims: Tensor
    others: Mapping[str, Tensor]


class _Exits:
    """A linear layer at each point; scores run on from exit to exit where the branch is a shared one."""

    def __init__(self, found: Sights, values: Mapping[str, Tensor], running: bool) -> None:
        """With no knowledge yet; `values` are those of some samples."""
        self.found, self.running = found, running
        self.sizes = [features.std(dim=0) + 0.01 * features.std() + 1e-12 for features in self._features(values)]
        self.leaves = [
            torch.zeros(shape, requires_grad=True)
            for size in self.sizes
            for shape in ((len(size), found.classes), (found.classes,))
        ]

    def _features(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        return [
            torch.cat([pool(values[p.value], tuple(values[p.value].shape[1:]), part) for part in s.parts], dim=1)
            for p, s in zip(self.found.points, self.found.slices, strict=True)
        ]

    def __call__(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """The scores of all exits, (samples, classes) each. Sums pass no slopes back: an exit does not serve others."""
        scores: list[Tensor] = []
        for index, (features, size) in enumerate(zip(self._features(values), self.sizes, strict=True)):
            own = features / size @ self.leaves[2 * index] + self.leaves[2 * index + 1]
            scores.append(own + scores[-1].detach() if self.running and scores else own)
        return scores


def retrain_jointly(
    graph: Graph, dataset: Dataset, asked: AskedExits, *, seed: int, show: Show = lambda *_: None
) -> Graph:
    """A float graph after the passes with new constants, trained for exits where they are asked for, or where they are
    worth it, and for its end, towards labels and its own answers before. Only training data is read.

    `show` is told what is under way and the share that is done. The net of the epoch with the least loss on samples
    held back is taken. Raises ExitsError where the net or the data allow no exits, or an operator cannot be trained.
    """
    with one_thread():
        try:
            twin = Twin(graph)
        except UnsupportedModelError as error:
            names = "; ".join(problem.split(";")[0] for problem in error.problems)
            raise ExitsError(
                f"--exit-training joint: expected layers that can be trained, found {names}; train the exits "
                "alone, with --exit-training two-stage"
            ) from error
        found = sights(graph, _integers(graph, dataset), dataset, asked, seed=seed)
        head = find_head(replace(graph, outputs=(found.output, *(o for o in graph.outputs if o != found.output))))
        macs = sum(macs_by_value(graph).values())
        most = int(max(LEAST_SAMPLES, min(SAMPLES, WORK / (9 * macs))))
        rows = np.random.default_rng(seed).permutation(len(found.labels))[:most]
        held, kept = np.split(rows, [max(1, len(rows) // HELD)])
        lesson, judge = (
            _lesson(twin, head, dataset.train.x[part], found.labels[part], found.output)
            for part in (np.sort(kept), np.sort(held))
        )
        batches = max(1, len(kept) // BATCH)
        epochs = int(max(2, min(max(EPOCHS, STEPS / batches), WORK / (3 * macs * len(kept)))))
        return _trained(twin, head, found, lesson, judge, asked.kind == "shared", epochs, seed, show)


def _integers(graph: Graph, dataset: Dataset) -> QGraph:
    """The net in integers, roughly: enough to say which values are stored, and what can be told from each."""
    inputs = {graph.inputs[0]: as_input(graph, dataset.train.x[:PROBES])}
    seen = observe(graph, inputs)
    return quantize(graph, seen, precision=Precision(), method="minmax", groups=fusion_groups(graph))


def _lesson(twin: Twin, head: Head, x: Array, labels: Array, output: str) -> _Lesson:
    graph = twin.graph
    samples = torch.from_numpy(np.asarray(x, dtype=np.float32).reshape(len(x), *graph.types[graph.inputs[0]].shape))
    further = [name for name in graph.outputs if name != output and graph.types[name].dtype == "float32"]
    answers: list[list[Tensor]] = []
    with torch.no_grad():
        for part in torch.split(samples, CHUNK):
            values = twin({graph.inputs[0]: part})
            answers.append([torch.softmax(head.logits(values), dim=1), *(values[name] for name in further)])
    shares, *others = (torch.cat(parts) for parts in zip(*answers, strict=True))
    exact = functional.one_hot(torch.from_numpy(labels), head.classes)
    return _Lesson(
        x=samples, aims=(1 - DISTILLED) * exact + DISTILLED * shares, others=dict(zip(further, others, strict=True))
    )


def _loss(twin: Twin, head: Head, exits: _Exits, lesson: _Lesson, rows: Tensor) -> Tensor:
    """Of the end, of all exits, and of the further outputs, for some samples."""
    values = twin({twin.graph.inputs[0]: lesson.x[rows]})
    weights = [1.0, *(EXIT_WEIGHT for _ in exits.found.points)]
    loss = torch.zeros(())
    for weight, scores in zip(weights, [head.logits(values), *exits(values)], strict=True):
        loss = loss - weight * (torch.log_softmax(scores, dim=1) * lesson.aims[rows]).sum(dim=1).mean()
    for name, whole in lesson.others.items():
        loss = loss + functional.mse_loss(values[name], whole[rows]) / whole.square().mean().clamp_min(1e-12)
    return loss


def _held_loss(twin: Twin, head: Head, exits: _Exits, held: _Lesson) -> float:
    with torch.no_grad():
        parts = torch.split(torch.arange(len(held.x)), CHUNK)
        return sum(float(_loss(twin, head, exits, held, rows)) * len(rows) for rows in parts) / len(held.x)


def _trained(
    twin: Twin,
    head: Head,
    found: Sights,
    lesson: _Lesson,
    held: _Lesson,
    running: bool,
    epochs: int,
    seed: int,
    show: Show,
) -> Graph:
    """The net of the best epoch, the first one at least."""
    first = {twin.graph.inputs[0]: lesson.x[:CHUNK]}
    twin.normalise(first)
    with torch.no_grad():
        exits = _Exits(found, twin(first), running)
    sizes, names = sizes_of(twin, lesson.x[:CHUNK]), tuple(twin.parameters)
    moments = {name: torch.zeros_like(tensor) for name, tensor in twin.parameters.items()}
    powers = {name: torch.zeros_like(tensor) for name, tensor in twin.parameters.items()}
    optimiser = torch.optim.Adam(exits.leaves)
    order, batches = np.random.default_rng(seed), max(1, len(lesson.x) // BATCH)
    best, least, done = twin.graph, float("inf"), 0
    for epoch in range(epochs):
        show("train net and exits", epoch / epochs)
        for batch in np.array_split(order.permutation(len(lesson.x)), batches):
            size, done = pace(done / (epochs * batches)), done + 1
            loss = _loss(twin, head, exits, lesson, torch.from_numpy(batch))
            leaves: Sequence[Tensor] = [*(twin.parameters[name] for name in names), *exits.leaves]
            slopes = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
            descend(twin, dict(zip(names, slopes, strict=False)), sizes, moments, powers, STEP * size, done)
            optimiser.param_groups[0]["lr"] = HEAD_STEP * size
            for leaf, slope in zip(exits.leaves, slopes[len(names) :], strict=True):
                leaf.grad = slope
            optimiser.step()
        graph = twin.to_graph()
        loss_held = _held_loss(Twin(graph), head, exits, held)
        if loss_held < least:
            best, least = graph, loss_held
    return best
