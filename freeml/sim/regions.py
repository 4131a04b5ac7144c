"""What every region of a firmware costs on its board, and what a boot costs before the first: measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freeml.ir.graph import QGraph
from freeml.sim.board import BoardRunError, BoardRunner
from freeml.sim.machine import Counts, energy_nj
from freeml.targets import Board

COMMIT = "fm_progress_store"
"""The function that every commit calls (firmware/common/fm_progress.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a stretch of execution. `cycles` are estimated where the simulator counts instructions only, `energy_nj` is
    always an estimate."""

    cycles: float
    energy_nj: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionCosts:
    """`regions` in the order of an inference, each from one commit to the next, the publishing of the outputs last;
    `boot` from reset to the first instruction of the layer that is resumed. `capture` is from reset to the commit of an
    input, as the self-test program gets one: no planner can cut that."""

    regions: tuple[Cost, ...]
    boot: Cost
    capture: Cost

    @property
    def largest(self) -> int:
        """Number of the region that takes the most energy."""
        return max(range(len(self.regions)), key=lambda i: self.regions[i].energy_nj)

    @property
    def longest(self) -> int:
        """Number of the region that takes the most cycles."""
        return max(range(len(self.regions)), key=lambda i: self.regions[i].cycles)


def cost_of(board: Board, counts: Counts) -> Cost:
    """Cycles and energy of counts."""
    cycles = counts.cycles
    if cycles is None:
        cycles = round(counts.instructions * (board.energy.cycles_per_instruction or 1.0))
    return Cost(cycles=cycles, energy_nj=energy_nj(board, counts))


def measure_regions(graph: QGraph, board: Board, elf: Path, regions: int) -> RegionCosts:
    """Run one inference, on the first test vector, commit by commit. `regions` are those that the program has.

    Raises MachineFaultError and BoardRunError as `BoardRunner` does.
    """
    runner = BoardRunner(graph, board, elf)
    machine, commit = runner.machine, runner.image.symbol(COMMIT)
    done = machine.return_address()
    found: list[Cost] = []
    runner.never_end_early()
    runner.go({commit}, "to start an inference")
    capture = cost_of(board, machine.counts())
    resume = None
    before = machine.counts()
    while True:
        runner.go({commit, done}, f"to end region {len(found)}")
        if machine.pc == done:
            break
        now = machine.counts()
        found.append(cost_of(board, now - before))
        before = now
        if len(found) == (regions + 1) // 2:
            resume = machine.snapshot()
    if len(found) != regions + 1 or resume is None:
        raise BoardRunError(f"{elf}: expected {regions + 1} commits in an inference, found {len(found)}; build it anew")
    machine.restore(resume)
    machine.power_on(keep_nv=True)
    runner.go(runner.layer_addresses, "to resume an inference")
    return RegionCosts(regions=tuple(found), boot=cost_of(board, machine.counts()), capture=capture)
