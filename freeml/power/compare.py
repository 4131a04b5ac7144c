"""Where to commit, compared: as the budget asks, after every output element, after every layer; the same kernels.

A commit after every output element is the granularity of SONIC (Gobieski et al., ASPLOS 2019), one after every layer
restarts whole layers. Every inference begins with a charged capacitor, and every boot spends what it holds from reset
on; nothing is harvested meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from freeml.artifact import Artifact
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.power.boots import Energy, journey
from freeml.power.rig import PowerError, Rig, open_folder
from freeml.regions.supply import Supply
from freeml.sim.board import BoardRunner
from freeml.sim.machine import Counts
from freeml.targets import Board
from freeml.verification import random_samples

MICROFARADS = (47.0, 100.0, 470.0, 1000.0)

VARIANTS = {"budget": "planned for the budget", "element": "every output element", "layer": "every layer"}
"""Options.regions, and what it means in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One firmware on one capacitor. Cycles are those of the simulator, or instructions by the board's estimate where
    it counts none. `boots` and `cycles` of a whole inference, all boots together, are None where it never ends.

    `overhead` is what an uninterrupted inference takes beyond its layers alone, (cycles - layers) / layers, where the
    layers are those of the firmware with one region per layer: without any commit or loop around them.
    """

    capacitor_uf: float
    variant: str
    regions: int
    boots: int | None
    cycles: float | None
    overhead: float


@dataclass(frozen=True, slots=True)
class _Firmware:
    rig: Rig
    inference: float
    layers: float
    regions: int


def compare_regions(
    model: Path,
    *,
    options: Options | None = None,
    data: Path | None = None,
    microfarads: Sequence[float] = MICROFARADS,
    progress: Callable[[str], None] | None = None,
) -> list[Row]:
    """Rows by capacitor and variant. `options.supply` gives the voltages. Raises what compiling raises, a RegionError
    for a capacitor that is too small among it."""
    chosen = options or Options()
    say = progress or (lambda _: None)
    rows = []
    with tempfile.TemporaryDirectory(prefix="freeml-compare-") as place:

        def firmware(name: str, wanted: Options) -> _Firmware:
            say(f"build {name}")
            folder = Path(place) / name
            artifact = compile_model(model, options=wanted, data=data, output=folder)
            return _measured(folder, artifact)

        fixed = {kind: firmware(kind, replace(chosen, regions=kind)) for kind in ("element", "layer")}
        alone = fixed["layer"].layers
        for size in microfarads:
            supply = _of(chosen.supply, size)
            ours = firmware(f"budget-{size:g}", replace(chosen, regions="budget", supply=supply))
            say(f"{size:g} uF")
            for kind, made in (("budget", ours), *fixed.items()):
                rows.append(_row(made, size, supply, kind, alone))
    return rows


def _of(supply: Supply, microfarads: float) -> Supply:
    return Supply(farads=microfarads * 1e-6, volts_on=supply.volts_on, volts_off=supply.volts_off)


def _measured(folder: Path, artifact: Artifact) -> _Firmware:
    _, subject = open_folder(folder)
    board = artifact.board
    found = BoardRunner(artifact.graph, board, subject.elf).infer(random_samples(artifact.graph, 1, 0).integers)
    return _Firmware(
        rig=Rig(subject),
        inference=_cycles(board, found.total),
        layers=sum(_cycles(board, layer.counts) for layer in found.layers),
        regions=int(artifact.report["power"]["regions"]),
    )


def _row(made: _Firmware, size: float, supply: Supply, kind: str, alone: float) -> Row:
    energy = supply.nanojoules
    assert energy is not None
    golden = made.rig.golden()
    trip = journey(made.rig, golden, Energy(nanojoules=energy))
    if trip.stuck is not None and trip.wanted is None:
        raise PowerError(f"{VARIANTS[kind]}, {size:g} uF: {trip.stuck}")
    return Row(
        capacitor_uf=size,
        variant=kind,
        regions=made.regions,
        boots=None if trip.stuck else trip.boots,
        cycles=None if trip.stuck else _cycles(made.rig.board, trip.total),
        overhead=made.inference / alone - 1.0,
    )


def _cycles(board: Board, counts: Counts) -> float:
    if counts.cycles is not None:
        return float(counts.cycles)
    return counts.instructions * (board.energy.cycles_per_instruction or 1.0)


def table(rows: Sequence[Row]) -> str:
    """The rows in text."""
    lines = [f"{'capacitor':>9}  {'a commit after':<24}{'regions':>8}{'boots':>7}{'cycles in all':>15}{'overhead':>10}"]
    for row in rows:
        boots = "never" if row.boots is None else f"{row.boots:,}"
        cycles = "ends" if row.cycles is None else f"{row.cycles:,.0f}"
        lines.append(
            f"{row.capacitor_uf:>6g} uF  {VARIANTS[row.variant]:<24}{row.regions:>8,}{boots:>7}{cycles:>15}"
            f"{100 * row.overhead:>9.2f}%"
        )
    return "\n".join(lines)
