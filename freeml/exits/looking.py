"""What exits see: features of training samples, as the board computes the maps, and the choice of places and grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freeml.evaluate import as_input
from freeml.exits.asked import ExitsError
from freeml.exits.features import Part, Scored, Slice, choose_slices, pooled, slices_of
from freeml.exits.points import MOVES, Point, choose_points
from freeml.ir.graph import QGraph
from freeml.ir.types import Array, FloatArray, IntArray
from freeml.ops.lut import QInterpolated, QTable
from freeml.ops.softmax import QSoftmax
from freeml.quant.quantize import quantize_input

PROBES, TRIALS = 2_000, 4_000
"""Samples to choose places by, and grids."""

COST_SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Of the backbone's cost, what the branch may take with all exits live: the first of these that any branch keeps to.
Only nets of a few thousand multiply-accumulates need more than the first."""

TOLERANCE = 0.002
"""Accuracy that bytes are worth more than: the fewest that come so near to the best."""

LEAST_SHARE = 1e-3
"""Probabilities of an output behind a softmax are told apart down to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Features by value and part, each (samples, words) float32, and what the net answers at its end: logits
    (samples, classes), float64."""

    features: Mapping[tuple[str, Part], Array]
    answers: FloatArray

    def words(self, value: str, slice_: Slice) -> Array:
        """The features of a slice side by side, (samples, words)."""
        return np.concatenate([self.features[value, part] for part in slice_.parts], axis=1)


def integers(qgraph: QGraph, x: Array) -> IntArray:
    """Samples in the number format of the net's one input."""
    return quantize_input(as_input(qgraph, x), qgraph.types[qgraph.inputs[0]])


def look(
    qgraph: QGraph,
    x: Array,
    wanted: Mapping[str, Sequence[Slice]],
    output: str,
    show: Callable[[float], None] = lambda _: None,
) -> Looked:
    """The parts of all slices `wanted` by value, for samples x as data sets hold them."""
    from freeml.exits.maps import maps_of

    parts = {value: tuple(dict.fromkeys(p for s in slices for p in s.parts)) for value, slices in wanted.items()}
    found: dict[tuple[str, Part], list[Array]] = {(value, p): [] for value, ps in parts.items() for p in ps}
    answers: list[Array] = []
    done = 0
    for values in maps_of(qgraph, integers(qgraph, x), (*parts, output)):
        for value, part in found:
            found[value, part].append(pooled(values[value], qgraph.types[value], part))
        answers.append(values[output].numpy().reshape(len(values[output]), -1))
        done += len(answers[-1])
        show(done / len(x))
    logits = logits_of(qgraph, output, np.concatenate(answers))
    return Looked(features={key: np.concatenate(chunks) for key, chunks in found.items()}, answers=logits)


def logits_of(qgraph: QGraph, output: str, answers: Array) -> FloatArray:
    """What the integers of the net's answers (samples, classes) stand for, as logits."""
    type_ = qgraph.types[output]
    real: FloatArray = (answers.astype(np.float64) - type_.zero_point) * type_.scale
    makers = {value: stage for stage in qgraph.stages() for value in stage.outputs}
    maker = makers[output]
    while isinstance(maker.op, MOVES) and maker.inputs[0] in makers:
        maker = makers[maker.inputs[0]]
    if isinstance(maker.op, QSoftmax):
        return np.asarray(np.log(np.maximum(real, LEAST_SHARE)))
    least, most = ((edge - type_.zero_point) * type_.scale for edge in (type_.qmin, type_.qmax))
    if isinstance(maker.op, (QTable, QInterpolated)) and least >= 0 and most <= 1:  # of sigmoids, one for each class
        share = np.clip(real, LEAST_SHARE, 1 - LEAST_SHARE)
        return np.asarray(np.log(share / (1 - share)))
    return real


def chosen_points(
    qgraph: QGraph,
    x: Array,
    labels: IntArray,
    places: Sequence[Point],
    count: int | None,
    *,
    output: str,
    classes: int,
    budget_bytes: int,
    seed: int,
) -> tuple[Point, ...]:
    """Of all places those worth it, by what least squares tell from the smallest sight of each."""
    from freeml.exits.heads import aims, probe

    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:PROBES])
    sights = {p.value: _widest(slices_of(qgraph.types[p.value].shape), classes, budget_bytes // 4) for p in places}
    seen = look(qgraph, x[rows], {value: (sight,) for value, sight in sights.items()}, output)
    aim = aims(labels[rows], seen.answers)
    found = [probe(seen.words(p.value, sights[p.value]), aim, labels[rows], seed) for p in places]
    return choose_points(places, found, count)


def _widest(slices: Sequence[Slice], classes: int, most_bytes: int) -> Slice:
    """The most features for so many bytes, or the fewest there are."""
    within = [s for s in slices if s.constant_bytes(classes) <= most_bytes]
    return max(within, key=lambda s: s.words) if within else min(slices, key=lambda s: s.words)


def chosen_slices(
    qgraph: QGraph,
    x: Array,
    labels: IntArray,
    points: Sequence[Point],
    *,
    output: str,
    classes: int,
    budget_bytes: int,
    macs: float,
    seed: int,
) -> tuple[Slice, ...]:
    """What each exit looks at. Raises ExitsError where not even the smallest are within the budget."""
    from freeml.exits.heads import aims, probe

    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:TRIALS])
    tried = {
        p.value: [s for s in slices_of(qgraph.types[p.value].shape) if s.constant_bytes(classes) <= budget_bytes]
        for p in points
    }
    seen = look(qgraph, x[rows], tried, output)
    aim = aims(labels[rows], seen.answers)
    scored = [
        [Scored(slice=s, accuracy=probe(seen.words(p.value, s), aim, labels[rows], seed)) for s in tried[p.value]]
        for p in points
    ]
    for share in COST_SHARES:
        found = choose_slices(
            scored, classes=classes, budget_bytes=budget_bytes, most_macs=share * macs, tolerance=TOLERANCE
        )
        if found is not None:
            return found
    raise ExitsError(
        f"exits: expected a branch of at most {budget_bytes:,} bytes and fewer than the net's {macs:,.0f} "
        f"multiply-accumulates, found none for {len(points)} exits; ask for fewer exits or allow more bytes"
    )
