"""`freeml build`: the ELF file of a compiled folder, and what it takes of the board."""

from __future__ import annotations

from pathlib import Path

import click

from freeml.commands.options import folder_argument, json_option


@click.command("build")
@folder_argument
@click.option("--toolchain", help="zig, clang, gcc or (MSP430) gcc-large.  [default: zig, else the first found]")
@click.option("--host", is_flag=True, help="Build a library for this machine instead (see host/batch.h).")
@json_option
def build_command(folder: Path, toolchain: str | None, host: bool, as_json: bool) -> None:
    """Build the firmware in DIR, a folder that freeml compile wrote.

    The result goes to DIR/build: firmware.elf, and the same bytes as Intel HEX (firmware.hex) and as the board's
    programmers take them (firmware.txt in TI's format for the MSP430, firmware.bin for the Apollo4). Prints the sizes
    of the ELF file's sections against the board's memories.

    \b
    Example:
      freeml build lenet5-msp430 --toolchain gcc
    """
    from freeml.building import build_firmware, build_library
    from freeml.report import terminal

    if host:
        library = build_library(folder, toolchain)
        terminal.print_json(library.as_dict()) if as_json else terminal.print_library(library)
        return
    built = build_firmware(folder, toolchain)
    terminal.print_json(built.as_dict()) if as_json else terminal.print_firmware(built)
