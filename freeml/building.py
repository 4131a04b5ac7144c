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
from freeml.making import lower_planned
from freeml.regions.cutting import RegionError
from freeml.report.figures import Bytes, Limits
from freeml.sim.board import simulator_missing
from freeml.sim.image import read_image
from freeml.sim.regions import measure_regions
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
        _check_regions(artifact, fresh, measured.result.toolchain)
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


def _check_regions(artifact: Artifact, elf: Path, toolchain: str) -> None:
    """Raise RegionError when a region that another compiler built costs more than a boot pays for: regions were chosen
    for the one that the model was compiled with. Firmwares that ignore their budget (--regions) are left alone."""
    report, board = artifact.report, artifact.board
    power = report.get("power")
    if toolchain == report["toolchain"] or power is None or not power["measured"] or simulator_missing(board):
        return
    energy_nj = None if power["budget_uj"] is None else 1e3 * power["budget_uj"]
    kept = power["largest_region_cycles"] + power["boot_cycles"] <= power["budget_cycles"]
    if energy_nj is not None:
        kept = 1e3 * power["largest_region_uj"] <= energy_nj
    if not kept:
        return
    found = measure_regions(artifact.graph, board, elf, sum(layer["regions"] for layer in power["layers"]))
    if energy_nj is None:
        need, limit, unit = found.regions[found.longest].cycles + found.boot.cycles, power["budget_cycles"], "cycles"
    else:
        need, limit, unit = found.regions[found.largest].energy_nj + found.boot.energy_nj, energy_nj, "nJ"
    if need > limit:
        raise RegionError(
            f"the regions were chosen for {report['toolchain']}: built by {toolchain}, the largest with the boot "
            f"before it takes {need:,.0f} {unit}, and a boot pays for {limit:,.0f}; compile the model with --toolchain "
            f"{toolchain}"
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
