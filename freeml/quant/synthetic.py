"""Calibration inputs when there is no data: made from what the graph itself knows.

A batch norm on the input says what the input looked like. Otherwise the candidate whose statistics at the batch norms
come closest to the recorded ones is taken; without any batch norm, standard normal numbers. Accuracy stays unverified,
and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from freeml.ir.graph import Graph, execute
from freeml.ir.types import Array, Shape

SAMPLES = 64

Maker = Callable[[np.random.Generator, tuple[int, ...]], Array]
CANDIDATES: dict[str, Maker] = {
    "standard normal": lambda rng, shape: rng.normal(size=shape),
    "uniform 0..1": lambda rng, shape: rng.uniform(size=shape),
    "uniform -1..1": lambda rng, shape: rng.uniform(-1.0, 1.0, size=shape),
    "uniform 0..255": lambda rng, shape: rng.uniform(0.0, 255.0, size=shape),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Made-up inputs by name, (samples, *shape) float32, and how they were made, in words."""

    inputs: dict[str, Array]
    origin: str


def synthetic_inputs(graph: Graph, *, seed: int = 0) -> Synthetic:
    """Inputs for calibration; `graph` is the imported graph, batch norms still in place."""
    known = {name: graph.statistics[name] for name in graph.inputs if name in graph.statistics}
    if len(known) == len(graph.inputs):
        rng = np.random.default_rng(seed)
        inputs = {}
        for name, (mean, deviation) in known.items():
            shape = graph.types[name].shape
            expand = (slice(None),) + (np.newaxis,) * (len(shape) - 2)
            noise = rng.normal(size=(SAMPLES, *shape))
            inputs[name] = (noise * np.asarray(deviation)[expand] + np.asarray(mean)[expand]).astype(np.float32)
        return Synthetic(inputs=inputs, origin="normal numbers with the mean and deviation of the input's batch norm")
    inner = {k: v for k, v in graph.statistics.items() if k in graph.types and k not in graph.inputs}
    made = {name: _make(graph, maker, seed) for name, maker in CANDIDATES.items()}
    if not inner:
        return Synthetic(inputs=made["standard normal"], origin="standard normal numbers (the net holds no statistics)")
    distance = {name: _distance(graph, inputs, inner) for name, inputs in made.items()}
    best = min(distance, key=lambda name: distance[name])
    return Synthetic(inputs=made[best], origin=f"{best}, the closest of {len(made)} to the net's batch norm statistics")


def _make(graph: Graph, maker: Maker, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)

    def shape(name: str) -> Shape:
        return (SAMPLES, *graph.types[name].shape)

    return {name: maker(rng, shape(name)).astype(np.float32) for name in graph.inputs}


def _distance(graph: Graph, inputs: dict[str, Array], statistics: dict[str, tuple[Array, Array]]) -> float:
    """Mean over batch-normed channels of how far mean and deviation are from the recorded ones."""
    values = execute(graph, inputs)
    total = []
    for name, (mean, deviation) in statistics.items():
        if name not in values or values[name].ndim < 3:
            continue
        channels = np.moveaxis(values[name], 2, 0).reshape(values[name].shape[2], -1).astype(np.float64)
        spread = np.maximum(np.asarray(deviation, dtype=np.float64), 1e-6)
        total.append(np.mean(np.abs(channels.mean(axis=1) - np.asarray(mean)) / spread))
        total.append(np.mean(np.abs(np.log(np.maximum(channels.std(axis=1), 1e-6) / spread))))
    return float(np.mean(total)) if total else np.inf
