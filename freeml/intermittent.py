"""A firmware that an energy budget brings to its end: its regions planned from predictions, built, measured, and, where
a region turns out too large, planned again from what was measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor, inf, log10
from pathlib import Path
from typing import Literal

from freeml.codegen.program import CProgram
from freeml.fit import Fitted, build_to_fit
from freeml.ir.graph import QGraph
from freeml.plan.cost import CostModel
from freeml.plan.events import events_by_layer, per_region, per_window
from freeml.plan.memory import MemoryPlan
from freeml.regions.cutting import (
    Budget,
    Choose,
    LayerWork,
    RegionError,
    boots,
    by_element,
    by_layer,
    cut,
    for_budget,
    region_costs,
    smallest_region,
)
from freeml.regions.hazards import prove
from freeml.regions.supply import HEADROOM, Supply
from freeml.regions.wear import progress_bytes, writes_per_granule
from freeml.report.figures import LayerRegions, Power
from freeml.sim.board import simulator_missing
from freeml.sim.regions import Cost, RegionCosts, measure_regions
from freeml.targets import Board

Granularity = Literal["budget", "layer", "element"]
"""Where a firmware commits: as the budget asks, or, for comparison, after every layer or every output element."""

GRANULARITIES: tuple[Granularity, ...] = ("budget", "layer", "element")
ATTEMPTS = 5
VALUES_MOVE = 1.03
"""What other inputs may cost more than the one that was measured."""

UNKNOWN_CYCLES_PER_STEP = 15.0
"""Cycles of a multiply-accumulate or an element where no prices are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intermittent:
    """A built firmware, and what the power asks of it."""

    built: Fitted
    power: Power


@dataclass(frozen=True, slots=True)
class _Costs:
    """What a boot and a commit take, and by how much layers exceed their prediction: planned, then measured."""

    factors: Mapping[str, float]
    boot: float
    commit: float
    one_charge: bool = False
    """Whether a whole inference was measured to take less than a charge."""


def build_intermittent(
    program: Callable[[int], CProgram],
    files: Callable[[CProgram, bool], Mapping[str, str]],
    *,
    graph: QGraph,
    memory: MemoryPlan,
    board: Board,
    toolchain: str | None,
    prices: CostModel | None,
    work: Mapping[str, float],
    supply: Supply,
    granularity: Granularity,
) -> Intermittent:
    """Cut, build and measure until every region is within the budget.

    `program` gives the program with so many bytes of near memory kept for code, `files` its generated files with or
    without test vectors, `work` the multiply-accumulates and elements of each layer. Raises RegionError where the
    budget cannot be kept, and what `build_to_fit` raises.
    """

    def attempt(costs: _Costs, reserve_bytes: int, with_vectors: bool) -> tuple[CProgram, Mapping[str, str]]:
        whole = program(reserve_bytes)
        result = cut(whole, *_choice(whole, costs, prices, work, board, supply, granularity))
        prove(graph, memory, result)
        if result.exits is not None:
            works = list(_layer_works(result, costs, prices, work, board).values())
            result = replace(result, region_nj=_region_nj(result, works, costs, board))
        return result, files(result, with_vectors)

    costs = _Costs({}, board.boot_cycles, board.commit_cycles)
    for _ in range(ATTEMPTS):
        try:
            built = build_to_fit(partial(attempt, costs), board, toolchain)
        except RegionError as error:
            raise _with_capacitor(error, supply, board) from error
        found = None if simulator_missing(board) else _measured(built, graph, board)
        if found is not None:
            if granularity == "budget":
                _check_capture(found, board, supply)
            costs = _learn(built.program, _layer_works(built.program, costs, prices, work, board), costs, found)
            if granularity == "budget" and not costs.one_charge and _all_in_one_charge(found, board, supply):
                costs = replace(costs, one_charge=True)
                if any(layer.split.regions > 1 for layer in built.program.layers):
                    continue
        if found is None or granularity != "budget" or _fits(found, board, supply):
            works = list(_layer_works(built.program, costs, prices, work, board).values())
            return Intermittent(built=built, power=_report(built.program, works, costs, found, board, supply))
    assert found is not None
    worst = _region_name(built.program, found.largest)
    raise _with_capacitor(
        RegionError(
            f"{worst}: its smallest region takes {found.regions[found.largest].cycles:,.0f} cycles on the simulator",
            layer=worst, needed_cycles=found.regions[found.largest].cycles * HEADROOM + costs.boot,
        ),
        supply, board,
    )  # fmt: skip


def _region_nj(program: CProgram, works: Sequence[LayerWork], costs: _Costs, board: Board) -> tuple[int, ...]:
    """What a region of each layer is estimated to take, its commit included."""
    cycles, found = region_costs(program, works), list[int]()
    for layer in program.layers:
        largest, cycles = max(cycles[: layer.split.regions]), cycles[layer.split.regions :]
        found.append(min(2**32 - 1, ceil((largest + costs.commit) * board.energy.nj_per_cycle_planned)))
    return tuple(found)


def predicted_cycles(
    program: CProgram,
    *,
    board: Board,
    prices: CostModel | None,
    work: Mapping[str, float],
    supply: Supply,
    granularity: Granularity,
) -> float:
    """Cycles of an inference, commits included, as `build_intermittent` first cuts the program; in one piece where no
    budget cuts it enough."""
    costs = _Costs({}, board.boot_cycles, board.commit_cycles)
    works, choose = _choice(program, costs, prices, work, board, supply, granularity)
    with suppress(RegionError):  # the build says so
        program = cut(program, works, choose)
    return sum(region_costs(program, works)) + program.regions * costs.commit


def _choice(
    program: CProgram,
    costs: _Costs,
    prices: CostModel | None,
    work: Mapping[str, float],
    board: Board,
    supply: Supply,
    granularity: Granularity,
) -> tuple[list[LayerWork], Choose]:
    works = list(_layer_works(program, costs, prices, work, board).values())
    if granularity == "layer":
        return works, by_layer(program)
    if granularity == "element":
        return works, by_element(program)
    budget = _budget(costs, board, supply)
    if costs.one_charge or sum(work.cycles + budget.commit_cycles for work in works) <= budget.region_limit:
        return works, by_layer(program)  # a charge pays for all of it: nothing finer would ever be needed
    return works, for_budget(program, budget)


def _budget(costs: _Costs, board: Board, supply: Supply) -> Budget:
    """What regions may be planned to cost: the headroom is taken off the budget."""
    return Budget(
        cycles=supply.budget_cycles(board) / HEADROOM, boot_cycles=costs.boot, commit_cycles=costs.commit
    )  # fmt: skip


def _layer_works(
    program: CProgram, costs: _Costs, prices: CostModel | None, work: Mapping[str, float], board: Board
) -> dict[str, LayerWork]:
    """Cycles of each layer: measured, else predicted, else a rough guess, which measuring puts right."""
    scale = 1.0 if prices is None or prices.unit == "cycles" else board.energy.cycles_per_instruction or 1.0
    result = {}
    for layer, events in zip(program.layers, events_by_layer(program.layers), strict=True):
        guess = prices.predict(events) if prices is not None else None
        again = prices.predict(per_window(events)) if prices is not None else None
        cycles = UNKNOWN_CYCLES_PER_STEP * work[layer.value] if guess is None else guess * scale
        repeated = 0.0 if again is None else again * scale
        unpacking = prices.predict(per_region(layer)) if prices is not None else None
        cycles *= costs.factors.get(layer.name, 1.0)
        each_region = min(cycles, 0.0 if unpacking is None else unpacking * scale)
        result[layer.name] = LayerWork(cycles=cycles, repeated=repeated, each_region=each_region)
    return result


def _measured(built: Fitted, graph: QGraph, board: Board) -> RegionCosts:
    with tempfile.TemporaryDirectory(prefix="freeml-regions-") as place:
        elf = Path(place) / "firmware.elf"
        elf.write_bytes(built.elf)
        return measure_regions(graph, board, elf, built.program.regions)


def _learn(program: CProgram, planned: Mapping[str, LayerWork], costs: _Costs, found: RegionCosts) -> _Costs:
    """What to plan with next: layers that took longer than planned are taken to do so again."""
    factors, start = {}, 0
    for layer in program.layers:
        parts = [cost.cycles for cost in found.regions[start : start + layer.split.regions]]
        start += layer.split.regions
        # The largest region decides: units need not all cost the same.
        ratio = (max(parts) - costs.commit) / max(1.0, planned[layer.name].region(layer.split, layer))
        factors[layer.name] = costs.factors.get(layer.name, 1.0) * max(1.0, ratio)
    return _Costs(factors, found.boot.cycles, costs.commit, costs.one_charge)


def _fits(found: RegionCosts, board: Board, supply: Supply) -> bool:
    """Whether a boot pays for itself and any region."""
    energy = supply.nanojoules
    if energy is None:
        return found.regions[found.longest].cycles + found.boot.cycles <= supply.budget_cycles(board)
    return found.regions[found.largest].energy_nj + found.boot.energy_nj <= energy


def _check_capture(found: RegionCosts, board: Board, supply: Supply) -> None:
    """Raise RegionError when a boot does not pay for the capture of an input."""
    energy = supply.nanojoules
    enough = (
        supply.budget_cycles(board) >= found.capture.cycles if energy is None else energy >= found.capture.energy_nj
    )
    if not enough:
        needed = found.capture.cycles
        if energy is not None:
            needed = max(needed, found.capture.energy_nj / board.energy.nj_per_cycle_planned)
        error = RegionError(
            "the capture of the input: the self-test program takes "
            f"{found.capture.cycles:,.0f} cycles from reset to the commit of its input, more than a boot pays for",
            layer="input", needed_cycles=needed,
        )  # fmt: skip
        raise _with_capacitor(error, supply, board)


def _all_in_one_charge(found: RegionCosts, board: Board, supply: Supply) -> bool:
    """Whether a boot pays for a whole inference, and a little more: values move a few branches."""
    cycles = found.capture.cycles + sum(region.cycles for region in found.regions)
    energy_nj = found.capture.energy_nj + sum(region.energy_nj for region in found.regions)
    energy = supply.nanojoules
    share = cycles / supply.budget_cycles(board) if energy is None else energy_nj / energy
    return share * VALUES_MOVE <= 1.0


def _with_capacitor(error: RegionError, supply: Supply, board: Board) -> RegionError:
    """The same error, which says what would do."""
    if not error.needed_cycles:
        return error
    needed = error.needed_cycles * HEADROOM
    if supply.nanojoules is None:
        way_out = f"allow --budget-cycles {ceil(needed)}"
    elif supply.farads is None:
        way_out = f"allow --budget-energy {_up(needed * board.energy.nj_per_cycle_planned * 1e-3)}uJ"
    else:
        way_out = f"it takes a capacitor of {_up(supply.microfarads_for(needed, board))} uF between these voltages"
    return RegionError(
        f"{error} ({supply.words()}); {way_out}, or make the {'input' if error.layer == 'input' else 'layer'} smaller",
        layer=error.layer,
        needed_cycles=needed,
    )


def _up(value: float) -> str:
    """At least `value`, in three digits."""
    step = 10.0 ** (floor(log10(value)) - 2)
    return f"{ceil(value / step) * step:.6g}"


def _region_name(program: CProgram, number: int) -> str:
    """`layer NAME, region 3 of 7` of region `number` in the order of an inference."""
    for layer in program.layers:
        if number < layer.split.regions:
            return f"layer {layer.name}, region {number + 1} of {layer.split.regions}"
        number -= layer.split.regions
    return "the publishing of the outputs"


def _report(
    program: CProgram,
    works: Sequence[LayerWork],
    costs: _Costs,
    found: RegionCosts | None,
    board: Board,
    supply: Supply,
) -> Power:
    measured = found is not None
    if found is None:
        regions = tuple(
            Cost(cycles=c + costs.commit, energy_nj=(c + costs.commit) * board.energy.nj_per_cycle_planned)
            for c in region_costs(program, works)
        )
        found = RegionCosts(
            regions=regions,
            boot=Cost(cycles=costs.boot, energy_nj=costs.boot * board.energy.nj_per_cycle_planned),
            capture=Cost(cycles=0, energy_nj=0),
        )
    energy = supply.nanojoules
    # The first boot captures the input, which takes it at least as long as a boot that resumes.
    if energy is None:
        first = max(0.0, found.capture.cycles - found.boot.cycles)
        count = boots([first, *(r.cycles for r in found.regions)], supply.budget_cycles(board) - found.boot.cycles)
    else:
        first = max(0.0, found.capture.energy_nj - found.boot.energy_nj)
        count = boots([first, *(r.energy_nj for r in found.regions)], energy - found.boot.energy_nj)
    _, least = smallest_region(program, works)
    boot = max(costs.boot, board.boot_cycles)  # as a compile plans before it has measured
    capture = max(found.capture.cycles, found.capture.energy_nj / board.energy.nj_per_cycle_planned)
    minimum = supply.microfarads_for(max(least + boot + 2 * costs.commit, capture) * HEADROOM, board)
    number = found.longest if energy is None else found.largest
    largest = found.regions[number]
    return Power(
        capacitor_uf=supply.farads * 1e6 if supply.farads is not None else None,
        v_on=supply.volts_on,
        v_off=supply.volts_off,
        budget_uj=None if energy is None else round(energy / 1e3, 3),
        budget_cycles=round(supply.budget_cycles(board)),
        boot_cycles=round(found.boot.cycles),
        capture_cycles=round(found.capture.cycles),
        largest_region=_region_name(program, number),
        largest_region_cycles=round(largest.cycles),
        largest_region_uj=round(largest.energy_nj / 1e3, 3),
        regions=program.regions + 1,
        inference_cycles=round(sum(region.cycles for region in found.regions)),
        inference_uj=round(sum(region.energy_nj for region in found.regions) / 1e3, 3),
        boots_per_inference=None if count == inf else round(count),
        min_capacitor_uf=round(minimum, 4),
        measured=measured,
        nv_progress_bytes=progress_bytes(program),
        nv_results_bytes=2 * program.result_bytes,
        nv_kept_bytes=program.kept_bytes,
        writes_per_granule_max=writes_per_granule(program),
        layers=tuple(
            LayerRegions(
                name=layer.name, units=layer.split.units, per_region=layer.split.per_region,
                regions=layer.split.regions, block=layer.split.block,
            )
            for layer in program.layers
        ),
    )  # fmt: skip
