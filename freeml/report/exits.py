"""Where inferences end, what that saves and what it loses: as tables and as a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from freeml.report.terminal import line, percent, table

if TYPE_CHECKING:
    from freeml.examining import Examined
    from freeml.exits.curves import Point
    from freeml.exits.thresholds import Chosen

LOOKS = {
    "confidence": ("#1f5fa8", "o"), "entropy": ("#b3541e", "s"), "patience": ("#3f8f4f", "^"),
    "label-free": ("#8a4fa3", "D"), "reliability": ("#c79a1b", "v"), "none": ("#9a9a9a", "o"),
}  # fmt: skip
"""Colour and marker of each kind of rule; both, so that no one has to tell colours apart."""

DPI = 150


def print_curves(title: str, curves: Sequence[Sequence[Point]], names: Sequence[str], unit: str = "cycles") -> None:
    """A row for each point, one curve after the other. `names` are those of the exits, `unit` that of the costs."""
    full = max((point.mean_cycles for points in curves for point in points), default=0.0)
    rows = [
        (
            point.kind, point.threshold, percent(point.accuracy), f"{point.mean_cycles:,.0f}",
            _saved(point.mean_cycles, full), _shares(point.shares),
        )
        for points in curves
        for point in points
    ]  # fmt: skip
    table(title, ("policy", "threshold", "accuracy", f"mean {unit}", "saved", "ended, %"), rows, left=(0, 1))
    line(f"ended: at {', '.join(names)}, and at the end")


def print_chosen(title: str, rules: Sequence[tuple[Chosen, str]], full: float, unit: str = "cycles") -> None:
    """A row for each rule, with words for its thresholds; `full` is the cost of one that runs to the end."""
    rows = [
        (
            chosen.policy.kind, threshold,
            f"{100 * chosen.promised_drop:.2f}", f"{100 * chosen.bound:.2f}", f"{100 * chosen.val_drop:.2f}",
            f"{chosen.mean_cycles:,.0f}", _saved(chosen.mean_cycles, full), _shares(chosen.shares),
        )
        for chosen, threshold in rules
    ]  # fmt: skip
    columns = ("policy", "threshold", "promised", "bound", "found", f"mean {unit}", "saved", "ended, %")
    table(title, columns, rows, left=(0, 1))
    if rules:
        first = rules[0][0]
        line(
            f"points of accuracy lost on {first.samples:,} validation samples, promised with confidence "
            f"{first.confidence:g}; ended: at each exit, and at the end"
        )
    for chosen, _ in rules:
        if chosen.note:
            line(f"note: {chosen.note}", "yellow")


def _saved(cycles: float, full: float) -> str:
    return f"{1 - cycles / full:.1%}" if full else ""


def _shares(shares: Sequence[float]) -> str:
    return " ".join(f"{100 * share:.0f}" for share in shares)


def plot_curves(
    curves: Sequence[Sequence[Point]],
    path: Path,
    *,
    title: str = "",
    unit: str = "cycles",
    chosen: Sequence[Point] = (),
) -> tuple[str, ...]:
    """Draw accuracy over mean cycles, a line for each curve, into `path` (.png or .svg); `chosen` rules get a ring.

    Where matplotlib is missing nothing is written, and a note says so.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        return ("the curves are not drawn: matplotlib is not installed; run pip install 'freeml[plot]'",)
    metadata = {
        "svg": {"Date": None, "Creator": "freeml"},
        "png": {"Software": "freeml"},
        "pdf": {"CreationDate": None},
    }
    with rc_context({"svg.hashsalt": "freeml", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        whole = max((p for points in curves for p in points), key=lambda p: p.mean_cycles)
        axes.axhline(100 * whole.accuracy, color="#9a9a9a", linewidth=1, linestyle="--", label="always to the end")
        for points in curves:
            if points and points[0].kind != "none":
                colour, marker = LOOKS[points[0].kind]
                axes.plot(
                    [p.mean_cycles / 1e6 for p in points], [100 * p.accuracy for p in points], color=colour,
                    marker=marker, markersize=4, linewidth=1, label=points[0].kind, markerfacecolor="none",
                    linestyle="--" if points[0].kind == "label-free" else "-",
                )  # fmt: skip
        for index, point in enumerate(chosen):
            axes.plot(
                [point.mean_cycles / 1e6], [100 * point.accuracy], linestyle="none", marker="o", markersize=11,
                markerfacecolor="none", markeredgecolor=LOOKS[point.kind][0], markeredgewidth=1.4,
                label="chosen, with a promise" if index == 0 else None,
            )  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{unit} of an inference, mean, millions")
        axes.set_ylabel("right answers, %")
        axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
        axes.legend(loc="lower right", frameon=False)
        if title:
            axes.set_title(title, fontsize=10)
        form = path.suffix.removeprefix(".")
        figure.savefig(path, format=form, dpi=DPI, metadata=metadata.get(form))
    return ()


def print_examined(found: Examined) -> None:
    """The curves of a compiled net, its exits, and where its own rule stands."""
    full = found.cycles[-1]
    rows = [
        (name, percent(accuracy), f"{cycles:,}", f"{cycles / max(1, full):.0%}", f"{share:.1%}")
        for name, accuracy, cycles, share in zip(
            (*found.names, "the end"), found.accuracies, found.cycles, found.compiled.shares, strict=True
        )
    ]
    columns = ("exit", "accuracy", found.unit, "", f"ended by {found.compiled.kind}")
    table(f"{found.samples:,} samples ({found.split})", columns, rows)
    print_curves("every rule", (*found.curves, (found.compiled,)), found.names, found.unit)
    line("the last row is the rule that was compiled")
    for note in found.notes:
        line(f"note: {note}", "yellow")
    for picture in found.pictures:
        line(f"drawn in {picture}")
