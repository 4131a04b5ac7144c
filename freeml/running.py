"""`freeml run`: one executor on the user's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from freeml.artifact import Artifact, flashed_image, load
from freeml.data import check_samples, read_arrays
from freeml.errors import DataError
from freeml.ir.types import Array
from freeml.quant.quantize import dequantize

Executor = Literal["reference", "host", "board"]
EXECUTORS: tuple[Executor, ...] = ("reference", "host", "board")

Progress = Callable[[str, float], None]
"""Told the step under way and the share (0..1) that is done before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Outputs of one executor by name, (samples, *shape): as real numbers and as the integers they stand for.

    `instructions`, `cycles` and `energy_nj` (an estimate) are totals over all samples; None where the executor does not
    count them.
    """

    on: Executor
    samples: int
    outputs: Mapping[str, Array]
    integers: Mapping[str, Array]
    instructions: int | None = None
    cycles: int | None = None
    energy_nj: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; the batch axis of 1 of a sample is left out."""
        return {
            "on": self.on,
            "samples": self.samples,
            "outputs": {name: plain(values) for name, values in self.outputs.items()},
            "integers": {name: plain(values) for name, values in self.integers.items()},
            "instructions": self.instructions,
            "cycles": self.cycles,
            "energy_nj": None if self.energy_nj is None else round(self.energy_nj, 1),
        }


def plain(values: Array) -> list[Any]:
    """Samples of an output, (samples, *shape), as lists; a batch axis of 1 at the front of the shape is left out."""
    result: list[Any] = (values[:, 0] if values.ndim > 1 and values.shape[1] == 1 else values).tolist()
    return result


def read_inputs(path: Path, artifact: Artifact) -> dict[str, Array]:
    """Inputs by name, (samples, *shape), from a .npy file (a net with one input) or a .npz file with one array each.

    A single sample may come without its leading axis. Raises DataError.
    """
    graph = artifact.graph
    found = read_arrays(path)
    if isinstance(found, Mapping):
        arrays = dict(found)
    elif len(graph.inputs) == 1:
        arrays = {graph.inputs[0]: found}
    else:
        raise DataError(f"{path}: expected a .npz file with arrays {', '.join(graph.inputs)}, found one array")
    missing = [name for name in graph.inputs if name not in arrays]
    if missing:
        raise DataError(f"{path}: expected arrays {', '.join(graph.inputs)}, found {', '.join(arrays) or 'none'}")
    return {
        name: check_samples(arrays[name], graph.types[name].shape, f"{path}: input {name}") for name in graph.inputs
    }


def execute_on(
    folder: Path,
    *,
    on: Executor,
    inputs: Path,
    toolchain: str | None = None,
    max_instructions: int | None = None,
    progress: Progress | None = None,
) -> Execution:
    """Run the net in a compiled folder on every sample of a file.

    Raises ArtifactError and DataError for bad input, ToolchainError without a compiler for the host, and
    MachineFaultError where the board would not survive the firmware.
    """
    show = progress or (lambda *_: None)
    artifact = load(folder)
    real = read_inputs(inputs, artifact)
    if on == "board":
        return _on_board(artifact, folder, real, max_instructions, show)
    show(on, 0.1)
    found = artifact.reference(real) if on == "reference" else artifact.host(real, toolchain=toolchain)
    return _execution(artifact, on, {name: found.integers[name] for name in artifact.graph.outputs})


def _on_board(
    artifact: Artifact, folder: Path, real: Mapping[str, Array], max_instructions: int | None, show: Progress
) -> Execution:
    from freeml.sim.board import BoardRunner
    from freeml.sim.machine import energy_nj

    runner = BoardRunner(
        artifact.graph, artifact.board, flashed_image(folder), max_instructions=max_instructions
    )  # fmt: skip
    integers = artifact.quantized_inputs(real)
    count = len(next(iter(integers.values())))
    runs = []
    for number, run in enumerate(runner.each(integers), start=1):
        runs.append(run)
        show(f"board, {number:,} of {count:,} samples", number / count)
    values = {name: np.concatenate([run.values[name] for run in runs]) for name in artifact.graph.outputs}
    totals = [run.total for run in runs]
    return _execution(
        artifact, "board", values,
        instructions=sum(total.instructions for total in totals),
        cycles=None if totals[0].cycles is None else sum(total.cycles or 0 for total in totals),
        energy_nj=sum(energy_nj(artifact.board, total) for total in totals),
    )  # fmt: skip


def _execution(
    artifact: Artifact,
    on: Executor,
    integers: Mapping[str, Array],
    *,
    instructions: int | None = None,
    cycles: int | None = None,
    energy_nj: float | None = None,
) -> Execution:
    types = artifact.graph.types
    return Execution(
        on=on,
        samples=len(next(iter(integers.values()))),
        outputs={name: dequantize(values, types[name]) for name, values in integers.items()},
        integers=integers,
        instructions=instructions,
        cycles=cycles,
        energy_nj=energy_nj,
    )


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write arrays by name as a .npz file, in one step. Raises DataError."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type]
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
