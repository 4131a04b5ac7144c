"""What a user asks of the rule by which inferences end early, and how options ask it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from freeml.errors import FreemlError
from freeml.ir.exits import KINDS, PolicyKind

ENERGY = "energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRule:
    """The kind of rule, whether lacking energy ends an inference too, and the promise that thresholds are to keep: with
    probability `confidence`, at most `max_drop_points` of 100 answers are lost."""

    kind: PolicyKind = "confidence"
    energy: bool = False
    max_drop_points: float = 1.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Raise FreemlError for what is no rule."""
        if self.kind not in KINDS:
            raise FreemlError(f"policy: expected one of {', '.join(KINDS)}, found {self.kind!r}")
        check_promise(self.max_drop_points, self.confidence)


def check_promise(max_drop_points: float, confidence: float) -> None:
    """Raise FreemlError for what cannot be promised."""
    if not (isfinite(max_drop_points) and 0 <= max_drop_points <= 100):
        raise FreemlError(f"--max-drop: expected 0 to 100 points of accuracy, found {max_drop_points:g}")
    if not 0 < confidence < 1:
        raise FreemlError(f"--confidence: expected a probability between 0 and 1, as in 0.95, found {confidence:g}")


def parse_rule(text: str | None, max_drop: float | None, confidence: float | None) -> AskedRule:
    """`entropy`, `confidence+energy`, `energy` alone. Raises FreemlError for any other text."""
    words = (text or "confidence").split("+")
    kinds = [kind for kind in KINDS if kind in words]
    if len(words) != len(set(words)) or len(kinds) > 1 or set(words) - {*KINDS, ENERGY}:
        raise FreemlError(
            f"--policy: expected one of {', '.join(KINDS)}, with +energy where lacking energy ends an inference too, "
            f"or energy alone, found {text!r}"
        )
    return AskedRule(
        kind=kinds[0] if kinds else "none", energy=ENERGY in words,
        max_drop_points=1.0 if max_drop is None else max_drop, confidence=0.95 if confidence is None else confidence,
    )  # fmt: skip
