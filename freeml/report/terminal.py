"""Tables and progress in the terminal. Results go to standard output, progress to standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON object and nothing else on standard output."""
    print(json.dumps(document, indent=2))  # noqa: T201


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Shows the step under way on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with console.status("starting") as status:
        yield lambda step: status.update(step)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; every column but the first is right-aligned."""
    grid = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    Console().print(grid)


def percent(share: float | None) -> str:
    """0.8412 as 84.12 %."""
    return "unverified" if share is None else f"{100 * share:.2f} %"


def print_report(report: Mapping[str, Any], folder: Path) -> None:
    """The figures of a compile."""
    size, limits, accuracy, arena = report["bytes"], report["limits"], report["accuracy"], report["arena"]
    rows = [
        ("accuracy, float", percent(accuracy["float"]), ""),
        ("accuracy, integer", percent(accuracy["quantized"]), f"{accuracy['samples']} samples, {accuracy['split']}"),
        ("weights", f"{size['weights']:,} B", f"{report['params']:,} parameters"),
        ("code", f"{size['code']:,} B", ""),
        ("test vectors", f"{size['vectors']:,} B", ""),
        ("image + persistent data", f"{size['flash'] + size['nv']:,} B", f"of {limits['flash']:,} B"),
        ("  of which persistent (activations)", f"{size['nv']:,} B", ""),
        ("SRAM, stack estimate included", f"{size['sram']:,} B", f"of {limits['sram']:,} B"),
        ("activations' arena", f"{arena['bytes']:,} B", f"lower bound {arena['lower_bound_bytes']:,} B"),
        ("MACs", f"{report['macs']:,}", ""),
    ]
    table(f"{report['model']} on {report['target']} ({report['toolchain']})", ("", "value", ""), rows)
    for note in report["notes"]:
        Console().print(f"note: {note}", style="yellow")
    Console().print(f"written to {folder}")
