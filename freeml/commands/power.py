"""`freeml power`: cut the power of a firmware everywhere, and see whether it notices."""

from __future__ import annotations

import os
from pathlib import Path

import click

from freeml.commands.options import SEED, folder_argument, json_option


@click.command("power")
@folder_argument
@click.option(
    "--mode",
    default="exhaustive",
    show_default=True,
    metavar="MODE",
    help="linear, exhaustive, depth2 or replay=STRING.",
)
@click.option("--on", type=click.Choice(("host", "board")), default="board", show_default=True, help="Where it runs.")
@click.option("--limit", type=click.IntRange(min=1), help="Try a seeded sample of so many cuts.  [default: all]")
@click.option(
    "--every-instruction",
    is_flag=True,
    help="On the board: one reboot for each instruction, for each NV image once else.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: one for each core]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of samples and of what is left in SRAM.")
@json_option
def power_command(
    folder: Path, mode: str, on: str, limit: int | None, every_instruction: bool, jobs: int | None, seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """Cut the power of the firmware in DIR, a folder that freeml compile wrote, and compare with a run without cuts.

    linear: every boot lasts a little longer than the one before (host), or as long as the budget pays for (board).
    exhaustive: one cut, everywhere: at every write to non-volatile memory, torn ones included, on the host; at every
    instruction on the board. depth2: a second cut while the first is recovered from. replay=STRING: what an earlier
    failure printed. Exit status 1 when any cut made a difference.

    \b
    Example:
      freeml power har-msp430 --mode exhaustive --on board
    """
    from freeml.power import run
    from freeml.report import boards, terminal

    with terminal.progress() as show:
        found = run(
            folder, mode=mode, on=on, limit=limit, every_instruction=every_instruction, seed=seed,
            jobs=jobs or os.cpu_count() or 1, progress=show,
        )  # fmt: skip
    terminal.print_json(found.as_dict()) if as_json else boards.print_cuts(found)
    if found.failures:
        click.get_current_context().exit(1)
