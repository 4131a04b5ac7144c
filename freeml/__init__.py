"""freeml compiles trained neural networks to exact fixed-point C for batteryless microcontrollers.

    import freeml
    artifact = freeml.compile("model.onnx", target="msp430", data="data.npz", out="firmware")
    run = artifact.host(x, intermediates=True)      # the emitted C; artifact.reference(x) is what it must equal

Importing this package is cheap: numpy, onnx and the rest are loaded by the first call that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from freeml.errors import FreemlError
from freeml.version import VERSION

if TYPE_CHECKING:
    from torch.nn import Module

    from freeml.artifact import Artifact
    from freeml.compression.budget import Effort, Method
    from freeml.compression.module import CompressedModule
    from freeml.inspection import Inspection
    from freeml.ir.types import Array
    from freeml.report.figures import CompressionRound

__version__ = VERSION

__all__ = ["Artifact", "FreemlError", "__version__", "compile", "compress", "inspect", "load"]


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
    flash: int | str | None = None,
    ram: int | str | None = None,
    energy: float | str | None = None,
    max_drop: float | None = None,
    effort: Effort | None = None,
    method: Method | None = None,
    trials: int | None = None,
    storage: str | None = None,
    exits: str = "none",
    exit_training: Literal["two-stage", "joint"] = "two-stage",
    exit_bytes: int | str | None = None,
    exit_output: str | None = None,
    policy: str | None = None,
    confidence: float | None = None,
    on_round: Callable[[CompressionRound], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Artifact:
    """Compile an ONNX file for a board; write the firmware folder `out` when given.

    With `flash` or `ram` (bytes, or text as in "32KB") the net is compressed until the firmware takes at most so much,
    with `energy` (joules, or text as in "5mJ") until an inference is estimated to take at most so much, as long as that
    costs no more than `max_drop` points of accuracy on validation data (1 when not given). `effort` is "quick",
    "normal" or "thorough", `method` "joint" or "sparsecomp", `trials` how many recipes are tried at most, `storage` the
    URL of a database in which processes share the search. `on_round` is called with every net that the search looks at
    (a CompressionRound of freeml.report.figures: flash, ram, cycles, energy_uj, validation, built), `progress` of what
    is under way and the share (0..1) that is done.

    With `exits` ("shared", "shared:3", "shared:conv1,conv2", the same with "linear" or "separate") inferences may end
    early, by the rule `policy` ("confidence", "entropy", "patience", "label-free", "reliability", "none", each with
    "+energy"), which with probability `confidence` costs at most `max_drop` points; `exit_bytes` is what the branch may
    take, `exit_output` names the output that exits answer for, where that is not the first.

    `data` is a .npz file, or a mapping, of x_train (n, *input shape without batch) in the model's own domain, y_train
    (n,) integer classes, x_test, y_test, and optionally x_val, y_val. Without it ranges come from the graph and the
    accuracy is unverified. `ranges` None tries every method and keeps the best. Every error is a FreemlError.
    """
    from freeml.compression.budget import parse_budget
    from freeml.exits.asking import parse_exits
    from freeml.options import Options
    from freeml.pipeline import compile_model

    budgeted = any(limit is not None for limit in (flash, ram, energy))
    wanted, rule = parse_exits(
        exits, exit_training, _text(exit_bytes), policy, confidence, max_drop, exit_output, budgeted=budgeted
    )  # fmt: skip
    drop = max_drop if budgeted or exits == "none" else None
    budget = parse_budget(_text(flash), _text(ram), drop, effort, method, trials, _joules(energy))
    options = Options(
        target=target,
        precision=precision,
        weights=weights,
        ranges=ranges,
        toolchain=toolchain,
        seed=seed,
        budget=budget,
        exits=wanted,
        rule=rule,
    )
    source = data if data is None or isinstance(data, Mapping) else Path(data)
    return compile_model(
        Path(model), options=options, data=source, output=None if out is None else Path(out), search_progress=progress,
        storage=storage, on_round=on_round,
    )  # fmt: skip


def compress(
    module: Module,
    data: Any,  # noqa: ANN401 - of several kinds
    budget: int | str,
    *,
    activations: int | str | None = None,
    max_drop: float = 1.0,
    effort: Effort = "quick",
    trials: int | None = None,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    storage: str | None = None,
    on_round: Callable[[CompressionRound], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> CompressedModule:
    """A smaller torch module that answers as the given one does, and the same net as an ONNX file; no board involved.

    `module` is a classifier of one input; it stays as it is. `data` are arrays or tensors by name (x_train (n, *input
    shape), y_train (n,) integer classes, optionally x_val, y_val, x_test, y_test), a .npz file of these, a loader of
    (samples, labels) batches to train with, or loaders by part ("train", "val", "test"). Without a validation part a
    fifth of the training part is held back.

    `budget` are bytes of float32 weights, `activations` bytes of float32 activations of one sample at their peak, each
    a number or text as in "10KB"; `max_drop` points of accuracy may be lost on the validation part. Channels are
    removed and what is left is retrained, as `freeml compile` does. The net is float32: compile the file to have it in
    integers.

    Returns (module, onnx, report): a torch.nn.Module, the bytes of an ONNX file that computes the same, which `out`
    names a file for, and the figures. A search that was interrupted goes on in the next call, when `out` is given.
    Every error is a FreemlError; CompressionError tells the front that was found.
    """
    try:
        from freeml.compression.module import compress_module
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "optuna"):
            raise
        from freeml.errors import MissingPackageError

        raise MissingPackageError(
            f"compress: training needs {error.name}, which is not installed; run pip install 'freeml[train]'"
        ) from error
    return compress_module(
        module, data, budget, activations=activations, max_drop=max_drop, effort=effort, trials=trials, seed=seed,
        out=None if out is None else Path(out), storage=storage, on_round=on_round or (lambda _: None),
        progress=progress or (lambda *_: None),
    )  # fmt: skip


def _joules(energy: float | str | None) -> str | None:
    return energy if energy is None or isinstance(energy, str) else f"{energy}J"


def _text(size: int | str | None) -> str | None:
    return None if size is None else str(size)


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
