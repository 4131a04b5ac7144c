"""The front of `freeml explore` as a table and as a drawing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from freeml.report.terminal import line, percent, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from freeml.exploring import Exploration, Point

KEPT, LOST, WHOLE = "#1f5fa8", "#9a9a9a", "#b3541e"
DPI = 150


def print_front(found: Exploration, folder: Path) -> None:
    """A row for each point."""
    unit = "Minsn." if found.cost_unit == "instructions" else "Mcycles"
    rows = [
        (
            _number(point.name), f"{point.flash:,}", f"{point.ram:,}",
            "?" if point.cycles is None else f"{point.cycles / 1e6:,.3f}",
            f"{point.energy_uj:,.1f}",
            percent(point.validation), percent(point.test),
        )
        for point in found.points
    ]  # fmt: skip
    columns = ("point", "flash B", "RAM B", unit, "uJ", "validation", "test")
    table(
        f"{found.model} on {found.target}: what a smaller net costs (cycles predicted, energy estimated)", columns, rows
    )
    for point in found.points:
        if point.dominated_by is not None:
            line(f"point {_number(point.name)} is dominated by {_number(point.dominated_by)}: no better in anything")
    line(
        f"float net before: {percent(found.before)} of {found.validation_samples:,} validation samples; with one "
        f"channel wherever channels can go, and the fewest bits: {found.least:,} B of flash"
    )
    for note in found.notes:
        line(f"note: {note}", "yellow")
    line(f"written to {folder}: a firmware for each point, front.json")


def _number(name: str) -> str:
    return name.removeprefix("point-")


def draw(found: Exploration) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """The drawing as SVG and as PNG; where matplotlib is missing none, and a note that says so."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        return (), ("the front is not drawn: matplotlib is not installed; run pip install 'freeml[plot]'",)
    with rc_context({"svg.hashsalt": "freeml", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        priced = all(point.cycles is not None for point in found.points)
        panels = figure.subplots(1, 2 if priced else 1, sharey=True, squeeze=False)[0]
        _panel(panels[0], found, [point.flash / 1024 for point in found.points], "flash, KB of 1,024 bytes")
        if priced:
            unit = found.cost_unit or "cycles"
            scaled = [(point.cycles or 0) / 1e6 for point in found.points]
            _panel(panels[1], found, scaled, f"{unit} of an inference, predicted, millions")
        panels[0].set_ylabel("right answers, % of validation data")
        panels[0].legend(loc="lower right", frameon=False)
        figure.suptitle(f"{found.model} on {found.target}")
        images = []
        for form, metadata in (("svg", {"Date": None, "Creator": "freeml"}), ("png", {"Software": "freeml"})):
            stream = io.BytesIO()
            figure.savefig(stream, format=form, dpi=DPI, metadata=metadata)
            images.append(stream.getvalue())
    return tuple(images), ()


def _panel(axes: Axes, found: Exploration, along: list[float], label: str) -> None:
    """Accuracy over one cost, with its 95 % interval; a line joins the points that no other dominates."""
    pairs = list(zip(along, found.points, strict=True))
    kept = sorted((pair for pair in pairs if pair[1].dominated_by is None), key=lambda pair: pair[0])
    lost = [pair for pair in pairs if pair[1].dominated_by is not None]
    axes.axhline(100 * found.before, color=WHOLE, linewidth=1, linestyle="--", label="float net before")
    axes.plot([x for x, _ in kept], [100 * point.validation for _, point in kept], color=KEPT, linewidth=1)
    for group, color, fill, name in ((kept, KEPT, KEPT, "integer net"), (lost, LOST, "white", "dominated")):
        if group:
            axes.errorbar(
                [x for x, _ in group], [100 * point.validation for _, point in group],
                yerr=[[_below(point) for _, point in group], [_above(point) for _, point in group]],
                fmt="o", color=color, markerfacecolor=fill, elinewidth=0.8, capsize=2, label=f"{name}, 95 % interval",
            )  # fmt: skip
    for x, point in pairs:
        axes.annotate(_number(point.name), (x, 100 * point.validation), textcoords="offset points", xytext=(6, -11))
    axes.set_xscale("log")
    axes.set_xticks(ticks := _spread(along), labels=[f"{x:.3g}" for x in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label)
    axes.grid(visible=True, which="major", color="#e6e6e6", linewidth=0.6)


def _below(point: Point) -> float:
    return 100 * max(0.0, point.validation - point.validation_interval[0])


def _above(point: Point) -> float:
    return 100 * max(0.0, point.validation_interval[1] - point.validation)


def _spread(values: list[float]) -> list[float]:
    """The values that are far enough apart, on a logarithmic axis, to be written below it."""
    ticks: list[float] = []
    for value in sorted(values):
        if not ticks or value > 1.1 * ticks[-1]:
            ticks.append(value)
    return ticks
