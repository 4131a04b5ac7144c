"""freeml compiles trained neural networks to exact fixed-point C for batteryless microcontrollers.

    import freeml
    artifact = freeml.compile("model.onnx", target="msp430", data="data.npz", out="firmware")
    run = artifact.host(x, intermediates=True)      # the emitted C; artifact.reference(x) is what it must equal

Importing this package is cheap: numpy, onnx and the rest are loaded by the first call that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from freeml.errors import FreemlError
from freeml.version import VERSION

if TYPE_CHECKING:
    from freeml.artifact import Artifact
    from freeml.inspection import Inspection
    from freeml.ir.types import Array

__version__ = VERSION

__all__ = ["Artifact", "FreemlError", "__version__", "compile", "inspect", "load"]


def compile(  # noqa: A001 - the one verb of the package, used as freeml.compile
    model: str | PathLike[str],
    *,
    target: str = "msp430",
    data: str | PathLike[str] | Mapping[str, Array] | None = None,
    out: str | PathLike[str] | None = None,
    precision: Literal["int8", "int16", "auto"] = "int8",
    weights: Literal["int8", "int16"] = "int8",
    ranges: Literal["minmax", "percentile", "mse"] | None = None,
    toolchain: str | None = None,
    seed: int = 0,
) -> Artifact:
    """Compile an ONNX file for a board; write the firmware folder `out` when given.

    `data` is a .npz file, or a mapping, of x_train (n, *input shape without batch) in the model's own domain, y_train
    (n,) integer classes, x_test, y_test, and optionally x_val, y_val. Without it ranges come from the graph and the
    accuracy is unverified. `ranges` None tries every method and keeps the best. Every error is a FreemlError.
    """
    from freeml.pipeline import Options, compile_model

    options = Options(
        target=target, precision=precision, weights=weights, ranges=ranges, toolchain=toolchain, seed=seed
    )
    source = data if data is None or isinstance(data, Mapping) else Path(data)
    return compile_model(Path(model), options=options, data=source, output=None if out is None else Path(out))


def load(folder: str | PathLike[str]) -> Artifact:
    """The artifact in a folder that a compile wrote. Raises ArtifactError when it is not one, or not whole."""
    from freeml.artifact import load as load_artifact

    return load_artifact(Path(folder))


def inspect(model: str | PathLike[str], target: str | None = None) -> Inspection:
    """What an ONNX file consists of, everything that stands against it, and an estimate of what it takes of a board.

    `target` None estimates for every board. Raises ModelFileError for a file that cannot be read.
    """
    from freeml.inspection import inspect_model

    return inspect_model(Path(model), target)


def __getattr__(name: str) -> object:
    """`freeml.Artifact`, loaded when it is asked for."""
    if name == "Artifact":
        from freeml.artifact import Artifact

        return Artifact
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
