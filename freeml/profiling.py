"""`freeml profile`: what every layer of a firmware costs on its board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freeml.artifact import Artifact, flashed_image, load
from freeml.ir.types import Array
from freeml.running import read_inputs
from freeml.sim.board import BoardRunner, Inference
from freeml.sim.machine import Counts, energy_nj
from freeml.targets import Board
from freeml.verification import random_samples

Progress = Callable[[str, float], None]
"""Told the step under way and the share (0..1) that is done before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """Mean cost per inference of one layer, its callees included.

    `cycles` is None where the simulator counts instructions only. `energy_nj` is an estimate. `predicted` is what the
    cost model said at compile time: cycles, or instructions where only those are counted; None without prices.
    """

    name: str
    op: str
    macs: int
    cycles: float | None
    instructions: float
    energy_nj: float
    nv_writes: float
    nv_reads: float | None
    predicted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCost:
    """Mean cost per inference of one function's own instructions."""

    name: str
    cycles: float | None
    instructions: float
    nv_writes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Costs by layer, in order of execution, and the total of an inference (with what lies between the layers).

    `seconds` is the time of an inference at the clock that the estimate of energy is for.
    """

    target: str
    image: str
    samples: int
    layers: tuple[LayerCost, ...]
    total: LayerCost
    functions: tuple[FunctionCost, ...]
    seconds: float
    clock_hz: int
    energy_source: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def profile(
    folder: Path,
    *,
    inputs: Path | None = None,
    samples: int = 1,
    seed: int = 0,
    max_instructions: int | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Profile the firmware in a compiled folder on the first `samples` of a file, or on random ones.

    Raises as `freeml.running.execute_on` does.
    """
    show = progress or (lambda *_: None)
    show("start", 0.0)
    artifact = load(folder)
    image = flashed_image(folder)
    runner = BoardRunner(artifact.graph, artifact.board, image, max_instructions=max_instructions)
    runs = []
    runner.machine.profile(True)
    chosen = _integers(artifact, inputs, samples, seed)
    count = len(next(iter(chosen.values())))
    for number, run in enumerate(runner.each(chosen), start=1):
        runs.append(run)
        show(f"board, {number:,} of {count:,} samples", number / count)
    functions = dict(runner.machine.by_function())
    return summarise(artifact, image, runs, functions, as_compiled=image.parent == folder)


def _integers(artifact: Artifact, inputs: Path | None, samples: int, seed: int) -> dict[str, Array]:
    if inputs is None:
        return dict(random_samples(artifact.graph, samples, seed).integers)
    real = read_inputs(inputs, artifact)
    return artifact.quantized_inputs({name: array[:samples] for name, array in real.items()})


def summarise(
    artifact: Artifact, image: Path, runs: Sequence[Inference], functions: dict[str, Counts], *, as_compiled: bool
) -> Profile:
    """Means over inferences. Predictions hold for the compiler that the compile used (`as_compiled`)."""
    board = artifact.board
    rows = {row["name"]: row for row in artifact.report["layers"]}
    layers = tuple(
        _cost(
            board,
            [run.layers[index].counts for run in runs],
            layer.name,
            str(rows[layer.name]["op"]),
            int(rows[layer.name]["macs"]),
            rows[layer.name].get("predicted_cost") if as_compiled else None,
        )
        for index, layer in enumerate(runs[0].layers)
    )
    total = _cost(board, [run.total for run in runs], "total", "", sum(layer.macs for layer in layers), None)
    cycles = total.cycles
    if cycles is None:
        cycles = total.instructions * (board.energy.cycles_per_instruction or 1.0)
    return Profile(
        target=board.name,
        image=str(image),
        samples=len(runs),
        layers=layers,
        total=total,
        functions=tuple(
            FunctionCost(
                name=name or "(elsewhere)",
                cycles=None if counts.cycles is None else counts.cycles / len(runs),
                instructions=counts.instructions / len(runs),
                nv_writes=counts.nv_writes / len(runs),
            )
            for name, counts in sorted(functions.items(), key=lambda item: -(item[1].cycles or item[1].instructions))
        ),
        seconds=cycles / board.energy.clock_hz,
        clock_hz=board.energy.clock_hz,
        energy_source=board.energy.source,
    )


def _cost(board: Board, counts: Sequence[Counts], name: str, op: str, macs: int, predicted: int | None) -> LayerCost:
    number = len(counts)
    with_cycles = counts[0].cycles is not None
    with_reads = counts[0].nv_reads is not None
    energy = sum(energy_nj(board, c) for c in counts)
    return LayerCost(
        name=name,
        op=op,
        macs=macs,
        cycles=sum(c.cycles or 0 for c in counts) / number if with_cycles else None,
        instructions=sum(c.instructions for c in counts) / number,
        energy_nj=round(energy / number, 1),
        nv_writes=sum(c.nv_writes for c in counts) / number,
        nv_reads=sum(c.nv_reads or 0 for c in counts) / number if with_reads else None,
        predicted=predicted,
    )
