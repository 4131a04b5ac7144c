"""What a power-failure run found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from freeml.errors import FreemlError

Mode = Literal["linear", "exhaustive", "depth2", "replay"]
Place = Literal["host", "board"]

Progress = Callable[[str, float], None]
"""Told the step under way and the share (0..1) that is done before it."""


MOST_DIGITS = 12
"""Of a number in a replay string."""


class ReplayError(FreemlError):
    """A replay string that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReport:
    """`cuts` are the places (or pairs of places) where the power was cut, `failures` those after which anything
    differed from an uninterrupted run; `replay` reproduces the first of them, `reason` says what differed. `boots_max`
    is the largest number of boots that one inference took. `instructions` counts the instruction boundaries that the
    cuts stand for on a board, None on the host; `notes` are for the user.
    """

    mode: Mode
    on: Place
    cuts: int
    failures: int
    boots_max: int
    wall_s: float
    replay: str | None = None
    reason: str | None = None
    instructions: int | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "mode": self.mode,
            "on": self.on,
            "cuts": self.cuts,
            "failures": self.failures,
            "boots_max": self.boots_max,
            "wall_s": round(self.wall_s, 3),
            "replay": self.replay,
            "reason": self.reason,
            "instructions": self.instructions,
            "notes": list(self.notes),
        }


def replay_string(survived: Sequence[int]) -> str:
    """Granules that each boot writes before its power is cut, in order; the boot after the last runs to the end."""
    return ",".join(map(str, survived))


def parse_replay(text: str) -> tuple[int, ...]:
    """The reverse of `replay_string`. Raises ReplayError."""
    parts = text.split(",")
    if not all(
        part.strip().isascii() and part.strip().isdigit() and len(part.strip()) <= MOST_DIGITS for part in parts
    ):
        raise ReplayError(f"--mode replay=...: expected numbers like 12,0,7, found {text!r}")
    return tuple(int(part) for part in parts)
