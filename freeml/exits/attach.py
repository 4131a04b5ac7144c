"""Exits for a net that is quantized already: points chosen, a branch trained on what the board sees, nodes added.

The backbone's nodes stay what they are, byte for byte. Only training data is read: what is chosen is judged by samples
of it that were held back, so that validation data can set thresholds with a guarantee.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from freeml.compression.train import one_thread
from freeml.data import Dataset, Part, of_output
from freeml.exits.asked import AskedExits, ExitsError, Kind
from freeml.exits.branch import Learned, Terms, make_branch, merged, quantize_branch
from freeml.exits.calibrate import steps, temperature
from freeml.exits.copies import with_copies
from freeml.exits.features import Slice, is_vector
from freeml.exits.looking import Looked, chosen_points, chosen_slices, integers, look
from freeml.exits.points import Point, candidates, check_places, classifier, named_points
from freeml.ir.graph import Graph, QGraph, execute
from freeml.ir.types import Array, FloatArray, IntArray, Shape
from freeml.quant.choose import Choice
from freeml.quant.quantize import dequantize
from freeml.sim.trace import run_reference
from freeml.work import macs_by_value, work_by_value

Show = Callable[[str, float], None]

SAMPLES = 50_000
"""To train on, at most: running the net on them takes longer than the training."""

CALIBRATION = 512
"""Samples to observe ranges on."""

BUDGET_SHARE, LEAST_BUDGET_BYTES = 1 / 8, 512
"""Of the backbone's constants, for those of the branch, where no budget is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedExit:
    """One exit of a net.

    `value` is the output of both graphs that holds its scores, which look at `slice` of the map at `point`, or of what
    its own front makes of that. Its scores divided by `temperature` are logits whose softmax is calibrated; `steps` is
    what `freeml.ir.exits.Exit` has. `held_accuracy` is that of the float branch on training samples held back;
    `float_accuracy` and `int_accuracy` are those of the final one on the samples of calibration. `params` are weights
    and biases, `bytes` the constants of its integer nodes, `macs` an estimate of its whole work in
    multiply-accumulates; all three with the front's.
    """

    name: str
    value: str
    point: Point
    slice: Slice
    temperature: float
    steps: int
    held_accuracy: float
    float_accuracy: float
    int_accuracy: float
    params: int
    bytes: int
    macs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A net with exits: `choice` holds both graphs with the branch, `output` is the net's own classifier."""

    choice: Choice
    kind: Kind
    output: str
    classes: int
    exits: tuple[AttachedExit, ...]

    @property
    def bytes(self) -> int:
        """Constants of the whole branch."""
        return sum(exit_.bytes for exit_ in self.exits)


def attach(
    choice: Choice,
    dataset: Dataset,
    asked: AskedExits,
    *,
    seed: int,
    costs: Mapping[str, float] | None = None,
    show: Show = lambda *_: None,
) -> Attached:
    """The net with the exits that are asked for, and all that is learned on the way.

    `costs` has what each stored value of the integer graph costs to compute, in any unit; None or an empty one stands
    for its multiply-accumulates and elements. `show` is told what is under way and the share that is done.

    Linear and separate exits are what shared ones are compared with. They are at the same points and look at the same
    grids, which budget and cost bound; linear ones are the shared branch without its running sum. The layers that each
    separate one has for itself are bounded by neither, as they would be refused. How the backbone was trained
    (`asked.training`) is no matter here: see `freeml/exits/joint.py`. Raises ExitsError where the net or the data allow
    no exits.
    """
    qgraph = choice.qgraph
    with one_thread():
        found = sights(choice.graph, qgraph, dataset, asked, seed=seed, costs=costs, show=show)
        points, slices, output = found.points, found.slices, found.output
        most = SAMPLES
        if asked.kind == "separate":
            from freeml.exits.separate import learn, most_samples

            most = most_samples(qgraph, points)
        rows = np.sort(np.random.default_rng(seed).permutation(len(found.labels))[:most])
        x, labels, copies = with_copies(
            qgraph, dataset.train.x[rows], found.labels[rows], output,
            weights=sum(slice_.words * found.classes for slice_ in slices), most=most, seed=seed,
        )  # fmt: skip
        if asked.kind == "separate":
            learned = learn(qgraph, x, labels, points, slices, output, copies=copies, seed=seed, show=show)
        else:
            parts = {p.value: (s,) for p, s in zip(points, slices, strict=True)}
            seen = look(qgraph, x, parts, output, lambda share: show("run the net", 0.2 + 0.4 * share))
            learned = _trained(seen, labels, points, slices, copies, asked.kind == "shared", seed, show)
        own = learned.rows < len(rows)  # copies teach; what scores are worth is told by samples as they are
        learned = replace(learned, rows=learned.rows[own], held=tuple(scores[own] for scores in learned.held))
        show("attach", 0.98)
        return _finish(choice, x, labels, learned, output, found.classes, asked.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sights:
    """Where exits are to be and what they look at: `points` in order of execution with a slice for each, the `output`
    with the scores of `classes`, and the class of every training sample, (samples,)."""

    points: tuple[Point, ...]
    slices: tuple[Slice, ...]
    output: str
    classes: int
    labels: IntArray


def sights(
    graph: Graph,
    qgraph: QGraph,
    dataset: Dataset,
    asked: AskedExits,
    *,
    seed: int,
    costs: Mapping[str, float] | None = None,
    show: Show = lambda *_: None,
) -> Sights:
    """The points that are asked for, or those worth it, and their slices within the budget. See `attach`."""
    output, classes = classifier(qgraph, asked.output)
    labels = labels_of(qgraph, dataset.train, output, classes)
    places = candidates(graph, qgraph, costs or work_by_value(graph, qgraph))
    check_places(places)
    macs = float(sum(macs_by_value(graph).values()))
    budget = asked.budget_bytes or max(LEAST_BUDGET_BYTES, round(BUDGET_SHARE * constant_bytes(qgraph)))
    show("look at every layer", 0.0)
    count = asked.count
    while True:
        points = (
            named_points(graph, qgraph, places, asked.names)
            if asked.names
            else chosen_points(
                qgraph, dataset.train.x, labels, places, count, output=output, classes=classes,
                budget_bytes=budget, seed=seed,
            )
        )  # fmt: skip
        show("choose grids", 0.1)
        try:
            slices = chosen_slices(
                qgraph, dataset.train.x, labels, points, output=output, classes=classes, budget_bytes=budget,
                macs=macs, seed=seed,
            )  # fmt: skip
        except ExitsError:
            if asked.names or asked.count is not None or len(points) == 1:
                raise
            count = len(points) - 1  # nobody asked for so many
            continue
        break
    return Sights(points=points, slices=slices, output=output, classes=classes, labels=labels)


def labels_of(qgraph: QGraph, part: Part, output: str, classes: int) -> IntArray:
    """The classes of the samples, every one of which occurs. Raises DataError and ExitsError."""
    labels = of_output(part, output, qgraph.outputs[0], "y_train", classes).y
    missing = sorted(set(range(classes)) - {int(label) for label in np.unique(labels)})
    if missing:
        raise ExitsError(
            f"exits: expected training samples of all {classes} classes of output {output}, found none of class "
            f"{', '.join(map(str, missing))}, which exits would never answer; add some"
        )
    return np.asarray(labels, dtype=np.int64)


def places_of(shape: Shape) -> int:
    """How often a front of a value of this shape is applied."""
    return 1 if is_vector(shape) else prod(shape[2:])


def constant_bytes(qgraph: QGraph) -> int:
    """Bytes of all constants of an integer graph, as they are."""
    return sum(qgraph.types[name].size_bytes for name in qgraph.constants)


def _trained(
    seen: Looked,
    labels: IntArray,
    points: Sequence[Point],
    slices: Sequence[Slice],
    copies: int,
    shared: bool,
    seed: int,
    show: Show,
) -> Learned:
    """The linear layers, in units of the maps; those of the shared branch add to one sum."""
    from freeml.exits import heads

    words = [seen.words(p.value, s) for p, s in zip(points, slices, strict=True)]
    means = [w.mean(axis=0, dtype=np.float64) for w in words]
    spreads = [heads.spread(w) for w in words]
    standard = tuple(
        ((w - mean) / size).astype(np.float32) for w, mean, size in zip(words, means, spreads, strict=True)
    )
    lesson = heads.Lesson(features=standard, aims=heads.aims(labels, seen.answers), copies=copies)
    turn = heads.fit_in_turn(
        lesson, shared=shared, seed=seed, show=lambda share: show("train the branch", 0.6 + 0.25 * share)
    )
    trained = turn
    if shared:
        trained = heads.fit_together(
            lesson, labels, turn, seed=seed, show=lambda share: show("train the branch", 0.85 + 0.1 * share)
        )
    scales = tuple(prod(layer.gain for layer in trained.layers[1 : index + 1]) for index in range(len(words)))
    terms = []
    for layer, scale, point, slice_, mean, size in zip(
        trained.layers, scales, points, slices, means, spreads, strict=True
    ):
        weights: FloatArray = layer.weights / size[:, np.newaxis]
        bias = layer.bias - mean @ weights
        terms.append(Terms(point=point, slice=slice_, weights=weights / scale, bias=bias / scale))
    return Learned(terms=tuple(terms), scales=scales, rows=trained.rows, held=trained.held)


def _finish(
    choice: Choice,
    x: Array,
    labels: IntArray,
    learned: Learned,
    output: str,
    classes: int,
    kind: Kind,
) -> Attached:
    """The branch as nodes of both graphs, and what it does on the samples of calibration."""
    from freeml.exits.maps import maps_of

    qgraph, terms = choice.qgraph, learned.terms
    points = tuple(term.point for term in terms)
    probes = integers(qgraph, x[:CALIBRATION])
    chunks = list(maps_of(qgraph, probes, [p.value for p in points]))
    maps = {p.value: np.concatenate([c[p.value].numpy() for c in chunks]) for p in points}
    taken = {*choice.graph.types, *qgraph.types, *(n.name for n in choice.graph.nodes), *(n.name for n in qgraph.nodes)}
    branch = make_branch(terms, qgraph.types, taken, running=kind == "shared")
    real = {value: dequantize(array, qgraph.types[value]) for value, array in maps.items()}
    qbranch, observed = quantize_branch(branch, real, choice)
    net = merged(choice, branch, qbranch, observed, points)
    exact = execute(branch.graph, real)
    found = run_reference(qbranch, {value: array.astype(np.int64) for value, array in maps.items()}).values
    owner = {name: index for index, names in enumerate(branch.members) for name in names}
    sizes = [0] * len(terms)
    for node in qbranch.nodes:
        sizes[owner[node.name]] += sum(qbranch.types[v].size_bytes for v in node.inputs if v in qbranch.constants)

    def right(scores: Array, truth: IntArray) -> float:
        return float((scores.reshape(len(scores), -1).argmax(axis=1) == truth).mean())

    exits = []
    for index, (term, value, scale) in enumerate(zip(terms, branch.scores, learned.scales, strict=True)):
        held = learned.held[index]
        heat = temperature(held, labels[learned.rows], 1.0) / scale
        front = 0 if term.front is None else term.front.weights.size * places_of(qgraph.types[term.point.value].shape)
        exits.append(
            AttachedExit(
                name=f"exit{index + 1}", value=value, point=term.point, slice=term.slice, temperature=heat,
                steps=steps(qbranch.types[value].scale, heat), held_accuracy=right(held, labels[learned.rows]),
                float_accuracy=right(exact[value], labels[:CALIBRATION]),
                int_accuracy=right(found[value], labels[:CALIBRATION]), params=term.params,
                bytes=sizes[index], macs=front + term.slice.macs(classes),
            )
        )  # fmt: skip
    return Attached(choice=net, kind=kind, output=output, classes=classes, exits=tuple(exits))
