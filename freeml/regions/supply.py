"""What a boot may spend: the energy between the voltage a board starts at and the one it stops at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from freeml.errors import FreemlError
from freeml.targets import Board

HEADROOM = 1.15
"""Planned costs are predictions: within 10 % of the simulator (make bench), and values move a few branches."""

LARGEST = 1e12
"""Of any budget, in whatever it is given: far beyond what any board is fed from, and still exact as a float."""

HIGHEST_VOLTS = 1000.0

QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([pnuµmk]?)([A-Za-z]*)\s*\Z")
PREFIXES = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}


def quantity(text: str, unit: str, what: str) -> float:
    """`100uF` in units of one: 1e-4. Raises FreemlError for what is no positive number of `unit`."""
    found = QUANTITY.match(text)
    value = float(found[1]) * PREFIXES[found[2]] if found else 0.0
    if not found or found[3] != unit or value <= 0:
        raise FreemlError(f"{what}: expected a positive number with its unit, as in 100u{unit}, found {text!r}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """A capacitor that is charged to `volts_on` when a boot begins and empty for our purposes at `volts_off`; or a
    budget of energy or of cycles as given. Nothing is harvested while a boot lasts: what is, is a gift."""

    farads: float | None = 100e-6
    volts_on: float = 3.0
    volts_off: float = 1.9
    joules: float | None = None
    cycles: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.volts_off < self.volts_on <= HIGHEST_VOLTS:  # what is no number is refused too
            raise FreemlError(
                "--v-on, --v-off: expected that a boot begins at a higher voltage than it ends, found "
                f"{self.volts_on:g} V and {self.volts_off:g} V"
            )
        given = [v for v in (self.farads, self.joules, self.cycles) if v is not None]
        if len(given) != 1 or not 0 < given[0] <= LARGEST:
            raise FreemlError(
                "budget: expected one of a capacitor, an energy and a number of cycles, above zero and at most 1e12"
            )

    @property
    def nanojoules(self) -> float | None:
        """Energy of a boot; None when the budget is in cycles."""
        if self.joules is not None:
            return self.joules * 1e9
        if self.farads is not None:
            return 0.5 * self.farads * (self.volts_on**2 - self.volts_off**2) * 1e9
        return None

    def budget_cycles(self, board: Board) -> float:
        """The same in cycles, at the energy of a cycle that the board's description plans with."""
        energy = self.nanojoules
        if energy is None:
            assert self.cycles is not None
            return self.cycles
        return energy / board.energy.nj_per_cycle_planned

    def microfarads_for(self, cycles: float, board: Board) -> float:
        """The capacitor between these voltages that pays for so many cycles."""
        joules = cycles * board.energy.nj_per_cycle_planned * 1e-9
        return joules / (0.5 * (self.volts_on**2 - self.volts_off**2)) * 1e6

    def words(self) -> str:
        """What was given, for messages."""
        if self.farads is not None:
            return f"{self.farads * 1e6:g} uF from {self.volts_on:g} V to {self.volts_off:g} V"
        if self.joules is not None:
            return f"{self.joules * 1e6:g} uJ"
        return f"{self.cycles:,.0f} cycles"


def parse_supply(
    capacitor: str | None, *, v_on: float, v_off: float, energy: str | None, cycles: float | None
) -> Supply:
    """The supply that a user describes, at most one of capacitor, energy and cycles. Raises FreemlError."""
    given = {"--capacitor": capacitor, "--budget-energy": energy, "--budget-cycles": cycles}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise FreemlError(f"{' and '.join(named)}: expected one of them; leave out the others")
    farads = quantity(capacitor, "F", "--capacitor") if capacitor is not None else None
    joules = quantity(energy, "J", "--budget-energy") if energy is not None else None
    if not named:
        farads = Supply().farads
    return Supply(farads=farads, volts_on=v_on, volts_off=v_off, joules=joules, cycles=cycles)
