"""`freeml exits`: accuracy against mean cycles of every rule by which inferences may end early."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import PATH, json_option


@click.command("exits")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--data", type=PATH, required=True, help="Data set (.npz: x_train, y_train, x_test, y_test).")
@click.option("--split", type=click.Choice(("test", "val")), default="test", show_default=True, help="Part to look at.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="The first N samples only.")
@click.option(
    "--points", type=click.IntRange(2, 99), default=12, show_default=True, help="Thresholds of each rule to show."
)
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the picture, exits.svg and exits.png.")
@json_option
def exits_command(
    folder: Path, data: Path, split: str, samples: int | None, points: int, out: Path | None, as_json: bool
) -> None:
    """Show what the rules of a compiled net with exits would do: accuracy, mean cycles, where inferences end.

    DIR is a folder that `freeml compile --exits` wrote. All samples run to the end in the integer reference; every kind
    of rule is then tried at many thresholds. The rule that was compiled is marked.

    \b
    Example:
      freeml exits lenet5-msp430 --data mnist.npz --out lenet5-exits
    """
    from freeml.examining import examine
    from freeml.report import terminal
    from freeml.report.exits import print_examined

    with terminal.progress() as show:
        found = examine(folder, data, split=split, samples=samples, points=points, out=out, progress=show)
    if as_json:
        terminal.print_json(found.as_dict())
    else:
        print_examined(found)
