"""Building what is in a compiled folder: the firmware for its board, or a library for this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freeml.artifact import REPORT, Artifact, load
from freeml.errors import ArtifactError
from freeml.fit import measure
from freeml.pipeline import lower_planned
from freeml.report.figures import Bytes, Limits
from freeml.sim.image import read_image
from freeml.targets import Board, ImageFormat
from freeml.toolchains import Sizes, build_host, find_host
from freeml.toolchains.formats import write_images

BUILD_FOLDER = "build"
FIRMWARE = "firmware.elf"
LIBRARY = "model.so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A firmware built from a compiled folder. `sections` are the bytes of the ELF file by purpose.

    `images` are files of the same bytes for programmers, by format.
    """

    elf: Path
    images: Mapping[ImageFormat, Path]
    target: str
    toolchain: str
    sections: Sizes
    bytes: Bytes
    limits: Limits
    fits: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        images = {kind: str(path) for kind, path in self.images.items()}
        return {**asdict(self), "elf": str(self.elf), "images": images}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The model as a shared library for this machine."""

    library: Path
    toolchain: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"library": str(self.library), "toolchain": self.toolchain}


def build_firmware(folder: Path, toolchain: str | None = None) -> Firmware:
    """Build the firmware in a compiled folder into its build/, as an ELF file and in the formats of programmers.

    Raises ArtifactError for other folders, ToolchainError when it does not build or the linker moved what the code
    reads at fixed addresses, and DoesNotFitError when the image, or variables and stack, exceed the board. A failed
    build leaves earlier files as they were.
    """
    artifact = load(folder)
    board = artifact.board
    vectors, far = _reported(artifact)
    _, program = lower_planned(artifact.graph, board)
    elf = folder / BUILD_FOLDER / FIRMWARE
    elf.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".firmware-", dir=elf.parent) as staging:
        fresh = Path(staging) / FIRMWARE
        measured = measure(folder, fresh, program, board, toolchain, far=far, vectors=vectors)
        made = write_programmer_images(fresh, board)
        for path in (fresh, *made.values()):
            path.replace(elf.with_name(path.name))
    return Firmware(
        elf=elf,
        images={kind: elf.with_name(path.name) for kind, path in made.items()},
        target=board.name,
        toolchain=measured.result.toolchain,
        sections=measured.result.sizes,
        bytes=measured.bytes,
        limits=measured.limits,
        fits=True,
        seconds=round(measured.result.seconds, 2),
    )


def write_programmer_images(elf: Path, board: Board) -> dict[ImageFormat, Path]:
    """Write what an ELF file loads in the board's other formats, beside it. Raises ImageError for other files."""
    blocks = [(segment.address, segment.data) for segment in read_image(elf, board).segments]
    return write_images(blocks, elf, board.image_formats)


def _reported(artifact: Artifact) -> tuple[int, dict[str, int]]:
    """What no section of the ELF file tells: bytes of test vectors, and the addresses of far constants by name."""
    try:
        vectors, far = artifact.report["bytes"]["vectors"], artifact.report["far"]
        return int(vectors), {str(name): int(address) for name, address in far.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{REPORT} lacks the bytes of vectors or the far addresses; compile the model anew"
        ) from error


def build_library(folder: Path, toolchain: str | None = None) -> Library:
    """Build the model in a compiled folder as a shared library for this machine, into its build/.

    Raises ArtifactError and ToolchainError as `build_firmware` does.
    """
    load(folder)
    compiler = find_host(toolchain)
    library = build_host(folder, folder / BUILD_FOLDER / LIBRARY, toolchain=compiler)
    return Library(library=library, toolchain=compiler.kind)
