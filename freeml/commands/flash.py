"""`freeml flash`: the firmware of a compiled folder onto a real board."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import PATH, folder_argument, json_option

PROGRAMMERS = ("mspdebug", "dslite", "jlink", "openocd")


@click.command("flash")
@folder_argument
@click.option(
    "--programmer",
    type=click.Choice(PROGRAMMERS),
    help="The tool that writes.  [default: mspdebug for the MSP430, jlink for the Apollo4]",
)
@click.option("--config", type=PATH, help="Its configuration file: a .ccxml for dslite, a script for openocd.")
@click.option("--driver", help="mspdebug's driver.  [default: tilib; newer versions have ezfet]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds after which a tool that does not finish is stopped.",
)
@click.option("--dry-run", is_flag=True, help="Prepare the files and print the command, but run nothing.")
@json_option
def flash_command(
    folder: Path, programmer: str | None, config: Path | None, driver: str | None, timeout: float, dry_run: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the firmware in DIR, a folder that freeml compile wrote, to the connected board.

    What is written is DIR/build/firmware.elf, as freeml build left it, or else the firmware that the compile made. The
    tool has to be installed: freeml runs it and says what it said where it fails.

    \b
    Example:
      freeml flash lenet5-msp430 --dry-run
    """
    from freeml.flashing import flash
    from freeml.report import boards, terminal

    done = flash(
        folder, programmer=programmer, config=config, driver=driver, timeout_s=timeout, dry_run=dry_run
    )  # fmt: skip
    terminal.print_json(done.as_dict()) if as_json else boards.print_flash(done)
