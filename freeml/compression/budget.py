"""What a compressed net may take and lose, and how certain a measured loss is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import ClassVar, Literal, Protocol

import numpy as np

from freeml.errors import FreemlError
from freeml.ir.types import Array
from freeml.plan.storage import UNPACK
from freeml.regions.supply import PREFIXES, Supply
from freeml.targets import Board

Effort = Literal["quick", "normal", "thorough"]
EFFORTS: tuple[Effort, ...] = ("quick", "normal", "thorough")
Method = Literal["joint", "sparsecomp"]
METHODS: tuple[Method, ...] = ("joint", "sparsecomp")
Z95 = 1.959964
"""Standard deviations of a normal distribution that hold 95 % of it."""

SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(|B|[kK]B?|[kK]iB)\s*\Z")
ENERGY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)\s*([nuµm]?)J\s*\Z")


ROUNDING = 1e-9
"""Share of an energy that is not told apart: 800 uJ are no whole number of joules."""


class Sized(Protocol):
    """What a limit is held against: a firmware, or another form that a net is wanted in."""

    @property
    def flash_bytes(self) -> int:
        """Image and persistent data."""
        ...

    @property
    def ram_bytes(self) -> int:
        """Variables and the estimated stack."""
        ...

    @property
    def energy_joules(self) -> float:
        """What an inference is estimated to take; 0 where no board is known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hard limits of the self-test firmware, and the points of accuracy that may be lost on validation data.

    `flash_bytes` holds the image and the persistent data together, `ram_bytes` variables and the estimated stack,
    `energy_joules` what an inference is estimated to take (`inference_uj` of a report's power).
    `method` "joint" is freeml's own search, "sparsecomp" the published one, to compare with. `trials` is how many
    recipes are tried at most; None leaves that to the effort.
    """

    FLASH: ClassVar[str] = "--flash"
    RAM: ClassVar[str] = "--ram"
    ENERGY: ClassVar[str] = "--energy"
    DROP: ClassVar[str] = "--max-drop"
    EFFORT: ClassVar[str] = "--effort"
    SIZES: ClassVar[tuple[str, str]] = ("flash", "RAM")
    """What the user calls each limit, and what is limited."""

    flash_bytes: int | None = None
    ram_bytes: int | None = None
    energy_joules: float | None = None
    max_drop_points: float = 1.0
    effort: Effort = "quick"
    method: Method = "joint"
    trials: int | None = None

    def __post_init__(self) -> None:
        """Raise FreemlError for what is no budget."""
        sizes = (self.flash_bytes, self.ram_bytes)
        if sizes == (None, None) and self.energy_joules is None:
            raise FreemlError(
                f"budget: expected {self.FLASH}, {self.RAM} or {self.ENERGY}, found none; say what the net may take at "
                "most"
            )
        if any(size is not None and (not isinstance(size, int) or size <= 0) for size in sizes):
            raise FreemlError(f"budget: expected whole numbers of bytes above 0, found {sizes}")
        energy = self.energy_joules
        if energy is not None and not (isinstance(energy, (int, float)) and isfinite(energy) and energy > 0):
            raise FreemlError(f"{self.ENERGY}: expected joules above 0, found {energy!r}")
        if not (isfinite(self.max_drop_points) and 0 <= self.max_drop_points <= 100):
            raise FreemlError(f"{self.DROP}: expected 0 to 100 points of accuracy, found {self.max_drop_points:g}")
        if self.effort not in EFFORTS:
            raise FreemlError(f"effort: expected one of {', '.join(EFFORTS)}, found {self.effort!r}")
        if self.method not in METHODS:
            raise FreemlError(f"method: expected one of {', '.join(METHODS)}, found {self.method!r}")
        if self.method == "sparsecomp" and sizes == (None, None):
            raise FreemlError(
                f"--method sparsecomp: expected {self.FLASH}, for it lowers the bytes of weights only, found "
                f"{self.ENERGY} alone; add {self.FLASH}, or take --method joint"
            )
        if self.trials is not None and (not isinstance(self.trials, int) or self.trials < 1):
            raise FreemlError(f"trials: expected a whole number of 1 or more, found {self.trials!r}")

    def misses(self, flash_bytes: int, ram_bytes: int, joules: float) -> bool:
        """Whether a firmware of these sizes, whose inferences take so much, exceeds a limit."""
        return (
            (self.flash_bytes is not None and flash_bytes > self.flash_bytes)
            or (self.ram_bytes is not None and ram_bytes > self.ram_bytes)
            or self.misses_energy(joules)
        )

    def missed_by(self, firmware: Sized) -> bool:
        """Whether a firmware exceeds a limit."""
        return self.misses(firmware.flash_bytes, firmware.ram_bytes, firmware.energy_joules)

    def misses_energy(self, joules: float) -> bool:
        """Whether an inference takes more than it may."""
        return self.energy_joules is not None and joules > self.energy_joules * (1 + ROUNDING)

    def taken(self, firmware: Sized) -> str:
        """What a firmware takes, for messages; energy where that is limited."""
        flash, ram = self.SIZES
        words = f"{flash} {firmware.flash_bytes:,} B, {ram} {firmware.ram_bytes:,} B"
        if self.energy_joules is None:
            return words
        return f"{words}, energy {1e6 * firmware.energy_joules:,.1f} uJ (estimated)"

    def words(self) -> str:
        """The limits, for messages."""
        named = ((self.FLASH, self.flash_bytes), (self.RAM, self.ram_bytes))
        words = [f"{name} {size:,} B" for name, size in named if size is not None]
        if self.energy_joules is not None:
            words.append(f"{self.ENERGY} {self.energy_joules * 1e6:,.10g} uJ")
        return " and ".join(words)


def parse_budget(
    flash: str | None,
    ram: str | None,
    max_drop: float | None,
    effort: Effort | None,
    method: Method | None = None,
    trials: int | None = None,
    energy: str | None = None,
) -> Budget | None:
    """The budget that a user describes; None when no option of it is given. Raises FreemlError."""
    if flash is None and ram is None and energy is None:
        given = (("--max-drop", max_drop), ("--effort", effort), ("--method", method), ("--trials", trials))
        named = [name for name, value in given if value is not None]
        if named:
            raise FreemlError(
                f"{' and '.join(named)}: expected a budget to go with, found none; add --flash, --ram or --energy"
            )
        return None
    return Budget(
        flash_bytes=None if flash is None else parse_size(flash, "--flash"),
        ram_bytes=None if ram is None else parse_size(ram, "--ram"),
        energy_joules=None if energy is None else parse_energy(energy, "--energy"),
        max_drop_points=1.0 if max_drop is None else max_drop,
        effort=effort or "quick",
        method=method or "joint",
        trials=trials,
    )


def parse_size(text: str, what: str) -> int:
    """`32KB` in bytes; a KB is 1,024 of them. Raises FreemlError."""
    found = SIZE.match(text)
    number = float(found[1]) * (1024 if found[2][:1] in ("k", "K") else 1) if found else 0.0
    size = int(number) if isfinite(number) else 0
    if size <= 0:
        raise FreemlError(f"{what}: expected a number of bytes above 0, as in 32KB or 4096, found {text!r}")
    return size


def parse_energy(text: str, what: str) -> float:
    """`5mJ` in joules: 0.005. Raises FreemlError."""
    found = ENERGY.match(text)
    joules = float(found[1]) * PREFIXES[found[2]] if found else 0.0
    if not (isfinite(joules) and joules > 0):
        raise FreemlError(f"{what}: expected an energy above 0 with its unit, as in 5mJ or 800uJ, found {text!r}")
    return joules


def whole_bytes(board: Board, budget: Budget, supply: Supply) -> int | None:
    """SRAM for weights that a layer unpacks all at once: half of what there is, and a tenth of what a charge pays
    for, since every region unpacks them. None where flash is no limit: then weights stay plain."""
    if budget.flash_bytes is None:
        return None
    charge = int(supply.budget_cycles(board) / 10 / UNPACK)
    return min(board.sram_bytes // 2, (budget.ram_bytes or board.sram_bytes) // 2, charge)


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % score interval of a share (E. B. Wilson, 1927)."""
    share, z2 = right / count, Z95 * Z95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z95 * sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def drop_interval(before: Array, after: Array) -> tuple[float, float]:
    """95 % interval of the accuracy (0..1) lost from `before` to `after`, right answers (n,) bool on the same samples.

    The square-and-add interval of paired shares over Wilson's limits (R. G. Newcombe, 1998, method 10 without its
    correction for continuity).
    """
    count = len(before)
    p, q = float(np.mean(before)), float(np.mean(after))
    (low_p, high_p), (low_q, high_q) = wilson(int(before.sum()), count), wilson(int(after.sum()), count)
    both, neither = int((before & after).sum()), int((~before & ~after).sum())
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    spread = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    phi = (both * neither - lost * gained) / sqrt(spread) if spread else 0.0

    def reach(one: float, two: float) -> float:
        return sqrt(max(0.0, one * one - 2 * phi * one * two + two * two))

    return p - q - reach(p - low_p, high_q - q), p - q + reach(high_p - p, q - low_q)
