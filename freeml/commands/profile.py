"""`freeml profile`: cycles, energy and non-volatile writes of every layer."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import PATH, SEED, folder_argument, json_option


@click.command("profile")
@folder_argument
@click.option("--input", "inputs", type=PATH, help="Samples as for freeml run.  [default: random ones]")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Inferences to take the mean of; costs hardly depend on the values.",
)
@click.option("--functions", is_flag=True, help="Print the cost by function as well.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the random samples.")
@click.option(
    "--max-instructions",
    type=click.IntRange(min=1),
    help="Give up an inference after so many.  [default: 2,000 per multiply-accumulate]",
)
@json_option
def profile_command(
    folder: Path, inputs: Path | None, samples: int, functions: bool, seed: int, max_instructions: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Profile the firmware in DIR, a folder that freeml compile wrote, on its simulated board.

    Cycles (instructions on the Apollo4), writes to non-volatile memory and an estimate of the energy, by layer. The
    image is the one that freeml flash would write.

    \b
    Example:
      freeml profile lenet5-msp430
    """
    from freeml.profiling import profile
    from freeml.report import boards, terminal

    with terminal.progress() as show:
        found = profile(
            folder, inputs=inputs, samples=samples, seed=seed, max_instructions=max_instructions, progress=show
        )  # fmt: skip
    terminal.print_json(found.as_dict()) if as_json else boards.print_profile(found, functions=functions)
