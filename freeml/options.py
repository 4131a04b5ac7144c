"""What a user can ask of a compile, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from freeml.compression.budget import Budget
from freeml.errors import FreemlError
from freeml.exits.asked import AskedExits
from freeml.exits.rule import AskedRule
from freeml.intermittent import GRANULARITIES, Granularity
from freeml.quant.choose import METHODS
from freeml.quant.ranges import RangeMethod
from freeml.regions.supply import Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user can ask of a compile. `ranges` None lets calibration choose the method; a `budget` asks for
    compression, which needs data."""

    target: str = "msp430"
    precision: Literal["int8", "int16", "auto"] = "int8"
    weights: Literal["int8", "int16"] = "int8"
    ranges: RangeMethod | None = None
    toolchain: str | None = None
    supply: Supply = field(default_factory=Supply)
    regions: Granularity = "budget"
    seed: int = 0
    budget: Budget | None = None
    exits: AskedExits = field(default_factory=AskedExits)
    rule: AskedRule = field(default_factory=AskedRule)

    def __post_init__(self) -> None:
        """Raise FreemlError for a choice that is none: callers of the Python API are not all checked for types."""
        if not isinstance(self.seed, int) or self.seed < 0:
            raise FreemlError(f"seed: expected an integer of 0 or more, found {self.seed!r}")
        if self.budget is not None and self.exits.kind != "none" and self.exits.training == "joint":
            raise FreemlError(
                "--exit-training joint: expected no budget beside it, for every net of a search would be trained anew; "
                "take --exit-training two-stage, or compress first (freeml.compress gives an ONNX file)"
            )
        choices: dict[str, tuple[str | None, ...]] = {"regions": GRANULARITIES}
        choices |= {"precision": ("int8", "int16", "auto"), "weights": ("int8", "int16"), "ranges": (None, *METHODS)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                expected = ", ".join(map(repr, allowed))
                raise FreemlError(f"{name}: expected one of {expected}, found {getattr(self, name)!r}")

    @property
    def weight_bits(self) -> Literal[8, 16]:
        """Bits of a weight."""
        return 8 if self.weights == "int8" else 16
