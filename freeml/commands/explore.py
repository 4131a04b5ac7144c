"""`freeml explore`: the front of size, speed and accuracy, each point a firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freeml.commands.compile import EFFORTS
from freeml.commands.options import PATH, PRECISIONS, SEED, WEIGHTS, json_option, model_argument


@click.command("explore")
@model_argument
@click.option("--target", default="msp430", show_default=True, help="Board: msp430 or apollo4.")
@click.option("--data", type=PATH, help="Data set (.npz: x_train, y_train, x_test, y_test).")
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the front.  [default: MODEL-TARGET-front]")
@click.option("--points", type=click.IntRange(2, 99), default=5, show_default=True, help="Firmwares to make.")
@click.option("--effort", type=click.Choice(EFFORTS), default="quick", show_default=True, help="How long for each.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="Width of activations."
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="int8", show_default=True, help="Width of weights.")
@click.option("--toolchain", help="zig, clang, gcc or (MSP430) gcc-large.  [default: zig, else the first found]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def explore_command(
    model: Path, target: str, data: Path | None, out: Path | None, points: int, effort: Any, precision: Any,  # noqa: ANN401
    weights: Any, toolchain: str | None, seed: int, as_json: bool,  # noqa: ANN401
) -> None:  # fmt: skip
    """Show what an ONNX MODEL costs at several sizes: flash, RAM, cycles, energy and accuracy.

    The net is compiled as it is, and compressed to smaller budgets of flash down to nearly the least it can take. Every
    point is written as freeml compile would, to DIR/point-01 and so on; the front is DIR/front.json, and drawn in
    front.svg and front.png where matplotlib is installed. Points are judged on the validation part; the test part is
    read when all are chosen. What was interrupted goes on when it is asked for again.

    \b
    Example:
      freeml explore lenet5.onnx --data mnist.npz --points 6 --out lenet5-front
    """
    from freeml.exploring import explore
    from freeml.options import Options
    from freeml.report import terminal
    from freeml.report.front import print_front

    options = Options(target=target, precision=precision, weights=weights, toolchain=toolchain, seed=seed)
    folder = out if out is not None else Path(f"{model.stem}-{target}-front")
    with terminal.progress() as show:
        found = explore(
            model, options=options, data=data, output=folder, points=points, effort=effort, progress=show
        )  # fmt: skip
    if as_json:
        terminal.print_json({**found.as_dict(), "folder": str(folder)})
    else:
        print_front(found, folder)
