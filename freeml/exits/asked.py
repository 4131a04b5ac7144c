"""What a user asks of exits: which kind of branch, how many points or which, how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from freeml.errors import FreemlError

Kind = Literal["none", "shared", "linear", "separate"]
Training = Literal["two-stage", "joint"]

KINDS: tuple[Kind, ...] = ("none", "shared", "linear", "separate")
TRAININGS: tuple[Training, ...] = ("two-stage", "joint")
FORM = "none, shared, shared:N, shared:LAYER,LAYER, or the same with linear or separate"


class ExitsError(FreemlError):
    """Exits cannot be attached as they were asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedExits:
    """One branch for all points (`shared`), a linear layer (`linear`) or a small net (`separate`) for each, at `count`
    points or at those of `names` (values or nodes); neither lets cost and gain choose. `budget_bytes` is for the
    branch's constants, None for a share of the backbone's; `output` names the output whose classes are told, None the
    first. `training` "two-stage" leaves the backbone as it is."""

    kind: Kind = "none"
    count: int | None = None
    names: tuple[str, ...] = ()
    training: Training = "two-stage"
    budget_bytes: int | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        """Raise ExitsError for what no text could ask either."""
        if self.kind not in KINDS:
            raise ExitsError(f"exits: expected one of {', '.join(KINDS)}, found {self.kind!r}")
        if self.training not in TRAININGS:
            raise ExitsError(f"exit training: expected one of {', '.join(TRAININGS)}, found {self.training!r}")
        if self.count is not None and (self.count < 1 or self.names):
            raise ExitsError(
                f"exits: expected at least 1 exit, or names in place of a number, found {self.count}; ask for "
                "none to have no exits"
            )
        if len(set(self.names)) < len(self.names):
            raise ExitsError(f"exits: expected every layer once, found {', '.join(self.names)}")
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise ExitsError(f"exits: expected a budget of at least 1 byte, found {self.budget_bytes}")


def asked_exits(
    text: str,
    *,
    training: Training = "two-stage",
    budget_bytes: int | None = None,
    output: str | None = None,
) -> AskedExits:
    """What `none`, `shared`, `shared:3`, `shared:conv1,conv2` (or the same with `linear` or `separate`) asks for.

    Names that are whole numbers are counts. Raises ExitsError for any other text.
    """
    kind, colon, rest = text.partition(":")
    found = next((known for known in KINDS if known == kind), None)
    names = tuple(name.strip() for name in rest.split(",")) if colon else ()
    if found is None or (colon and (found == "none" or not all(names))):
        raise ExitsError(f"--exits: expected {FORM}, found {text!r}")
    count = None
    if len(names) == 1 and names[0].isdecimal():
        count, names = int(names[0]), ()
    return AskedExits(kind=found, count=count, names=names, training=training, budget_bytes=budget_bytes, output=output)
