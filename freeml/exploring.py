"""`freeml explore`: what a net costs at several sizes, each a firmware ready to be flashed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freeml import evaluate
from freeml.artifact import Artifact, check_output_folder
from freeml.compression.allocate import floor
from freeml.compression.budget import Budget, Effort, wilson
from freeml.compression.channels import find_channels
from freeml.compression.coarse import without_formats
from freeml.errors import CompressionError, DoesNotFitError, FreemlError, OutputFolderError
from freeml.ir.types import Array
from freeml.making import Made
from freeml.options import Options
from freeml.pipeline import Prepared, prepare, report
from freeml.report.front import draw
from freeml.searching import search, search_folder
from freeml.targets import get as get_board

if TYPE_CHECKING:
    from freeml.compression.search import Compressed

FRONT, PLOTS = "front.json", ("front.svg", "front.png")
OURS = re.compile(r"point-\d\d\Z")
ANY_DROP = 100.0
"""Points of accuracy that a point may lose: all. The front shows what it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A firmware of the front. Bytes are the image's: flash with persistent data, RAM with the estimated stack.

    `cycles` of an inference are predicted, in the cost model's unit, None where no prices are known; `energy_uj` what
    the report estimates (`Power.inference_uj`). Accuracies are shares (0..1) of right answers of the integer net: on
    validation data, with the 95 % interval, and on the test part, which was read when all points were chosen.
    `dominated_by` names a point that is no larger, slower or less accurate, and better in one of these.
    """

    name: str
    flash: int
    ram: int
    weights: int
    cycles: int | None
    energy_uj: float
    validation: float
    validation_interval: tuple[float, float]
    test: float
    dominated_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """The front of a net on a board, largest point first. `before` is the validation accuracy of the float net, `least`
    the bytes of flash of the least net: one channel wherever channels can go, and the fewest bits."""

    model: str
    target: str
    cost_unit: str | None
    before: float
    validation_samples: int
    least: int
    points: tuple[Point, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def explore(
    model: Path,
    *,
    options: Options,
    data: Path | Mapping[str, Array] | None,
    output: Path,
    points: int = 5,
    effort: Effort = "quick",
    progress: Callable[[str, float], None] = lambda *_: None,
) -> Exploration:
    """Compile the net as it is and for `points` - 1 smaller budgets of flash; write each to `output`/point-NN.

    Budgets lie at equal ratios between what the net takes and what the least net does.
    What one run decides, no other reads: every point is what `freeml compile` gives for its budget. An exploration that
    was interrupted goes on where it was. Raises FreemlError.
    """
    if data is None:
        raise FreemlError("explore: expected labelled data to retrain the net with, found none; give --data")
    if points < 2:
        raise FreemlError(f"--points: expected 2 or more, found {points}; for one firmware there is freeml compile")
    _check_folder(output)
    prepared = prepare(model, options, data)
    whole, least = _ends(prepared, progress)
    notes: list[str] = []
    firmwares: list[tuple[Prepared, Compressed[Made] | None, Made]] = []
    if whole is not None:
        firmwares.append((prepared, None, whole))
    else:
        notes.append(f"the net as it is does not fit {get_board(options.target).title}")
    largest = get_board(options.target).nv_bytes if whole is None else whole.flash_bytes
    done: list[Callable[[], None]] = []
    for flash in budgets(largest, least, points) if least < largest else ():
        budget = Budget(flash_bytes=flash, max_drop_points=ANY_DROP, effort=effort)
        asked = replace(prepared, options=replace(options, budget=budget))
        share = len(firmwares) / points

        def show(step: str, part: float, share: float = share, flash: int = flash) -> None:
            progress(f"{flash:,} B, {step.removeprefix('compress: ')}", share + part / points)

        try:
            found, clear = search(asked, budget, keep=search_folder(output), storage=None, show=show)
        except CompressionError as error:
            notes.append(str(error).splitlines()[0])
            continue
        done.append(clear)
        firmwares.append((asked, found, found.built))
    if len(firmwares) < 2:
        notes.append("nothing smaller was found: no channel of this net can be removed, or none is worth a byte")
    explored, artifacts = _judged(prepared, firmwares, least, notes, progress)
    notes += write(explored, artifacts, output)
    for clear in done:
        clear()
    return replace(explored, notes=tuple(notes))


def budgets(largest: int, least: int, points: int) -> tuple[int, ...]:
    """`points` - 1 sizes below `largest` and above `least`, at equal ratios."""
    return tuple(round(largest * (least / largest) ** (step / points)) for step in range(1, points))


def _ends(prepared: Prepared, progress: Callable[[str, float], None]) -> tuple[Made | None, int]:
    """The firmware of the net as it is, None where it does not fit, and the bytes of flash of the least net."""
    progress("the net as it is", 0.0)
    try:
        whole = prepared.made(prepared.graph)
    except DoesNotFitError:
        whole = None
    progress("the least net", 0.0)
    graph, options = without_formats(prepared.graph), prepared.options
    least = floor(graph, find_channels(graph), packs=options.weight_bits == 8)
    budget = Budget(flash_bytes=1, max_drop_points=ANY_DROP)  # every weight in the form that takes the fewest bytes
    return whole, replace(prepared, options=replace(options, budget=budget)).made(least).flash_bytes


def _judged(
    prepared: Prepared,
    firmwares: list[tuple[Prepared, Compressed[Made] | None, Made]],
    least: int,
    notes: list[str],
    progress: Callable[[str, float], None],
) -> tuple[Exploration, dict[str, Artifact]]:
    """The points and their artifacts. Everything is decided by now: this is where the test part is read."""
    assert prepared.dataset is not None
    if not firmwares:
        raise CompressionError("\n".join(("no firmware was found for any budget; begin with a smaller net", *notes)))
    part = prepared.dataset.val
    threshold = evaluate.decision_point(prepared.graph)
    points: list[Point] = []
    artifacts: dict[str, Artifact] = {}
    for number, (asked, found, made) in enumerate(firmwares, start=1):
        progress("evaluate", 1.0)
        artifact = report(asked, found, made, lambda _: None)
        figures = artifact.report
        right = int((evaluate.quantized_predictions(made.qgraph, part.x, threshold) == part.y).sum())
        costs = [layer["predicted_cost"] for layer in figures["layers"]]
        cycles = None if None in costs else sum(costs)
        name = f"point-{number:02}"
        artifacts[name] = artifact
        points.append(
            Point(
                name=name, flash=made.flash_bytes, ram=made.ram_bytes, weights=figures["bytes"]["weights"],
                cycles=cycles, energy_uj=figures["power"]["inference_uj"],
                validation=right / len(part), validation_interval=wilson(right, len(part)),
                test=figures["accuracy"]["quantized"],
            )
        )  # fmt: skip
    before = evaluate.float_predictions(prepared.graph, part.x) == part.y
    explored = Exploration(
        model=prepared.model.name, target=prepared.options.target, cost_unit=figures["cost_unit"],
        before=float(before.mean()), validation_samples=len(part), least=least,
        points=tuple(replace(point, dominated_by=_dominator(point, points)) for point in points), notes=tuple(notes),
    )  # fmt: skip
    return explored, artifacts


def _dominator(point: Point, points: list[Point]) -> str | None:
    def costs(one: Point) -> tuple[float, ...]:
        return (one.flash, one.ram, one.cycles or 0, -one.validation)

    for other in points:
        pairs = list(zip(costs(other), costs(point), strict=True))
        if all(a <= b for a, b in pairs) and any(a < b for a, b in pairs):
            return other.name
    return None


def write(explored: Exploration, artifacts: Mapping[str, Artifact], output: Path) -> tuple[str, ...]:
    """Each artifact to its folder, then the front as JSON and drawn. Returns notes on what could not be done."""
    for name, artifact in artifacts.items():
        artifact.write(output / name)
    drawn, notes = draw(explored)
    try:
        for entry in output.iterdir():  # of an earlier exploration
            if OURS.match(entry.name) and entry.name not in artifacts:
                shutil.rmtree(entry)
            elif entry.name in PLOTS:
                entry.unlink()
        for path, content in zip(PLOTS, drawn, strict=False):
            (output / path).write_bytes(content)
        (output / FRONT).write_text(json.dumps(explored.as_dict(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputFolderError(f"{output}: cannot be written: {error.strerror}; choose another --out") from error
    return notes


def _check_folder(output: Path) -> None:
    """Raise OutputFolderError unless the folder is absent, or holds an earlier exploration and nothing else."""
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise OutputFolderError(f"{output}: expected a folder, found a file or a link; choose another --out")
    try:
        entries = sorted(output.iterdir()) if output.exists() else []
    except OSError as error:
        raise OutputFolderError(f"{output}: cannot be looked into: {error.strerror}; choose another --out") from error
    for entry in entries:
        if OURS.match(entry.name):
            check_output_folder(entry)
        elif entry.name not in (FRONT, *PLOTS):
            raise OutputFolderError(
                f"{output}: expected an empty folder or an earlier freeml explore and nothing else, found "
                f"{entry.name}; choose another --out"
            )
