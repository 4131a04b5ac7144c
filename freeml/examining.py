"""`freeml exits`: what every rule, at every threshold, makes of a compiled net with exits on a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freeml.artifact import REPORT, load
from freeml.data import load_dataset, of_output
from freeml.errors import ArtifactError, FreemlError
from freeml.exits.curves import Point, curve
from freeml.exits.ladders import words
from freeml.ir.exits import KINDS, PolicyKind
from freeml.ir.graph import QGraph, execute
from freeml.ir.types import IntArray
from freeml.ops.answer import decide
from freeml.plan.exits import exits_of, scores_read
from freeml.quant.quantize import quantize_input
from freeml.report.exits import plot_curves
from freeml.sim.trace import CHUNK, without_rule

CURVES: tuple[PolicyKind, ...] = tuple(kind for kind in KINDS if kind != "none")
PICTURES = ("exits.svg", "exits.png")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """Curves of all kinds of rules on a part of a data set, and the rule that was compiled; `names` are those of the
    exits, `accuracies` those of answering at each of them always, and at the end last."""

    names: tuple[str, ...]
    unit: str
    split: str
    samples: int
    accuracies: tuple[float, ...]
    cycles: tuple[int, ...]
    curves: tuple[tuple[Point, ...], ...]
    compiled: Point
    notes: tuple[str, ...]
    pictures: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def examine(
    folder: Path,
    data: Path,
    *,
    split: str = "test",
    samples: int | None = None,
    points: int = 12,
    out: Path | None = None,
    progress: Callable[[str, float], None] = lambda *_: None,
) -> Examined:
    """Run a part of a data set to the end, and say where every rule would have ended it; drawn in `out`, if given.

    Where the file has no validation part, that is the one which the net was compiled with.

    Raises ArtifactError for a folder without exits, DataError for data of another task.
    """
    artifact = load(folder)
    graph, found = artifact.graph, exits_of(artifact.graph)
    if found is None:
        raise ArtifactError(f"{folder}: expected a net with exits, found one without; compile it with --exits shared")
    if split not in ("val", "test"):
        raise FreemlError(f"--split: expected val or test, found {split!r}")
    try:
        cycles = (
            *(int(row["cycles"]) for row in artifact.report["exits"]),
            int(artifact.report["policy"]["full_cycles"]),
        )
        seed = int(artifact.report["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{folder}: {REPORT} lacks the cycles of exits or the seed ({error}); compile the model anew"
        ) from error
    name = graph.inputs[0]
    dataset = load_dataset(data, graph.types[name].shape, seed=seed)
    final = scores_read(graph)[0]
    part = of_output(
        dataset.val if split == "val" else dataset.test, final, graph.outputs[0], f"y_{split}", graph.types[final].size
    )
    count = len(part) if samples is None else min(samples, len(part))
    real, labels = part.x[:count].reshape(count, *graph.types[name].shape), part.y[:count]
    scores, end = scores_of(graph, quantize_input(real, graph.types[name]), progress)
    answers = decide(found, scores, end)
    compiled = Point(
        kind=found.policy.kind, threshold=words(found.policy, found), policy=found.policy,
        accuracy=float((answers.answer == labels).mean()),
        mean_cycles=float(np.array(cycles)[answers.exit].mean()),
        shares=tuple((np.bincount(answers.exit, minlength=len(cycles)) / count).tolist()),
    )  # fmt: skip
    curves = tuple(curve(found, scores, end, labels, cycles, kind, points) for kind in CURVES)
    unit = str(artifact.report.get("cost_unit") or "steps")
    notes: tuple[str, ...] = ()
    pictures: list[str] = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for picture in PICTURES:
            title = f"{artifact.report.get('model', folder.name)}, {count:,} samples ({split})"
            notes = plot_curves(curves, out / picture, title=title, unit=unit, chosen=(compiled,))
            pictures += [] if notes else [str(out / picture)]
    return Examined(
        names=tuple(exit_.name for exit_ in found.exits), unit=unit, split=split, samples=count,
        accuracies=tuple(float((values.argmax(axis=1) == labels).mean()) for values in (*scores, end)),
        cycles=cycles, curves=curves, compiled=compiled, notes=notes, pictures=tuple(pictures),
    )  # fmt: skip


def scores_of(
    graph: QGraph, inputs: IntArray, progress: Callable[[str, float], None] = lambda *_: None
) -> tuple[Sequence[IntArray], IntArray]:
    """The integer scores of all exits and of the end by the reference, (samples, classes) each."""
    final, *exits = scores_read(graph)
    plain = without_rule(graph)
    parts: dict[str, list[IntArray]] = {value: [] for value in (final, *exits)}
    for start in range(0, len(inputs), CHUNK):
        progress(f"reference, {start:,} of {len(inputs):,} samples", start / len(inputs))
        values = execute(plain, {graph.inputs[0]: inputs[start : start + CHUNK]})
        for value, chunks in parts.items():
            chunks.append(values[value].reshape(len(values[value]), -1))
    found = {value: np.concatenate(chunks) for value, chunks in parts.items()}
    return [found[value] for value in exits], found[final]
