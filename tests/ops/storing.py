"""Integer nets whose weights take few values or are mostly zero, so that other forms than the plain one suit them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from freeml.ir.graph import QGraph
from freeml.ir.types import IntArray
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense

BOOKS = (tuple(range(-7, 8)), (-1, 0, 1), (-100, -37, -12, -5, -1, 0, 2, 9, 30, 66, 120), (-90, 0, 3, 101))
"""Numbers that a layer's weights are brought to: 4 and 2 bits, with the shared books and with books of their own."""


SHARES = (0.0, 0.1, 0.45)
"""Of a layer's weights that are left where most become zero."""

BLOCK_SHARES = (0.1, 0.35)
"""Of a layer's groups of four neighbours that are left where most become zero."""


def coarse(graph: QGraph, chance: np.random.Generator) -> QGraph:
    """Every layer's weights toward zero, to the next of a few numbers, or most of them to zero: no sum grows."""
    constants = dict(graph.constants)
    layers = [stage.inputs[1] for stage in graph.stages() if isinstance(stage.op, (QConv, QDense))]
    ways = len(BOOKS) + len(SHARES) + len(BLOCK_SHARES)
    choices = chance.permutation(np.arange(len(layers)) % (ways + 1))
    for name, choice in zip(layers, choices, strict=True):
        weights = constants[name]
        if choice < len(BOOKS):
            constants[name] = toward_zero(weights, BOOKS[choice])
        elif choice < len(BOOKS) + len(SHARES):
            constants[name] = weights * (chance.random(weights.shape) < SHARES[choice - len(BOOKS)])
        elif choice < ways:
            constants[name] = blocks_left(weights, BLOCK_SHARES[choice - len(BOOKS) - len(SHARES)], chance)
    return replace(graph, constants=constants)


def blocks_left(weights: IntArray, share: float, chance: np.random.Generator) -> IntArray:
    """Such a share of the groups of four neighbours along each row; those at a row's end too that are fewer."""
    rows = weights.reshape(len(weights), -1)
    left = chance.random((len(rows), -(-rows.shape[1] // 4))) < share
    return (rows * np.repeat(left, 4, axis=1)[:, : rows.shape[1]]).reshape(weights.shape)


def toward_zero(weights: IntArray, book: tuple[int, ...]) -> IntArray:
    """Each weight brought to the next number of the book between it and zero."""
    numbers = np.array(sorted({0, *book}))
    below = numbers[np.searchsorted(numbers, weights, "right") - 1]
    above = numbers[np.minimum(np.searchsorted(numbers, weights), len(numbers) - 1)]
    return np.where(weights > 0, below, np.where(weights < 0, above, 0))
