"""What an integer graph says of its exits: where an inference can end early, and by which rule it does.

An exit has `classes` scores of its own (an output of the graph, the running sum of the shared branch). After the node
that makes them, the rule (`Policy`) decides whether to go on. All numbers are integers: the board decides as the
reference does (`freeml/ops/answer.py`, firmware/common/fm_exits.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PolicyKind = Literal["none", "confidence", "entropy", "patience", "label-free", "reliability"]
"""When an inference ends at an exit: never; the margin between the two largest scores reaches the exit's threshold; the
entropy of the scores falls below it; as many exits in a row agree as `patience` says; the entropy falls below one
threshold of all exits, set without labels; the share of validation samples of like margin that were right reaches
it."""

KINDS: tuple[PolicyKind, ...] = ("none", "confidence", "entropy", "patience", "label-free", "reliability")

BINS = 16
"""Of a reliability table: bin i holds margins [i << bin_shift, (i + 1) << bin_shift), the last one all larger ones."""

NEVER = 0xFFFF
"""As a threshold of margins and reliabilities: no sample ends here. For entropies, 0 is that."""

MOST_CLASSES = 256
"""Sums of entropies stay within 32 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How often answers of some margin were right on validation samples, 0..255 for 0..1, by bin of the margin."""

    bin_shift: int
    right: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """One exit. `value` is the output of the graph that holds its scores, `point` the value whose map it looks at,
    `name` what people call it. `steps` times a difference of scores, shifted right by 16, is that difference in
    sixteenths of a nat, at the temperature at which its softmax is calibrated."""

    name: str
    value: str
    point: str
    steps: int
    reliability: Reliability


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rule. `thresholds` has one number per exit; only exits `first` to `last` (counted from 0) end an inference,
    and only kind "patience" reads `patience`. With `energy`, an inference also ends at the last exit passed when the
    energy left before the deadline does not pay for the next region (the program tells the runtime how much there is).
    """

    kind: PolicyKind
    thresholds: tuple[int, ...]
    patience: int = 2
    first: int = 0
    last: int = 0xFFFF
    energy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """All exits in the order in which they are reached, the reliability of the net's own output, and the rule."""

    exits: tuple[Exit, ...]
    final: Reliability
    policy: Policy
