"""Where a program commits: its layers cut into regions that an energy budget pays for.

A region runs whole or again. With a commit costing c and a boot paying for B cycles, regions of r cycles cost about
c / r for commits and r / 2B for what a failure throws away, of everything that runs; r = sqrt(2 c B) makes the sum
least (J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974); c holds what
else a region takes each time, such as unpacking a layer's weights. That is weighed against what a finer grain repeats,
layer by layer. No region may cost more than a boot pays for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd, inf, sqrt

from freeml.codegen.program import WHOLE, CLayer, CProgram, Split
from freeml.errors import FreemlError
from freeml.regions.units import grains

CURSOR_LIMIT = 0x3FFF - 1
"""Regions that the word of progress counts (firmware/common/fm_run.h)."""


class RegionError(FreemlError):
    """A region that no boot of the given budget brings to its end, or too many of them."""

    def __init__(self, message: str, *, layer: str = "", needed_cycles: float = 0.0) -> None:
        super().__init__(message)
        self.layer = layer
        self.needed_cycles = needed_cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a boot pays for, in cycles: `cycles` in all, of which `boot_cycles` go before the first region; a commit,
    with what it takes to enter the next region, costs `commit_cycles`."""

    cycles: float
    boot_cycles: float
    commit_cycles: float

    @property
    def region_limit(self) -> float:
        """The largest region that a boot brings to its end, its commit included."""
        return self.cycles - self.boot_cycles - self.commit_cycles

    def target(self, each_region: float = 0.0) -> float:
        """The region size that loses least where every region takes so many cycles besides its commit."""
        return min(self.region_limit, sqrt(2.0 * (self.commit_cycles + each_region) * max(self.cycles, 0.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """Cycles of a layer in one piece; `repeated` of them are spent again by every unit of the same pixel, `each_region`
    by every region."""

    cycles: float
    repeated: float = 0.0
    each_region: float = 0.0

    def units(self, split: Split, layer: CLayer) -> float:
        """Cycles of all units when the layer is cut like this."""
        blocks = layer.out.type.shape[-1] // split.block if split.block else 1
        return self.cycles - self.each_region + (blocks - 1) * self.repeated

    def total(self, split: Split, layer: CLayer) -> float:
        """Cycles of the layer when it is cut like this, without the commits."""
        return self.units(split, layer) + split.regions * self.each_region

    def region(self, split: Split, layer: CLayer) -> float:
        """Cycles of its largest region, when all units cost the same."""
        return self.units(split, layer) * min(split.per_region, split.units) / split.units + self.each_region


Choose = Callable[[CLayer, LayerWork], Split]
"""How a layer of so much work is cut."""


def cut(program: CProgram, works: Sequence[LayerWork], choose: Choose) -> CProgram:
    """The program with every layer cut as chosen; `works` are its layers'. Raises RegionError for the worst layer."""
    layers, refused = [], []
    for layer, work in zip(program.layers, works, strict=True):
        try:
            layers.append(replace(layer, split=choose(layer, work)))
        except RegionError as error:
            refused.append(error)
    if refused:
        raise max(refused, key=lambda error: error.needed_cycles)
    result = replace(program, layers=tuple(layers))
    if result.regions > CURSOR_LIMIT:
        raise RegionError(
            f"expected at most {CURSOR_LIMIT:,} regions, what the word of progress counts, found {result.regions:,}; "
            "allow a larger budget, or --regions budget"
        )
    return result


def for_budget(program: CProgram, budget: Budget) -> Choose:
    """For each layer the grain and region size with the least expected cost, none beyond what a boot pays for."""

    def choose(layer: CLayer, work: LayerWork) -> Split:
        target = budget.target(work.each_region)
        options = [
            _sized(grain, (size - work.each_region) / (work.units(grain, layer) or 1.0) * grain.units, program)
            for grain in grains(layer)
            for size in (target / 2, target, target * 2)
        ]
        affordable = [s for s in options if work.region(s, layer) <= budget.region_limit]
        if not affordable:
            needed = min(work.region(split, layer) for split in options)
            raise RegionError(
                f"layer {layer.name}: expected a region of at most {max(budget.region_limit, 0):,.0f} cycles, what a "
                f"boot pays for, found that its smallest takes {needed:,.0f}",
                layer=layer.name,
                needed_cycles=needed + budget.boot_cycles + budget.commit_cycles,
            )
        return min(affordable, key=lambda split: _expected(split, layer, work, budget))

    return choose


def _expected(split: Split, layer: CLayer, work: LayerWork, budget: Budget) -> float:
    """Cycles of a layer with its commits and its share of what failures throw away."""
    total = work.total(split, layer) + split.regions * budget.commit_cycles
    return total * (1.0 + work.region(split, layer) / (2.0 * budget.cycles))


def smallest_region(program: CProgram, works: Sequence[LayerWork]) -> tuple[str, float]:
    """The layer whose smallest region is the largest, and the cycles of that: what any budget must pay for."""
    least = [
        (min(work.region(_sized(grain, 1.0, program), layer) for grain in grains(layer)), layer.name)
        for layer, work in zip(program.layers, works, strict=True)
    ]
    cost, name = max(least)
    return name, cost


def by_element(program: CProgram) -> Choose:
    """A commit after every output element, as SONIC does (Gobieski et al., ASPLOS 2019), for comparison."""

    return lambda layer, work: _sized(grains(layer)[-1], 1.0, program)


def by_layer(_: CProgram) -> Choose:
    """A commit after every layer, for comparison."""
    return lambda layer, work: WHOLE


def _sized(grain: Split, units: float, program: CProgram) -> Split:
    """About so many units in a region, as many in each; whole granules where those matter."""
    most = max(1, min(grain.units, int(units)))
    step = _granule_step(grain, program)
    if step is None:
        return replace(grain, per_region=grain.units)
    regions = -(-grain.units // most)
    even = -(-grain.units // regions)
    return replace(grain, per_region=min(grain.units, max(step, even // step * step)))


def _granule_step(grain: Split, program: CProgram) -> int | None:
    """Units whose output is whole granules, where a region's output is written to non-volatile memory after it: a write
    that a power failure spoils must not hold what an earlier region committed. None where no number of units is."""
    if not program.mirrored:
        return 1
    width = program.granule_bytes
    # Elements of all types are powers of two in size: what holds for elements of one byte holds for any.
    if grain.lead % width:
        return None
    return width // gcd(grain.elements, width) if grain.elements else 1


def boots(regions: Sequence[float], budget: float) -> float:
    """Boots that an inference takes when each pays for regions of `budget` in all, and nothing is harvested meanwhile:
    infinite when a region never comes to its end. What a boot began and did not end is lost."""
    count, left = 1, budget
    for cost in regions:
        if cost > left:
            count, left = count + 1, budget
            if cost > left:
                return inf
        left -= cost
    return count


def region_costs(program: CProgram, works: Sequence[LayerWork]) -> list[float]:
    """Cycles of every region in order, when all units of a layer cost the same."""
    result = []
    for layer, work in zip(program.layers, works, strict=True):
        split, units = layer.split, work.units(layer.split, layer)
        for first in range(0, split.units, split.per_region):
            part = min(split.per_region, split.units - first) / split.units
            result.append(units * part + work.each_region)
    return result
