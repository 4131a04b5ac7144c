"""The front that a search found, as text, and what of a budget has to give way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from freeml.compression.budget import Budget
from freeml.report.figures import CompressionRound

TOLERANCE = 1e-9


def front_table(rounds: Sequence[CompressionRound], budget: Budget, before: float) -> str:
    """The front that was found as text, a line for each round; with energies where those are limited."""
    asked = budget.energy_joules is not None
    rows = [
        f"  {row.flash:>13,} {row.ram:>13,} {row.cycles:>13,}{f' {row.energy_uj or 0:>13,.1f}' if asked else ''} "
        f"{row.validation:>10.2%}  {'built, integer' if row.built else 'estimated, float'}"
        for row in rounds
    ]
    flash, ram = (f"{name} B" for name in budget.SIZES)
    energy = f" {'energy uJ':>13}" if asked else ""
    head = f"  {flash:>13} {ram:>13} {'cycles':>13}{energy} {'validation':>10}  (float net before: {before:.2%})"
    return "\n".join([head, *rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxed:
    """Changes of a budget, each of which would do by itself: points of accuracy to allow, or bytes of flash and of RAM
    and the energy of an inference (all that the net exceeds); None where nothing that was seen says so. `built` says
    whether those are an image's, else they are estimated."""

    max_drop: float | None
    flash: int | None
    ram: int | None
    built: bool
    energy_uj: float | None = None


def relaxed(rounds: Sequence[CompressionRound], budget: Budget, *, before: float, drop: float | None) -> Relaxed:
    """What of the budget to relax.

    `before` is the validation accuracy (0..1) of the original, `drop` the points that the net within the bytes costs;
    None when there is none. The bytes are those of the round nearest to the budget that kept its accuracy.
    """

    def over(row: CompressionRound) -> float:
        limit_uj = None if budget.energy_joules is None else 1e6 * budget.energy_joules
        pairs = ((row.flash, budget.flash_bytes), (row.ram, budget.ram_bytes), (row.energy_uj or 0.0, limit_uj))
        return max((need / limit for need, limit in pairs if limit is not None), default=0.0)

    kept = [
        row
        for row in rounds
        if 100 * (before - row.validation) <= budget.max_drop_points + TOLERANCE
        and budget.misses(row.flash, row.ram, joules(row))
    ]
    best = min(kept, key=lambda row: (over(row), not row.built), default=None)
    flash = best is not None and budget.flash_bytes is not None and best.flash > budget.flash_bytes
    ram = best is not None and budget.ram_bytes is not None and best.ram > budget.ram_bytes
    return Relaxed(
        max_drop=None if drop is None else ceil(10 * drop - TOLERANCE) / 10,
        flash=best.flash if best is not None and flash else None,
        ram=best.ram if best is not None and ram else None,
        built=best is not None and best.built,
        energy_uj=best.energy_uj if best is not None and budget.misses_energy(joules(best)) else None,
    )


def joules(row: CompressionRound) -> float:
    """What an inference takes; 0 where no board is known."""
    return 1e-6 * (row.energy_uj or 0.0)


def advice(found: Relaxed, budget: Budget) -> str:
    """The same in words, as the last line of an error."""
    named = ((budget.FLASH, found.flash), (budget.RAM, found.ram))
    sizes = [f"{name} {size}" for name, size in named if size is not None]
    if found.energy_uj is not None:
        sizes.append(f"{budget.ENERGY} {ceil(10 * found.energy_uj - TOLERANCE) / 10:.1f}uJ")
    ways = [f"{budget.DROP} {found.max_drop:g}"] if found.max_drop is not None else []
    ways += [" ".join(sizes) + ("" if found.built else " (estimated)")] if sizes else []
    if not ways:
        limits = (
            (budget.FLASH, budget.flash_bytes),
            (budget.RAM, budget.ram_bytes),
            (budget.ENERGY, budget.energy_joules),
        )
        return "raise " + " or ".join(name for name, limit in limits if limit is not None)
    return f"{' or '.join(ways)} would do"
