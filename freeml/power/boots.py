"""An inference in boots that each have so much to spend, from reset, until its answer is there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from freeml.power.prover import PATIENCE
from freeml.power.rig import CURSOR, Golden, PowerError, Rig
from freeml.sim.machine import Counts, StopReason, energy_nj

Reason = StopReason | Literal["empty"]
"""Why a run under a charge ended: "empty" when nothing was left to spend."""

PUBLISHING = 0x4000
"""In place of a region's number: more than the cursor counts."""

BOOTS_LIMIT = 1_000_000
"""More boots than any commit counter allows."""


class Charge(Protocol):
    """What one boot may spend."""

    def run(self, rig: Rig, stops: Collection[int]) -> Reason:
        """Run on until one of `stops`, or until what was spent since the reset is all there was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """A number of cycles; on boards whose simulator counts none, as many instructions as take about as long."""

    cycles: float

    def run(self, rig: Rig, stops: Collection[int]) -> Reason:
        """See `Charge`."""
        counts = rig.machine.counts()
        if counts.cycles is not None:
            left = int(self.cycles) - counts.cycles
        else:
            left = int(self.cycles / (rig.board.energy.cycles_per_instruction or 1.0)) - counts.instructions
        if left < 1:
            return "empty"
        if counts.cycles is not None:
            reason = rig.machine.run(stops=stops, max_cycles=left)
        else:
            reason = rig.machine.run(stops=stops, max_instructions=left)
        return "empty" if reason in ("cycles", "instructions") else reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """An energy in nanojoules, spent as the board's description says."""

    nanojoules: float

    def run(self, rig: Rig, stops: Collection[int]) -> Reason:
        """See `Charge`. Overdraws by what an instruction takes at most."""
        energy = rig.board.energy
        # At most one access to non-volatile memory a cycle: what is left lasts at least so long.
        dearest = energy.nj_per_cycle + max(energy.nj_per_nv_read, energy.nj_per_nv_write)
        while True:
            counts = rig.machine.counts()
            left = int((self.nanojoules - energy_nj(rig.board, counts)) / dearest)
            if left < 1:
                return "empty"
            if counts.cycles is not None:
                reason = rig.machine.run(stops=stops, max_cycles=left)
            else:
                left = max(1, int(left / (energy.cycles_per_instruction or 1.0)))
                reason = rig.machine.run(stops=stops, max_instructions=left)
            if reason not in ("cycles", "instructions"):
                return reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """`boots` that an inference took and what all of them cost, from each reset on. `stuck` says what was wrong, with
    the `region` that was next (as the cursor counts them, -1 before the input is committed) and the cost of a boot that
    would have ended it."""

    boots: int
    total: Counts
    stuck: str | None = None
    region: int | None = None
    wanted: Counts | None = None


def journey(rig: Rig, golden: Golden, charge: Charge) -> Journey:
    """Boot until the answer to the first test vector is committed. Ends at a boot without a commit: the next would do
    no better, since it starts from the same commit with as much."""
    machine = rig.machine
    stops = {*golden.returns, rig.halt}
    total: Counts | None = None
    for boot in range(1, BOOTS_LIMIT):
        rig.start(None if boot == 1 else rig.nv())
        commits = 0
        while True:
            reason = charge.run(rig, stops)
            if reason == "empty":
                break
            commits += 1
            if rig.ended(reason) or not rig.committed() & CURSOR:
                total = machine.counts() if total is None else total + machine.counts()
                right = rig.result() == golden.result
                return Journey(boots=boot, total=total, stuck=None if right else "the answer is wrong")
        spent = machine.counts()
        total = spent if total is None else total + spent
        if commits == 0:
            region, wanted = _wanted(rig, golden)
            return Journey(boots=boot, total=total, stuck="a boot makes no progress", region=region, wanted=wanted)
    raise PowerError(f"{rig.subject.elf}: {BOOTS_LIMIT:,} boots were not enough for one inference")


def _wanted(rig: Rig, golden: Golden) -> tuple[int, Counts]:
    """The next region, and what a boot costs that brings it to its end."""
    machine = rig.machine
    rig.start(rig.nv())
    machine.run(stops={*golden.returns, rig.halt}, max_instructions=PATIENCE * golden.instructions + 1_000_000)
    cost = machine.counts()
    cursor = rig.committed() & CURSOR
    return cursor - 2 if cursor else PUBLISHING, cost
