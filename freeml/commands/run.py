"""`freeml run`: the net on the user's inputs, by any executor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from freeml.commands.options import PATH, folder_argument, json_option

if TYPE_CHECKING:
    from freeml.running import Executor


@click.command("run")
@folder_argument
@click.option(
    "--on",
    type=click.Choice(["reference", "host", "board"]),
    default="board",
    show_default=True,
    help="numpy's integers, the C on this machine, or the firmware on its simulated board.",
)
@click.option(
    "--input",
    "inputs",
    type=PATH,
    required=True,
    help="Samples: .npy, or .npz with one array for each input; real numbers as the ONNX model takes them.",
)
@click.option("--output", type=PATH, help="Write the outputs there as .npz, one array for each.")
@click.option("--toolchain", help="This machine's compiler, for --on host.  [default: the first found]")
@click.option(
    "--max-instructions",
    type=click.IntRange(min=1),
    help="Give up an inference on the board after so many.  [default: 2,000 per multiply-accumulate]",
)
@json_option
def run_command(
    folder: Path, on: Executor, inputs: Path, output: Path | None, toolchain: str | None, max_instructions: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Run the net in DIR, a folder that freeml compile wrote, on inputs of your own.

    On the board it is the image that freeml flash would write: DIR/build/firmware.elf, or DIR/firmware.elf before the
    first freeml build. All three executors give the same numbers.

    \b
    Example:
      freeml run lenet5-msp430 --on board --input digits.npy
    """
    from freeml.report import boards, terminal
    from freeml.running import execute_on, write_outputs

    with terminal.progress() as show:
        found = execute_on(
            folder, on=on, inputs=inputs, toolchain=toolchain, max_instructions=max_instructions, progress=show
        )  # fmt: skip
    if output is not None:
        write_outputs(output, found.outputs)
    terminal.print_json(found.as_dict()) if as_json else boards.print_execution(found)
