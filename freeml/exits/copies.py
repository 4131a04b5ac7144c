"""More samples for a branch to learn from: those of training, and copies of them that are moved or mirrored.

A branch has thousands of weights, and small data sets have fewer samples than that. Which changes a net tolerates is
measured (`freeml/compression/variety.py`), on training samples: those of validation are left to certify the rule.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from freeml.compression.variety import BATCH, Variety, find_variety
from freeml.exits.looking import integers, logits_of
from freeml.exits.maps import maps_of
from freeml.ir.graph import QGraph
from freeml.ir.types import Array, FloatArray, IntArray

COPIES, PER_WEIGHT = 6, 5
"""Changed ones of each sample, at most; and samples for each weight of a branch, with which there are enough."""

PROBED = 256
"""Training samples that tell what may be changed."""


def answers_of(qgraph: QGraph, x: Array, output: str) -> FloatArray:
    """What the integer net answers to samples as data sets hold them: logits (samples, classes)."""
    chunks = [
        values[output].numpy().reshape(len(values[output]), -1)
        for values in maps_of(qgraph, integers(qgraph, x), (output,))
    ]
    return logits_of(qgraph, output, np.concatenate(chunks))


def with_copies(
    qgraph: QGraph, x: Array, labels: IntArray, output: str, *, weights: int, most: int, seed: int
) -> tuple[Array, IntArray, int]:
    """The samples x (n, ...), then changed copies of all of them, with their classes; and how often each occurs.

    There are as many as so many `weights` take to learn, and `most` samples in all at most; the copies of a sample are
    n, 2 n, ... behind it. x itself comes back where no copies are needed, where there is no room for any, or where the
    net tolerates no change.
    """
    count = min(COPIES, most // len(x) - 1, -(-PER_WEIGHT * weights // len(x)) - 1)
    variety = _tolerated(qgraph, x, labels, output, seed) if count > 0 else Variety()
    if not variety.mirrored and not variety.shifted:
        return x, labels, 1
    chance, found = np.random.default_rng([seed, 1]), [x]
    for _ in range(count):
        batches = torch.split(torch.from_numpy(x), BATCH)
        found.append(torch.cat([variety.change(batch, chance) for batch in batches]).numpy())
    return np.concatenate(found), np.tile(labels, count + 1), count + 1


def _tolerated(qgraph: QGraph, x: Array, labels: IntArray, output: str, seed: int) -> Variety:
    rows = np.random.default_rng(seed).permutation(len(x))[:PROBED]

    def answers(samples: Tensor) -> tuple[Tensor, ...]:
        return (torch.from_numpy(answers_of(qgraph, samples.numpy(), output)),)

    return find_variety(torch.from_numpy(x[rows]), torch.from_numpy(labels[rows]), answers)
