"""Writing a compiled firmware to a real board, with the tools that people have for it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freeml.artifact import flashed_image, load
from freeml.building import BUILD_FOLDER, FIRMWARE, write_programmer_images
from freeml.errors import FreemlError
from freeml.sim.image import read_image
from freeml.targets import BOARDS, Board, Programmer
from freeml.toolchains.formats import WRITERS

QUOTED_LINES = 12
"""Lines of a tool's last output that go into an error message."""


class FlashError(FreemlError):
    """A board cannot be written: wrong or missing tool, missing board, missing configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """How a firmware is written to a board, and what became of it.

    `folder` is where `command` runs. `script` is the command file's content, None where there is none. `output` is what
    the tool said, None where it was not run.
    """

    target: str
    programmer: str
    image: Path
    folder: Path
    command: tuple[str, ...]
    script_name: str | None
    script: str | None
    output: str | None = None

    @property
    def shell_line(self) -> str:
        """The command as a shell takes it, from wherever the user is."""
        return f"(cd {shlex.quote(str(self.folder))} && {shlex.join(self.command)})"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "target": self.target,
            "programmer": self.programmer,
            "image": str(self.image),
            "folder": str(self.folder),
            "command": list(self.command),
            "shell": self.shell_line,
            "script": self.script,
            "flashed": self.output is not None,
            "output": self.output,
        }


def flash(
    folder: Path,
    *,
    programmer: str | None = None,
    config: Path | None = None,
    driver: str | None = None,
    timeout_s: float = 120.0,
    dry_run: bool = False,
) -> Flash:
    """Write the firmware of a compiled folder to the board that is connected; with `dry_run`, stop short of it.

    Either way the files that the tool reads are made in the folder's build/, so that the command of a dry run can be
    run by hand. `config` and `driver` are for programmers that take such a thing. Raises FlashError, and ArtifactError
    or ImageError for a folder without a firmware for its board.
    """
    board = load(folder).board
    chosen = _programmer(board, programmer)
    _require_options(chosen, config, driver)
    program = _locate(chosen, dry_run=dry_run)
    build = folder / BUILD_FOLDER
    image = prepare(folder, board)
    names = _names(image, config, driver or chosen.driver)
    script = "".join(f"{line.format_map(names)}\n" for line in chosen.script) or None
    plan = Flash(
        target=board.name,
        programmer=chosen.name,
        image=image,
        folder=build,
        command=(program, *(argument.format_map(names) for argument in chosen.arguments)),
        script_name=names["script"] if script else None,
        script=script,
    )
    if script:
        (build / names["script"]).write_text(script, encoding="utf-8")
    return plan if dry_run else _run(plan, chosen, board, timeout_s)


def prepare(folder: Path, board: Board) -> Path:
    """The ELF file in build/ with its other formats beside it, made of the compile's own where nothing was built."""
    image = flashed_image(folder)
    elf = folder / BUILD_FOLDER / FIRMWARE
    if image != elf:
        read_image(image, board)
        elf.parent.mkdir(exist_ok=True)
        shutil.copyfile(image, elf)
    write_programmer_images(elf, board)
    return elf


def _programmer(board: Board, name: str | None) -> Programmer:
    if name is None:
        return board.programmers[0]
    found = next((one for one in board.programmers if one.name == name), None)
    if found is None:
        able = " or ".join(one.name for one in board.programmers)
        others = sorted(b.title for b in BOARDS.values() for one in b.programmers if one.name == name)
        known = f"it is for {', '.join(others)}" if others else "there is no such programmer"
        raise FlashError(f"{name} cannot flash {board.title}: {known}; use --programmer {able}")
    return found


def _require_options(programmer: Programmer, config: Path | None, driver: str | None) -> None:
    if programmer.config is None and config is not None:
        raise FlashError(f"{programmer.name} takes no configuration file, found --config {config}; leave it out")
    if programmer.config is not None and config is None:
        raise FlashError(f"{programmer.name} needs --config FILE: {programmer.config}")
    if config is not None and not config.is_file():
        raise FlashError(f"{config}: expected a configuration file for {programmer.name}, found none there")
    if programmer.driver is None and driver is not None:
        raise FlashError(f"{programmer.name} has no choice of drivers, found --driver {driver}; leave it out")


def _locate(programmer: Programmer, *, dry_run: bool) -> str:
    """The executable; a dry run does without and names the first."""
    found = next(filter(shutil.which, programmer.programs), None)
    if found is None and not dry_run:
        raise FlashError(
            f"{programmer.name} was not found: looked for {' and '.join(programmer.programs)} on PATH; "
            f"{programmer.how_to_get}"
        )
    return found or programmer.programs[0]


def _names(elf: Path, config: Path | None, driver: str | None) -> Mapping[str, str]:
    """What the placeholders of a command line stand for. Files are named without a folder: the tool runs in theirs."""
    formats = {suffix[1:]: elf.with_suffix(suffix).name for suffix, _ in WRITERS.values()}
    return {
        **formats,
        "elf": elf.name,
        "script": elf.with_suffix(".jlink").name,
        "config": "" if config is None else str(config.resolve()),
        "driver": driver or "",
    }


def _run(plan: Flash, programmer: Programmer, board: Board, timeout_s: float) -> Flash:
    try:
        done = subprocess.run(
            plan.command, cwd=plan.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        said = _last_lines(error.stdout or b"")
        raise FlashError(
            f"{programmer.name} did not finish within {timeout_s:g} seconds and was stopped; "
            f"{programmer.when_it_fails}, or give it more with --timeout{said}"
        ) from error
    except OSError as error:
        raise FlashError(f"{plan.command[0]} cannot be started: {error.strerror}; {programmer.how_to_get}") from error
    text = done.stdout.decode("utf-8", errors="replace")
    refused = next((words for words in programmer.failure_words if words in text), None)
    if done.returncode != 0 or refused is not None:
        how = f"exit status {done.returncode}" if done.returncode else f"it says {refused!r}"
        raise FlashError(
            f"{programmer.name} did not flash {board.title} ({how}): {shlex.join(plan.command)}\n"
            f"{programmer.when_it_fails}{_last_lines(done.stdout)}"
        )
    return Flash(
        target=plan.target, programmer=plan.programmer, image=plan.image, folder=plan.folder, command=plan.command,
        script_name=plan.script_name, script=plan.script, output=text,
    )  # fmt: skip


def _last_lines(output: bytes) -> str:
    """The end of a tool's output, each line on one of its own after a heading; empty where it said nothing."""
    lines = [line for line in output.decode("utf-8", errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    return "\n".join(["\nits last words:", *(f"  {line.rstrip()}" for line in lines[-QUOTED_LINES:])])
