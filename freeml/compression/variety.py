"""Samples that are not in the data but that the original net can answer for: moved a little, mirrored, mixed.

What a net may be shown is measured, not assumed: an axis is mirrored or shifted in training only where the original net
answers validation samples that are so changed about as well as before. Digits and gait are not mirrored by that rule,
photographs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from freeml.ir.types import Array

LONG = 8
"""Elements of an axis from which on it is taken for one of space or time."""

SHIFTED_SHARE = 16
"""An axis of so many elements is shifted by one element at most."""

TOLERATED = 0.03
"""Share of right answers that a change may cost the original net."""

PROBED = 1024
"""Samples that tell."""

BATCH = 64
KEPT_SAMPLES = 131_072
"""Changed samples that the original net answers once; more epochs see them again."""

KEPT_NUMBERS = 2**26
"""Numbers in all these answers at most (256 MiB): further outputs can be large."""

LARGEST_EPOCH = 8192
"""Samples of an epoch at most."""

Answers = Callable[[Tensor], tuple[Tensor, ...]]
"""What the original net answers to samples (n, ...): logits (n, classes), then its further outputs (n, *shape)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """Which axes of samples (n, ...) may be mirrored, and by how many elements which may be shifted."""

    mirrored: tuple[int, ...] = ()
    shifted: tuple[tuple[int, int], ...] = ()

    def change(self, x: Tensor, chance: np.random.Generator) -> Tensor:
        """Every other sample mirrored along each axis that may be, and all shifted alike; what is missing at an edge
        repeats it."""
        for axis in self.mirrored:
            chosen = torch.from_numpy(chance.random(len(x)) < 0.5).reshape(-1, *(1,) * (x.ndim - 1))
            x = torch.where(chosen, x.flip(axis), x)
        for axis, most in self.shifted:
            x = shift(x, axis, int(chance.integers(-most, most + 1)))
        return x


def shift(x: Tensor, axis: int, by: int) -> Tensor:
    """Every sample moved along an axis; an edge is repeated where nothing comes after."""
    if by == 0:
        return x
    places = torch.clamp(torch.arange(x.shape[axis]) - by, 0, x.shape[axis] - 1)
    return x.index_select(axis, places)


def find_variety(x: Tensor, y: Tensor, answers: Answers) -> Variety:
    """What the original net tolerates, on validation samples x (n, ...) of classes y (n,)."""
    x, y = x[:PROBED], y[:PROBED]
    least = _right(x, y, answers) - TOLERATED
    axes = [axis for axis in range(1, x.ndim) if x.shape[axis] >= LONG]
    mirrored = tuple(axis for axis in axes if _right(x.flip(axis), y, answers) >= least)
    shifted = []
    for axis in axes:
        most = 0
        for by in range(1, max(1, x.shape[axis] // SHIFTED_SHARE) + 1):
            if min(_right(shift(x, axis, by * sign), y, answers) for sign in (-1, 1)) < least:
                break
            most = by
        if most:
            shifted.append((axis, most))
    return Variety(mirrored=mirrored, shifted=tuple(shifted))


def _right(x: Tensor, y: Tensor, answers: Answers) -> float:
    found = torch.cat([answers(part)[0].argmax(dim=1) for part in torch.split(x, BATCH)])
    return float((found == y).double().mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples x (n, ...), what the original net answers, and the `rows` of the data that they came from.

    Where two are mixed, each has a `share` (n,) of the one as far from the other end of the batch.
    """

    x: Tensor
    answers: tuple[Tensor, ...]
    rows: Tensor
    share: Tensor | None

    def classes(self, y: Tensor, count: int) -> Tensor:
        """(n, count) of how much of each class is in each sample, `y` being the classes of the data."""
        found = torch.nn.functional.one_hot(y[self.rows], count).float()
        return found if self.share is None else found + self.share[:, None] * (found.flip(0) - found)


class Pages:
    """The samples of training, a page for each epoch: every other batch is of changed samples, every other of mixtures
    of two. A page is drawn from the seed and its number alone; the original net answers it when it is first read."""

    def __init__(self, x: Tensor, variety: Variety, answers: Answers, *, seed: int) -> None:
        """x (n, ...)."""
        self._x, self._variety, self._answers, self._seed = x, variety, answers, seed
        self.rows = min(len(x), LARGEST_EPOCH)
        numbers = sum(output[0].numel() for output in answers(x[:1]))
        self.count = max(1, min(KEPT_SAMPLES, KEPT_NUMBERS // numbers) // self.rows)
        self._kept: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    @property
    def batches(self) -> int:
        """Of a page."""
        return -(-self.rows // BATCH)

    def read(self, number: int) -> Iterator[Batch]:
        """The batches of a page; after the last page comes the first."""
        page = number % self.count
        chance = np.random.default_rng([self._seed, page])
        order: Array = chance.permutation(len(self._x))[: self.rows]
        for index, rows in enumerate(torch.split(torch.from_numpy(order), BATCH)):
            x = self._variety.change(self._x[rows], chance)
            share = torch.from_numpy(chance.random(len(rows), dtype=np.float32)) if index % 2 else None
            if share is not None:
                x = x + share.reshape(-1, *(1,) * (x.ndim - 1)) * (x.flip(0) - x)
            if (page, index) not in self._kept:
                self._kept[page, index] = self._answers(x)
            yield Batch(x=x, answers=self._kept[page, index], rows=rows, share=share)
