"""What a trial of a search can do differently: a few knobs with honest ranges, and how long an effort lasts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from freeml.compression.budget import Budget, Effort
from freeml.compression.train import DISTILLED, STEP

if TYPE_CHECKING:
    from optuna import Trial

STEPS = (0.02, 0.2)
SHARES = (0.5, 1.0)
RAM_WEIGHTS = (0.25, 4.0)
SEEDS = (0, 9999)

ROUNDS_SHARE = 0.25
"""Of the computation that a trial's training may take, that of the rounds: the net that stays is trained longest."""

ROUNDED_SHARE = 0.25
"""Of the training at the end, the part with the rounding of the integer net."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long an effort lasts: rounds of removal, epochs after each, epochs at the end, trials at most.

    `macs` is what a trial's training may compute: multiply-accumulates of an inference, summed over all samples. Where
    the epochs would take more, as those of large nets do, there are fewer: `ROUNDS_SHARE` of it is for the rounds, in
    equal parts, the rest for the end. The last quarter of the end is trained with the rounding of the integer net.
    """

    rounds: int
    epochs: int
    last: int
    trials: int
    macs: float

    def epochs_within(self, planned: int, share: float, macs: float) -> int:
        """Epochs that a share of the plan's computation pays for, `macs` each: as planned at most, and at least one."""
        return max(1, min(planned, int(share * self.macs / macs)))


PLANS: dict[Effort, Plan] = {
    "quick": Plan(rounds=8, epochs=4, last=64, trials=1, macs=0.5e12),
    "normal": Plan(rounds=12, epochs=15, last=160, trials=2, macs=2e12),
    "thorough": Plan(rounds=16, epochs=20, last=300, trials=2, macs=14e12),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one trial goes about it.

    `rounds` of removal share the epochs of the plan, so that trials last equally long; `step` is the largest step of a
    parameter relative to its size, `distilled` the weight of the original net's answers in the loss, `ram_weight` what
    a share of the lacking RAM counts against the same share of the lacking flash; `seed` is added to the user's.
    """

    rounds: int
    step: float
    distilled: float
    ram_weight: float
    seed: int

    def digest(self) -> str:
        """A name for it."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


def first_recipe(effort: Effort) -> Recipe:
    """What the first trial of every search does."""
    return Recipe(rounds=PLANS[effort].rounds, step=STEP, distilled=DISTILLED, ram_weight=1.0, seed=0)


def knobs(recipe: Recipe, budget: Budget) -> dict[str, int | float]:
    """The parameters of a trial that follows a recipe: those that mean something for this budget."""
    found = asdict(recipe)
    if budget.flash_bytes is None or budget.ram_bytes is None:
        del found["ram_weight"]
    return found


def suggested(trial: Trial, budget: Budget) -> Recipe:
    """The recipe that the sampler suggests for a trial."""
    rounds = PLANS[budget.effort].rounds
    both = budget.flash_bytes is not None and budget.ram_bytes is not None
    return Recipe(
        rounds=trial.suggest_int("rounds", rounds // 2, 2 * rounds),
        step=trial.suggest_float("step", *STEPS, log=True),
        distilled=trial.suggest_float("distilled", *SHARES),
        ram_weight=trial.suggest_float("ram_weight", *RAM_WEIGHTS, log=True) if both else 1.0,
        seed=trial.suggest_int("seed", *SEEDS),
    )
