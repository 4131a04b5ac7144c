"""`freeml compile`: an ONNX file becomes a folder of C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from freeml.commands.options import PATH, PRECISIONS, RANGES, SEED, WEIGHTS, json_option, model_argument

# Steps of the pipeline and about how long each takes, for the time left.
STEPS = {"import": 1, "quantize": 8, "plan": 2, "build": 6, "evaluate": 6, "write": 1}


@click.command("compile")
@model_argument
@click.option("--target", default="msp430", show_default=True, help="Board: msp430 or apollo4.")
@click.option("--data", type=PATH, help="Data set (.npz: x_train, y_train, x_test, y_test).")
@click.option("--out", type=PATH, metavar="DIR", help="Folder for the firmware.  [default: MODEL-TARGET]")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="Width of activations."
)
@click.option("--weights", type=click.Choice(WEIGHTS), default="int8", show_default=True, help="Width of weights.")
@click.option("--ranges", type=click.Choice(RANGES), help="How ranges are chosen.  [default: the best on calibration]")
@click.option("--toolchain", help="zig, clang, gcc or (MSP430) gcc-large.  [default: zig, else the first found]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def compile_command(
    model: Path, target: str, data: Path | None, out: Path | None, precision: Any, weights: Any, ranges: Any,  # noqa: ANN401
    toolchain: str | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Compile an ONNX MODEL to a folder of C for a board.

    The folder holds readable C99, the weights, test vectors, a Makefile, the firmware as an ELF file, the net as a
    quantized ONNX file, and report.json with every figure printed here. Without --data the ranges come from the graph
    itself, and the accuracy is unverified.

    \b
    Example:
      freeml compile lenet5.onnx --target apollo4 --data mnist.npz --out firmware
    """
    from freeml.pipeline import Options, compile_model
    from freeml.report import terminal

    options = Options(
        target=target, precision=precision, weights=weights, ranges=ranges, toolchain=toolchain, seed=seed
    )
    folder = out if out is not None else Path(f"{model.stem}-{target}")
    with terminal.progress() as show:
        artifact = compile_model(
            model, options=options, data=data, output=folder, progress=lambda step: show(step, share_before(step))
        )
    if as_json:
        terminal.print_json({**artifact.report, "folder": str(folder)})
    else:
        terminal.print_report(artifact.report, folder)


def share_before(step: str) -> float:
    """Share (0..1) of a compile that is done when `step` begins; an unknown step counts as the end."""
    names = list(STEPS)
    done = names[: names.index(step)] if step in STEPS else names
    return sum(STEPS[name] for name in done) / sum(STEPS.values())
