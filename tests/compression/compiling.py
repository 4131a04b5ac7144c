"""Compiling the blobs net, with and without a budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blobs import arrays
from freeml.artifact import Artifact
from freeml.compression.budget import Budget
from freeml.options import Options
from freeml.pipeline import compile_model


def compiled(path: Path, budget: Budget | None, data: dict[str, np.ndarray] | None = None, **more: object) -> Artifact:
    options = Options(budget=budget, **more)  # type: ignore[arg-type]
    return compile_model(path, options=options, data=arrays() if data is None else data)


def flash(artifact: Artifact) -> int:
    return int(artifact.report["bytes"]["flash"] + artifact.report["bytes"]["nv"])


def quarter(plain: Artifact) -> Budget:
    """A quarter of the weights and less RAM."""
    sizes = plain.report["bytes"]
    return Budget(flash_bytes=flash(plain) - 3 * sizes["weights"] // 4, ram_bytes=sizes["sram"] - 16)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
