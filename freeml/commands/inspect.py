"""`freeml inspect`: what a model consists of, what stands in its way, and whether it would fit."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import json_option, model_argument


@click.command("inspect")
@model_argument
@click.option("--target", help="Board: msp430 or apollo4.  [default: all of them]")
@json_option
def inspect_command(model: Path, target: str | None, as_json: bool) -> None:
    """Show what an ONNX MODEL holds, what is unsupported, would it fit.

    Nothing is built and no data is needed: the bytes are those of the int8 net's memory plan, an estimate that leaves
    out code and stack. The exit status is 0 for every readable model, supported or not.

    \b
    Example:
      freeml inspect lenet5.onnx --target msp430
    """
    from freeml.inspection import inspect_model
    from freeml.report import terminal

    found = inspect_model(model, target)
    if as_json:
        terminal.print_json(found.as_dict())
    else:
        terminal.print_inspection(found)
