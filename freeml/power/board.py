"""Power failures on the simulated board, in the image that would be flashed: `freeml power --on board`."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from freeml.artifact import Artifact
from freeml.power import board_cuts as work
from freeml.power.board_cuts import Found
from freeml.power.boots import Cycles, Energy, journey
from freeml.power.crew import Crew
from freeml.power.prover import SPOILS, Cut, Failure, Prover, digest, images
from freeml.power.result import Mode, PowerReport, Progress, ReplayError, parse_replay, replay_string
from freeml.power.rig import Golden, PowerError, Rig, open_folder
from freeml.sim.machine import Counts

SECOND_CUTS = 20_000
"""Images of second cuts that are booted without a limit asked for; of more, a seeded sample."""

DEPTH_LIMIT = 8
"""Cuts in a row up to which images that fewer do not leave are followed, when all could be tried until then."""

MIXED_SPOILS = 2
"""Cuts of a replay up to which all combinations of spoilt granules are tried; with more, the same for each cut."""

Item = TypeVar("Item")


def run_board_cuts(
    folder: Path,
    mode: Mode,
    *,
    replay: str | None = None,
    seed: int = 0,
    jobs: int = 1,
    limit: int | None = None,
    every_instruction: bool = False,
    budget_cycles: float | None = None,
    progress: Progress | None = None,
) -> PowerReport:
    """Cut the power of the firmware in a compiled folder, on its board's simulator.

    exhaustive: one cut, at every instruction from reset to the verdict; `freeml.power.prover` says why a reboot for
    each image in non-volatile memory proves that. `cuts` are the distinct images, on boards with large granules also
    those with the granule under programming spoilt. With `every_instruction`, a reboot at each instruction boundary
    instead, without that argument.
    depth2: a second cut as well, anywhere until the boot after the first is known to end well, and, while all images
    could be tried, third and further ones until no cut leaves anything new. `cuts` are images.
    linear: every boot has the report's budget from reset, energy where it is one, or `budget_cycles` cycles; until the
    answer is there.
    replay: each boot survives so many writes as `replay` says, the one after them goes on to its end.

    `limit` is for a seeded sample of so many images (or instructions). Raises PowerError where the folder or the
    arguments do not allow it, ReplayError, and as `freeml.artifact.load` does.
    """
    begun = time.perf_counter()
    show = progress or (lambda *_: None)
    show("a run without cuts", 0.0)
    artifact, subject = open_folder(folder)
    rig = Rig(subject)
    golden = rig.golden()
    if mode == "linear":
        return _linear(artifact, rig, golden, budget_cycles, begun)
    prover = Prover(subject, golden, seed)
    if mode == "replay":
        if replay is None:
            raise ReplayError("--mode replay=...: expected the string that a failure printed, found none")
        return _replay(prover, parse_replay(replay), begun)
    crew = Crew(prover, jobs, show)
    if every_instruction:
        if mode != "exhaustive":
            raise PowerError(f"--every-instruction: expected --mode exhaustive with it, found {mode}")
        return _every_instruction(crew, prover, limit, begun)
    if mode == "depth2":
        return _depth2(crew, prover, limit, begun)
    return _exhaustive(crew, prover, rig, limit, begun)


def _exhaustive(crew: Crew, prover: Prover, rig: Rig, limit: int | None, begun: float) -> PowerReport:
    golden = prover.golden
    hazard = rig.hazards(golden)
    everything = list(prover.classes.values())
    chosen = _sample(everything, limit, prover.seed)
    found = _together(crew.each("one cut, everywhere", work.one_cut, crew.parts(chosen)))
    instructions = golden.instructions + 1
    notes = []
    if len(chosen) < len(everything):
        instructions = _covered(rig, prover, chosen)
        notes.append(f"a sample of {len(chosen):,} of {len(everything):,} images, seed {prover.seed}")
    else:
        notes.append(
            f"every instruction from reset to the verdict: {golden.instructions:,}, with {len(golden.writes):,} writes "
            f"to non-volatile memory and {len(golden.commits)} commits"
        )
    report = _report("exhaustive", found, begun, boots=2, instructions=instructions, notes=notes)
    return report if hazard is None else _with_hazard(report, hazard)


def _covered(rig: Rig, prover: Prover, chosen: Sequence[Cut]) -> int:
    """The instruction boundaries at which the supply, when cut, leaves one of these images."""
    golden = prover.golden
    wanted = set(chosen)
    boundaries = rig.boundaries(golden)
    total = 0
    for cut, image in images(golden.before, golden.writes, spoils=False, seed=prover.seed):
        if prover.classes[digest(image)] in wanted:
            total += boundaries[cut.survived]
    return total


def _with_hazard(report: PowerReport, hazard: str) -> PowerReport:
    """The other oracle has found something."""
    return PowerReport(
        mode=report.mode, on=report.on, cuts=report.cuts, failures=report.failures + 1, boots_max=report.boots_max,
        wall_s=report.wall_s, replay=report.replay, reason=report.reason or hazard, instructions=report.instructions,
        notes=(*report.notes, f"write after read: {hazard}"),
    )  # fmt: skip


def _every_instruction(crew: Crew, prover: Prover, limit: int | None, begun: float) -> PowerReport:
    boundaries = prover.golden.instructions + 1
    chosen: Sequence[int] = range(boundaries)
    notes = [f"a reboot at each of {boundaries:,} instruction boundaries"]
    if limit is not None and limit < boundaries:
        chosen = sorted(random.Random(prover.seed).sample(range(boundaries), limit))
        notes = [f"a sample of {limit:,} of {boundaries:,} instruction boundaries, seed {prover.seed}"]
    found = _together(crew.each("a cut at every instruction", work.every_instruction, crew.parts(chosen)))
    if not found.failures:
        notes.append("each left one of the images that the log of writes leads to")
    return _report("exhaustive", found, begun, boots=2, instructions=len(chosen), notes=notes)


def _depth2(crew: Crew, prover: Prover, limit: int | None, begun: float) -> PowerReport:
    everything = list(prover.classes.values())
    chosen: Sequence[Cut] = _sample(everything, limit, prover.seed)
    total = _together(crew.each("one cut, and all writes after it", work.recovery, crew.parts(chosen)))
    fresh, seen = total.more, set(total.more)
    notes = [f"{total.pairs:,} pairs of cuts, which leave {len(fresh):,} images that one cut does not leave"]
    whole = len(chosen) == len(everything)
    depth = 1
    while fresh and depth < DEPTH_LIMIT and not total.failures:
        paths = sorted(fresh.values(), key=lambda path: tuple(cut.order for cut in path))
        few = _sample(paths, SECOND_CUTS if limit is None else limit, prover.seed)
        if depth > 1 and (not whole or len(few) < len(paths)):
            break
        whole = whole and len(few) == len(paths)
        depth += 1
        if not whole:
            notes.append(
                f"samples of {len(chosen):,} of {len(everything):,} images of one cut and {len(few):,} of "
                f"{len(paths):,} of two, seed {prover.seed}"
            )
        found = _together(crew.each(f"{depth} cuts", work.further_cuts, crew.parts(few)))
        total.cuts += found.cuts
        total.failures += found.failures
        fresh = {name: path for name, path in found.more.items() if name not in seen}
        seen |= set(fresh)
    if whole and not fresh and not total.failures:
        notes.append(f"no cut leaves an image beyond those of {depth}: the answer is right after any number of cuts")
    return _report("depth2", total, begun, boots=depth + 1, notes=notes)


def _linear(artifact: Artifact, rig: Rig, golden: Golden, budget_cycles: float | None, begun: float) -> PowerReport:
    budget = budget_cycles if budget_cycles is not None else artifact.report.get("power", {}).get("budget_cycles")
    if budget is None:
        raise PowerError(
            "--mode linear: expected a budget in the report, found none; compile the model anew, with --capacitor"
        )
    energy_uj = None if budget_cycles is not None else artifact.report["power"].get("budget_uj")
    charge = Cycles(cycles=float(budget)) if energy_uj is None else Energy(nanojoules=1e3 * energy_uj)
    each = f"{budget:,.0f} cycles" if energy_uj is None else f"{energy_uj:,.1f} uJ"
    trip = journey(rig, golden, charge)
    reason = None
    if trip.stuck is not None:
        reason = f"boot {trip.boots}: {trip.stuck}"
        if trip.region is not None and trip.wanted is not None:
            wanted = _cycles(rig, trip.wanted)
            reason += f": {_region(artifact, trip.region)} wants {wanted} from reset, a boot has {each}"
    return PowerReport(
        mode="linear",
        on="board",
        cuts=trip.boots - 1,
        failures=0 if reason is None else 1,
        boots_max=trip.boots,
        wall_s=time.perf_counter() - begun,
        reason=reason,
        notes=(f"{each} a boot; {_cycles(rig, trip.total)} in all boots",),
    )


def _cycles(rig: Rig, counts: Counts) -> str:
    if counts.cycles is not None:
        return f"{counts.cycles:,} cycles"
    return f"about {counts.instructions * (rig.board.energy.cycles_per_instruction or 1.0):,.0f} cycles"


def _region(artifact: Artifact, region: int) -> str:
    """A region as the cursor counts them, in words."""
    if region < 0:
        return "the capture of the input"
    left = region
    power = artifact.report.get("power", {})
    for layer in power.get("layers", artifact.report["layers"]):
        regions = int(layer.get("regions", 1))
        if left < regions:
            return f"region {left + 1} of {regions} of layer {layer['name']}"
        left -= regions
    return "the publishing of the outputs"


def _replay(prover: Prover, survived: Sequence[int], begun: float) -> PowerReport:
    found = Found()
    for kinds in _spoil_choices(prover, len(survived)):
        image = prover.golden.before
        path = tuple(Cut(number, kind) for number, kind in zip(survived, kinds, strict=True))
        try:
            for cut in path:
                image = work.cut_image(prover, image, cut)
        except ReplayError:
            if set(kinds) == {None}:
                raise
            continue  # after the last write there is no granule to spoil
        found.cuts += 1
        reason = prover.boot(image)
        if reason is not None:
            words = "".join(cut.words for cut in path)
            found.failures.append(Failure(survived=tuple(survived), reason=reason + words))
    return _report("replay", found, begun, boots=len(survived) + 1, notes=())


def _spoil_choices(prover: Prover, number: int) -> list[tuple[int | None, ...]]:
    if not prover.spoils:
        return [(None,) * number]
    kinds: tuple[int | None, ...] = (None, *range(SPOILS))
    if number <= MIXED_SPOILS:
        return list(itertools.product(kinds, repeat=number))
    return [(kind,) * number for kind in kinds]


def _sample(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """All, or so many of them, in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index] for index in sorted(random.Random(seed).sample(range(len(items)), limit))]


def _together(parts: Sequence[Found]) -> Found:
    found = Found()
    for part in parts:
        found.add(part)
    return found


def _report(
    mode: Mode, found: Found, begun: float, *, boots: int, instructions: int | None = None, notes: Sequence[str]
) -> PowerReport:
    first = found.failures[0] if found.failures else None
    return PowerReport(
        mode=mode,
        on="board",
        cuts=found.cuts,
        failures=len(found.failures),
        boots_max=boots,
        wall_s=time.perf_counter() - begun,
        replay=replay_string(first.survived) if first else None,
        reason=first.reason if first else None,
        instructions=instructions,
        notes=tuple(notes),
    )
