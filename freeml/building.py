"""Building what is in a compiled folder: the firmware for its board, or a library for this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freeml.artifact import REPORT, Artifact, load
from freeml.errors import ArtifactError, DoesNotFitError
from freeml.fit import OPTIMISE, account, board_limits
from freeml.report.figures import Bytes, Limits
from freeml.targets import Board
from freeml.toolchains import BuildResult, Sizes, build, build_host, find, find_host

BUILD_FOLDER = "build"
FIRMWARE = "firmware.elf"
LIBRARY = "model.so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A firmware built from a compiled folder. `sections` are the bytes of the ELF file by purpose."""

    elf: Path
    target: str
    toolchain: str
    sections: Sizes
    bytes: Bytes
    limits: Limits
    fits: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "elf": str(self.elf)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The model as a shared library for this machine."""

    library: Path
    toolchain: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"library": str(self.library), "toolchain": self.toolchain}


def build_firmware(folder: Path, toolchain: str | None = None) -> Firmware:
    """Build the firmware in a compiled folder into its build/.

    Raises ArtifactError for other folders, ToolchainError when it does not build, and DoesNotFitError when the image
    was built but its variables and stack exceed the board (an image too large for the flash does not link).
    """
    artifact = load(folder)
    board = artifact.board
    vectors, scratch = _reported(artifact, "vectors"), _reported(artifact, "scratch")
    result = build(find(board, toolchain), board, folder, folder / BUILD_FOLDER / FIRMWARE, optimise=OPTIMISE)
    sizes = account(result, vectors)
    limits = board_limits(board)
    _require_fit(sizes, limits, board, result)
    return Firmware(
        elf=result.elf,
        target=board.name,
        toolchain=result.toolchain,
        sections=result.sizes,
        bytes=Bytes(**{**asdict(sizes), "scratch": scratch}),
        limits=limits,
        fits=True,
        seconds=round(result.seconds, 2),
    )


def _reported(artifact: Artifact, what: str) -> int:
    """A number of bytes that no section of the ELF file tells."""
    try:
        return int(artifact.report["bytes"][what])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{REPORT} lacks the bytes of {what}; compile the model anew") from error


def _require_fit(found: Bytes, limits: Limits, board: Board, result: BuildResult) -> None:
    for what, need, limit in (
        ("image and persistent data", found.flash + found.nv, limits.flash),
        ("variables and stack", found.sram, limits.sram),
    ):
        if need > limit:
            raise DoesNotFitError(
                f"{result.elf} does not fit {board.title}: {what} take {need:,} of {limit:,} bytes with "
                f"{result.toolchain}; try another --toolchain or a larger board"
            )


def build_library(folder: Path, toolchain: str | None = None) -> Library:
    """Build the model in a compiled folder as a shared library for this machine, into its build/.

    Raises ArtifactError and ToolchainError as `build_firmware` does.
    """
    load(folder)
    compiler = find_host(toolchain)
    library = build_host(folder, folder / BUILD_FOLDER / LIBRARY, toolchain=compiler)
    return Library(library=library, toolchain=compiler.kind)
