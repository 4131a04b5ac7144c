"""The command line: parse, call, print, and turn errors into exit code 2. Everything heavy is imported when needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from freeml.errors import FreemlError
from freeml.version import VERSION

PRECISIONS = ("int8", "int16", "auto")
RANGES = ("minmax", "percentile", "mse")


class Group(click.Group):
    """Shows user errors as one message on standard error with exit code 2, and never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FreemlError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)


target_option = click.option("--target", default="msp430", show_default=True, help="Board: msp430 or apollo4.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
toolchain_option = click.option("--toolchain", help="Compiler to use: zig, clang or gcc.  [default: the first found]")
MODEL = click.argument("model", type=click.Path(path_type=Path))
FOLDER = click.argument("folder", type=click.Path(path_type=Path))
DATA = click.option("--data", type=click.Path(path_type=Path), help="Data set (.npz: x_train, y_train, x_test, y_test).")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="freeml")
def main() -> None:
    """Compile trained neural networks to exact fixed-point C for batteryless microcontrollers."""


@main.command("compile")
@MODEL
@target_option
@DATA
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the firmware.  [default: the model's name]")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True, help="Activations' width.")
@click.option("--weights", type=click.Choice(PRECISIONS[:2]), default="int8", show_default=True, help="Weights' width.")
@click.option("--ranges", type=click.Choice(RANGES), help="How ranges are chosen.  [default: the best on calibration]")
@toolchain_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of every random choice.")
@json_option
def compile_command(
    model: Path, target: str, data: Path | None, out: Path | None, precision: Any, weights: Any, ranges: Any,  # noqa: ANN401
    toolchain: str | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Compile an ONNX MODEL to a folder of C for a board."""
    from freeml.pipeline import Options, compile_model
    from freeml.report import terminal

    options = Options(
        target=target, precision=precision, weights=weights, ranges=ranges, toolchain=toolchain, seed=seed
    )
    folder = out if out is not None else Path(f"{model.stem}-{target}")
    with terminal.progress(quiet=as_json) as say:
        artifact = compile_model(model, options=options, data=data, output=folder, progress=say)
    if as_json:
        terminal.print_json({**artifact.report, "folder": str(folder)})
    else:
        terminal.print_report(artifact.report, folder)


if __name__ == "__main__":
    sys.exit(main())
