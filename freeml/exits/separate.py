"""Separate exits: a small net for each, as BranchyNet has them (S. Teerapittayanon, B. McDanel, H. T. Kung, 2016).

What each exit has for itself is a convolution with ReLU over its map (a dense layer with ReLU where that is a vector)
and a linear layer over the pooled result, at the points and on the grids of the shared branch. This is what the shared
branch is measured against. All are trained alone on the maps that the board computes; one seed gives one result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.train import pace
from freeml.exits.branch import Front, Learned, Terms
from freeml.exits.features import Part, Slice, is_vector, pool
from freeml.exits.heads import aims, cross_entropy, folds_of
from freeml.exits.looking import integers, logits_of
from freeml.exits.maps import maps_of
from freeml.exits.points import Point
from freeml.ir.graph import QGraph
from freeml.ir.types import Array, FloatArray, IntArray, Shape

WIDTH, KERNEL = 64, 3
"""Channels of a convolution and numbers of a dense layer, at most: as many as come in where those are fewer; and
the extent of a convolution's window on each axis."""

SAMPLES, MOST_BYTES = 50_000, 256 << 20
"""To train on, at most; and bytes of the maps that are kept for it."""

BATCH, STEP = 64, 3e-3
"""Samples of a step of the training, and its largest size."""

EPOCHS, STEPS = 30, 600
"""How often all samples are seen, more often where that makes fewer steps than these."""

DECAYS = (0.01, 0.3)
"""By how much weights shrink in a step of size 1 (I. Loshchilov and F. Hutter, 2019): tried on samples held back."""

WORK = 5e10
"""Multiply-accumulates of one training of one exit: a few seconds on one core. Fewer epochs, then fewer samples, keep
to it."""

Show = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """A map of all samples as integers (samples, *shape) of a format, their classes as shares (samples, classes) to be
    learned, and `size`, which numbers are divided by to be trained on."""

    maps: Array
    zero_point: int
    scale: float
    size: float
    aims: Tensor

    def numbers(self, rows: Array) -> Tensor:
        """The map of these samples, (rows, *shape), in units of `size`."""
        return (torch.from_numpy(self.maps[rows].astype(np.float32)) - self.zero_point) * (self.scale / self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Net:
    """One exit: `leaves` are weights and bias of its front, and of its linear layer."""

    shape: Shape
    slice: Slice
    leaves: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (samples, classes) for a map (samples, *shape)."""
        weights, bias, last, last_bias = self.leaves
        if is_vector(self.shape):
            return functional.relu(x.flatten(1) @ weights + bias) @ last + last_bias
        convolve = functional.conv1d if weights.ndim == 3 else functional.conv2d
        made = functional.relu(convolve(x[:, 0], weights, bias, padding=KERNEL // 2))
        shape = (1, *made.shape[1:])
        return torch.cat([pool(made[:, None], shape, part) for part in self.slice.parts], dim=1) @ last + last_bias


def width_of(shape: Shape) -> int:
    """Channels, or numbers, that the front of a map of this shape puts out."""
    return min(WIDTH, prod(shape) if is_vector(shape) else shape[1])


def front_shape(shape: Shape) -> Shape:
    """Of the weights of a front: (channels out, channels in, *kernel), or (numbers, width)."""
    width = width_of(shape)
    return (prod(shape), width) if is_vector(shape) else (width, shape[1], *(KERNEL for _ in shape[2:]))


def behind_front(shape: Shape, slice_: Slice) -> Slice:
    """The same grid on what a front makes of a map of this shape; all of it where the map is a vector."""
    width = width_of(shape)
    if is_vector(shape):
        return Slice(parts=(Part(kind="whole", kernel=(1,), strides=(1,), words=width, reads=0),))
    channels = shape[1]
    return Slice(
        parts=tuple(
            replace(p, words=p.words // channels * width, reads=p.reads // channels * width) for p in slice_.parts
        )
    )


def _macs(shape: Shape) -> int:
    return prod(front_shape(shape)) * (1 if is_vector(shape) else prod(shape[2:]))


def most_samples(qgraph: QGraph, points: Sequence[Point]) -> int:
    """How many samples are trained on, at most: as many as maps fit memory, and work its bound in three epochs."""
    types = [qgraph.types[p.value] for p in points]
    fit = MOST_BYTES // sum(type_.size_bytes for type_ in types)
    return int(max(1_000, min(SAMPLES, fit, WORK / (9 * max(_macs(t.shape) for t in types)))))


def learn(
    qgraph: QGraph,
    x: Array,
    labels: IntArray,
    points: Sequence[Point],
    slices: Sequence[Slice],
    output: str,
    *,
    copies: int = 1,
    seed: int,
    show: Show = lambda *_: None,
) -> Learned:
    """The exits at these points, which look at these slices behind layers of their own; x are samples as data sets hold
    them, labels (samples,) their classes, `output` the net's scores. Every sample occurs `copies` times, changed a
    little.
    """
    kept: dict[str, list[Array]] = {p.value: [] for p in points}
    answers: list[Array] = []
    for values in maps_of(qgraph, integers(qgraph, x), (*kept, output)):
        for value, chunks in kept.items():
            chunks.append(values[value].numpy().astype(qgraph.types[value].dtype))
        answers.append(values[output].numpy().reshape(len(values[output]), -1))
        show("run the net", 0.2 + 0.2 * sum(map(len, answers)) / len(x))
    aim = aims(labels, logits_of(qgraph, output, np.concatenate(answers)))
    fold = folds_of(len(labels), seed, copies)[0]
    terms, held = [], []
    for index, (point, slice_) in enumerate(zip(points, slices, strict=True)):
        show("train the exits", 0.4 + 0.58 * index / len(points))
        type_, maps = qgraph.types[point.value], np.concatenate(kept.pop(point.value))
        size = float((maps[:1000].astype(np.float64) - type_.zero_point).std()) * type_.scale + 1e-12
        lesson = _Lesson(
            maps=maps, zero_point=type_.zero_point, scale=type_.scale, size=size,
            aims=torch.from_numpy(aim.astype(np.float32)),
        )  # fmt: skip
        term, scores = _learned(lesson, point, behind_front(type_.shape, slice_), fold, seed + index)
        terms.append(term)
        held.append(scores)
    return Learned(terms=tuple(terms), scales=(1.0,) * len(terms), rows=fold, held=tuple(held))


def _learned(lesson: _Lesson, point: Point, slice_: Slice, fold: IntArray, seed: int) -> tuple[Terms, FloatArray]:
    """One exit, and the scores of the samples of `fold` by the same exit trained without them."""
    aim = lesson.aims[fold].numpy()
    kept = np.setdiff1d(np.arange(len(lesson.maps)), fold, assume_unique=True)
    tried = {decay: _scores(_trained(lesson, slice_, kept, decay, seed), lesson, fold) for decay in DECAYS}
    best = min(tried, key=lambda decay: cross_entropy(tried[decay], aim))
    net = _trained(lesson, slice_, np.arange(len(lesson.maps)), best, seed)
    weights, bias, last, last_bias = (leaf.detach().numpy().astype(np.float64) for leaf in net.leaves)
    front = Front(weights=weights / lesson.size, bias=bias)
    return Terms(point=point, slice=slice_, weights=last, bias=last_bias, front=front), tried[best]


def _scores(net: _Net, lesson: _Lesson, rows: IntArray) -> FloatArray:
    with torch.no_grad():
        parts = [net(lesson.numbers(part)) for part in np.array_split(rows, 1 + len(rows) // 256)]
    return torch.cat(parts).numpy().astype(np.float64)


def _trained(lesson: _Lesson, slice_: Slice, rows: IntArray, decay: float, seed: int) -> _Net:
    """An exit trained on these samples by AdamW, with steps that rise and fall."""
    random = torch.Generator().manual_seed(seed)
    shape = (1, *lesson.maps.shape[2:])
    sizes, classes = front_shape(shape), lesson.aims.shape[1]
    width, fan_in = width_of(shape), prod(sizes) // width_of(shape)
    leaves = (
        torch.randn(sizes, generator=random) * (2 / fan_in) ** 0.5, torch.zeros(width),
        torch.randn((slice_.words, classes), generator=random) * slice_.words**-0.5, torch.zeros(classes),
    )  # fmt: skip
    net = _Net(shape=shape, slice=slice_, leaves=tuple(leaf.requires_grad_() for leaf in leaves))
    matrices, vectors = [net.leaves[0], net.leaves[2]], [net.leaves[1], net.leaves[3]]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    )
    order, batches = np.random.default_rng(seed), max(1, len(rows) // BATCH)
    epochs = int(max(3, min(max(EPOCHS, STEPS / batches), WORK / (3 * _macs(shape) * len(rows)))))
    for epoch in range(epochs):
        for index, batch in enumerate(np.array_split(order.permutation(rows), batches)):
            for group in optimiser.param_groups:
                group["lr"] = STEP * pace((epoch * batches + index) / (epochs * batches))
            scores = net(lesson.numbers(batch))
            loss = -(torch.log_softmax(scores, dim=1) * lesson.aims[batch]).sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return net
