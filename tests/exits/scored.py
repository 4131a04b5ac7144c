"""Scores of a net with exits that was never trained: classes and difficulties are drawn, so that the truth is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from freeml.exits.calibrate import reliability, steps, temperature
from freeml.exits.ladders import never
from freeml.exits.thresholds import Samples
from freeml.ir.exits import Exit, Exits

SCALE = 1 / 256


@lru_cache(maxsize=16)
def population(count: int, seed: int = 0, *, exits: int = 3, classes: int = 10, noise: float = 0.0) -> Samples:
    """Exits that are the better the later they come, of samples that are easy or hard; scores of 16 bits."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    ease = rng.gamma(1.5, 4.0, count)[:, np.newaxis] / (1 + noise)
    shared = rng.normal(0, 1, (count, classes))
    right = np.eye(classes)[labels]
    scores = []
    for index in range(exits + 1):
        own = rng.normal(0, 1, (count, classes))
        depth = (index + 1) / (exits + 1)
        logits = ease * (0.25 + 0.75 * depth) * right + shared + (1.2 - 0.6 * depth) * own
        scores.append(np.clip(np.rint(logits / SCALE), -32768, 32767).astype(np.int64))
    return Samples(scores=tuple(scores[:-1]), final=scores[-1], labels=labels)


@lru_cache(maxsize=4)
def calibrated(count: int = 3000, seed: int = 2) -> Exits:
    """Exits with steps and tables that were learned from other samples of that population."""
    samples = population(count, seed)
    found = tuple(
        Exit(
            name=f"exit{index}", value=f"s{index}", point=f"p{index}",
            steps=steps(SCALE, temperature(values, samples.labels, SCALE)),
            reliability=reliability(values, samples.labels),
        )
        for index, values in enumerate(samples.scores)
    )  # fmt: skip
    return Exits(exits=found, final=reliability(samples.final, samples.labels), policy=never("none", len(found)))


CYCLES = (100_000, 200_000, 300_000, 400_000)
