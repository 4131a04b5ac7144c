"""`freeml verify`: the reference, the C on this machine and on the board, and onnxruntime on the same samples."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import PATH, SEED, folder_argument, json_option


@click.command("verify")
@folder_argument
@click.option("--data", type=PATH, help="Data set (.npz): its test samples.  [default: 100 random samples]")
@click.option("--samples", type=click.IntRange(min=1), help="How many samples.  [default: all, or 100 random ones]")
@click.option(
    "--board-samples",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many of them on the simulated board as well; 0 leaves it out.",
)
@click.option("--model", type=PATH, help="The float model that DIR was compiled from, to compare with as well.")
@click.option("--sanitize", is_flag=True, help="Run the C under the address and undefined-behaviour sanitizers.")
@click.option("--toolchain", help="This machine's compiler: gcc, clang or zig.  [default: the first found]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the random samples.")
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context, folder: Path, data: Path | None, samples: int | None, board_samples: int, model: Path | None,
    sanitize: bool, toolchain: str | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Verify DIR, a folder that freeml compile wrote.

    The C in DIR is built for this machine and run; the image in DIR, as freeml flash would write it, runs on its
    simulated board. Every byte that a layer stores must equal the integer reference's on both.
    The quantized ONNX file is run by onnxruntime, where that is installed, and compared by error and by accuracy. The
    exit status is 1 when a byte differs, and the first such value is named.

    \b
    Example:
      freeml verify lenet5-msp430 --data mnist.npz --model lenet5.onnx
    """
    from freeml.report import terminal
    from freeml.verification import verify

    with terminal.progress() as show:
        found = verify(
            folder, data=data, samples=samples, board_samples=board_samples, model=model, sanitize=sanitize,
            toolchain=toolchain, seed=seed, progress=show,
        )  # fmt: skip
    if as_json:
        terminal.print_json(found.as_dict())
    else:
        terminal.print_verification(found)
    if found.mismatches:
        ctx.exit(1)
