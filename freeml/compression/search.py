"""One trial: remove channels and bits in rounds, train in between, until the firmware that is built meets a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Generic, Protocol, TypeVar

import numpy as np

from freeml.compression.allocate import Estimates, Need, allocate, fewer_bits, floor, quicker, refined
from freeml.compression.budget import Budget, Sized, drop_interval
from freeml.compression.channels import find_channels
from freeml.compression.checkpoint import State
from freeml.compression.coarse import NO_ROUNDING, without_formats
from freeml.compression.front import Relaxed, advice, front_table, relaxed
from freeml.compression.head import Head, find_head
from freeml.compression.pruning import Zeros, ways_to_zero
from freeml.compression.recipe import PLANS, ROUNDED_SHARE, ROUNDS_SHARE, Recipe
from freeml.compression.scores import change_costs, coarseness, importance, salience
from freeml.compression.train import make_lesson, make_pages, retrain, right_answers
from freeml.data import Dataset
from freeml.errors import CompressionError, DoesNotFitError
from freeml.evaluate import decision_point
from freeml.ir.graph import Graph
from freeml.ir.types import Array
from freeml.report.figures import CompressionRound
from freeml.work import macs_by_value

CORRECTIONS = 6
"""Builds that may miss the budget before the estimate is said to be wrong."""

BUILD_EPOCHS = 4
"""About how many epochs of training a build takes, for the time left."""


class Built(Sized, Protocol):
    """A firmware as it was built, or another form that a net is wanted in."""

    def predictions(self, x: Array, threshold: float | None) -> Array:
        """The class of every sample, (n,); `threshold` is the decision point of the float net."""
        ...


B = TypeVar("B", bound=Built)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed(Generic[B]):
    """The net that met the budget, its firmware, what each round gave, and what should be known of the validation."""

    graph: Graph
    built: B
    rounds: tuple[CompressionRound, ...]
    notes: tuple[str, ...]


def run_trial(
    graph: Graph,
    dataset: Dataset,
    budget: Budget,
    *,
    attempt: Callable[[Graph], B],
    estimator: Estimates,
    seed: int,
    show: Callable[[str, float], None],
    recipe: Recipe,
    state: State | None = None,
    keep: Callable[[State], None] = lambda _: None,
    on_round: Callable[[CompressionRound], None] = lambda _: None,
) -> Compressed[B]:
    """The net that a recipe finds within the budget, its accuracy kept on validation data; from `state` on, when given.

    `attempt` quantizes and builds; `keep` is given every state to go on from, `on_round` every net that was looked at.
    Raises CompressionError when the budget is below what the least net takes, or when it cannot be met within the
    drop.
    """
    return _Search(graph, dataset, budget, attempt, estimator, seed, show, recipe, state, keep, on_round).run()


class _Search(Generic[B]):
    """The state of one trial: the net as it is now, and what was learned on the way."""

    def __init__(
        self,
        graph: Graph,
        dataset: Dataset,
        budget: Budget,
        attempt: Callable[[Graph], B],
        estimator: Estimates,
        seed: int,
        show: Callable[[str, float], None],
        recipe: Recipe,
        state: State | None,
        keep: Callable[[State], None],
        on_round: Callable[[CompressionRound], None],
    ) -> None:
        self.graph, self.dataset, self.budget, self.attempt = graph, dataset, budget, attempt
        self.estimator, self.seed, self.show = estimator, seed + recipe.seed, show
        self.recipe, self.state, self.keep, self.on_round = recipe, state, keep, on_round
        self.head: Head = find_head(graph)
        lesson, validation = (make_lesson(graph, self.head, part) for part in (dataset.train, dataset.val))
        distilled = recipe.distilled * lesson.knows  # a net that is often wrong leaves more to the labels
        self.lesson, self.validation = (replace(part, distilled=distilled) for part in (lesson, validation))
        self.pages = make_pages(self.lesson, self.validation, seed=self.seed)
        self.before: Array = right_answers(graph, self.head, self.validation)
        self.threshold = decision_point(graph)
        self.rounds: list[CompressionRound] = []
        self.masks: dict[str, Array] = {}
        flash, ram = estimator.limits  # a net must fit its board too, whatever the budget leaves open
        self.flash_limit = min(budget.flash_bytes or flash, flash)
        self.ram_limit = min(budget.ram_bytes or ram, ram)
        self.energy_limit = budget.energy_joules or inf
        self.plan = PLANS[budget.effort]
        self.epochs = max(1, round(self.plan.rounds * self.plan.epochs / recipe.rounds))
        self.work = float(recipe.rounds * self.epochs + self.plan.last + 4 * BUILD_EPOCHS)
        self.done = 0.0

    def run(self) -> Compressed[B]:
        """See `run_trial`."""
        if self.state is None:
            built = self._build_or_none("the net as it is")
            if built is not None and not self.budget.missed_by(built) and self._kept(built):
                return self._result(built)
            self.graph = without_formats(self.graph)
            self._check_floor(built)
            steps, start = 0, self.estimator.need(self.graph)
        else:
            steps, start = self._go_on_from(self.state)
        for number in range(steps + 1, self.recipe.rounds + 1):
            step = f"compress: round {number} of {self.recipe.rounds}"
            share = number / self.recipe.rounds
            fixed = self.estimator
            flash = _toward(start.flash, self.flash_limit, fixed.flash_offset, share)
            ram = _toward(start.ram, self.ram_limit, fixed.ram_offset, share)
            energy = _toward(start.joules, self.energy_limit, 0, share)
            last = number == self.recipe.rounds
            changed = self._shrink(step, start if last else None, flash, ram, energy)
            if last and self._refine():
                changed = True
            if changed:
                self._train(step, self.epochs, number, share=ROUNDS_SHARE / self.recipe.rounds)
                self._record(None)
            self._keep(number, start)
        if steps <= self.recipe.rounds:
            self._meet("compress: check", start)
            self._retrain("compress: retraining", self.recipe.rounds + 1)
            self._keep(self.recipe.rounds + 1, start)
        built = self._meet("compress: build", start)
        if not self._kept(built):
            raise self._failure(built)
        return self._result(built)

    def _go_on_from(self, state: State) -> tuple[int, Need]:
        """Take up a trial where it was left: the steps done, and what the net took at the start."""
        self.graph, self.rounds, self.done = state.graph, list(state.rounds), state.done
        self.masks = {name: mask.copy() for name, mask in state.masks.items()}  # those read back are read-only
        self.estimator = self.estimator.shifted(state.flash_offset, state.ram_offset, state.joules_per_cycle)
        return state.steps, state.start

    def _keep(self, steps: int, start: Need) -> None:
        self.keep(
            State(
                steps=steps, graph=self.graph, masks=self.masks, start=start,
                flash_offset=self.estimator.flash_offset, ram_offset=self.estimator.ram_offset,
                joules_per_cycle=self.estimator.joules_per_cycle,
                rounds=tuple(self.rounds), done=self.done,
            )
        )  # fmt: skip

    def _result(self, built: B) -> Compressed[B]:
        return Compressed(graph=self.graph, built=built, rounds=tuple(self.rounds), notes=self._notes(built))

    # --- steps --------------------------------------------------------------------------------------------------------

    def _shrink(self, step: str, start: Need | None, flash: float, ram: float, energy: float) -> bool:
        """Remove what brings the estimate to so many bytes and joules; False when nothing has to go, or nothing can.
        Time has to follow where it is given what the net took at the `start`."""
        before = self.graph
        self.graph = before if start is None else quicker(before, self.estimator, start)
        channels = find_channels(self.graph)
        self.show(f"{step}, scores", self._share())
        scores = importance(self.graph, channels, self.head, self.lesson, seed=self.seed)
        options = fewer_bits(self.graph) if self.estimator.packs else []
        coarse = coarseness(self.graph, options, self.head, self.lesson, seed=self.seed)
        cuts = allocate(
            self.graph, channels, scores, coarse, self._zeros(), self.estimator,
            flash=flash, ram=ram, energy=energy, ram_weight=self.recipe.ram_weight, start=start,
        )  # fmt: skip
        self.graph, self.masks = cuts.apply(self.graph, channels), cuts.masks(self.masks, channels)
        return self.graph is not before

    def _zeros(self) -> dict[Zeros, float]:
        """Ways to set weights to zero, with what each is expected to cost."""
        rows = self.estimator.rows(self.graph)
        matters = salience(self.graph, rows, self.head, self.lesson, seed=self.seed)
        ways = ways_to_zero(self.graph, rows, self.masks, matters)
        changed = {way: (way.name, way.apply(self.graph).constants[way.name]) for way in ways}
        return change_costs(self.graph, changed, self.head, self.lesson, seed=self.seed)

    def _refine(self) -> bool:
        """Give back bits where flash is left that nothing else can use; whether there was any."""
        if self.budget.flash_bytes is None or self.budget.energy_joules is not None:  # bits may save energy or cost it
            return False
        before = self.graph
        self.graph = refined(before, self.flash_limit - self.estimator.need(before).flash)
        return self.graph is not before

    def _train(
        self, step: str, planned: int, number: int, *, share: float, pace: float = 1.0, rounded: bool = False
    ) -> None:
        """Train for the planned epochs, or for those that a share of the plan's computation pays for."""
        start, epoch_macs = self.done, self.pages.rows * sum(macs_by_value(self.graph).values())
        epochs = self.plan.epochs_within(planned, share, epoch_macs)

        def show(done: int) -> None:
            self.done = start + planned * done / epochs
            self.show(f"{step}, epoch {done} of {epochs}", self._share())

        self.graph = retrain(
            self.graph, self.head, self.lesson, self.validation, self.pages,
            epochs=epochs, seed=self.seed + number, show=show, largest_step=pace * self.recipe.step, masks=self.masks,
            rounding=self.estimator.rounding(self.graph) if rounded else NO_ROUNDING,
        )  # fmt: skip
        self.done = start + planned

    def _retrain(self, step: str, number: int) -> None:
        """The last and longest training: in the end as the integer net rounds."""
        rounded, share = round(ROUNDED_SHARE * self.plan.last), 1 - ROUNDS_SHARE
        self._train(step, self.plan.last - rounded, number, share=(1 - ROUNDED_SHARE) * share)
        self._train(f"{step}, rounded", rounded, number, share=ROUNDED_SHARE * share, pace=0.25, rounded=True)

    def _build_or_none(self, step: str) -> B | None:
        """Build the net as it is now and learn from its bytes; None where it does not fit the board."""
        self.show(f"compress: build, {step}", self._share())
        try:
            built = self.attempt(self.graph)
        except DoesNotFitError:
            return None
        finally:
            self.done += BUILD_EPOCHS
        self._learn(built, self.graph)
        self._record(built)
        return built

    def _learn(self, built: B, graph: Graph) -> None:
        need = self.estimator.need(graph)
        self.estimator = self.estimator.shifted(
            self.estimator.flash_offset + built.flash_bytes - need.flash,
            self.estimator.ram_offset + built.ram_bytes - need.ram,
            built.energy_joules / max(1, need.cycles),
        )

    def _meet(self, step: str, start: Need) -> B:
        """Build, and remove more while the real bytes exceed the budget."""
        tighter = 0
        for number in range(CORRECTIONS):
            built = self._build_or_none(step)
            if built is not None and not self.budget.missed_by(built):
                return built
            tighter += 0 if built is not None else max(256, 64 * number)
            last = number + 1 == CORRECTIONS  # what would be removed now would not be built
            flash, ram = self.flash_limit - tighter, self.ram_limit - tighter
            if last or not self._shrink(step, start, flash, ram, self.energy_limit):
                break
            self._train(step, self.epochs, self.recipe.rounds + 2 + number, share=ROUNDS_SHARE / self.recipe.rounds)
        found = relaxed(self.rounds, self.budget, before=float(self.before.mean()), drop=None)
        raise CompressionError(
            f"the budget {self.budget.words()} is not met by any firmware that was built\n{self._table()}\n"
            f"{advice(found, self.budget)}",
            self._details(found),
        )

    def _check_floor(self, built: B | None) -> None:
        """Raise CompressionError for a budget that no number of channels and bits meets."""
        channels = find_channels(self.graph)
        needs: list[Need] = []
        for packs in (False, True) if self.estimator.packs else (False,):  # fewer bits take less flash and more RAM
            least = floor(self.graph, channels, packs=packs)
            need = self.estimator.need(least)
            if built is None or self.budget.misses(need.flash, need.ram, need.joules):
                self.show("compress: build, the least net", self._share())
                try:
                    smallest = self.attempt(least)
                except DoesNotFitError:
                    if packs == self.estimator.packs and not needs:  # the last form, and no other fits
                        raise
                    continue
                self._learn(smallest, least)
                need = replace(need, flash=smallest.flash_bytes, ram=smallest.ram_bytes, joules=smallest.energy_joules)
            needs.append(need)
        flash_bytes, ram_bytes = min(need.flash for need in needs), min(need.ram for need in needs)
        joules = min(need.joules for need in needs)
        if self.budget.misses(flash_bytes, ram_bytes, joules):
            flash, ram = self.budget.SIZES
            energy = f", energy {1e6 * joules:,.1f} uJ (estimated)" if self.budget.energy_joules is not None else ""
            bits = " and 2 bits a weight" if self.estimator.packs else ""
            raise CompressionError(
                f"the budget {self.budget.words()} is below what this net takes with one channel wherever channels "
                f"can be removed{bits}: {flash} {flash_bytes:,} B, {ram} {ram_bytes:,} B{energy}; "
                "raise the budget, or start from a net with fewer layers",
                {"irreducible": {"flash": flash_bytes, "ram": ram_bytes, "energy_uj": round(1e6 * joules, 3)}},
            )

    # --- accuracy and words -------------------------------------------------------------------------------------------

    def _after(self, built: B) -> Array:
        part = self.dataset.val
        return np.asarray(built.predictions(part.x, self.threshold) == part.y)

    def _drop_points(self, built: B) -> float:
        return 100 * float(self.before.mean() - self._after(built).mean())

    def _kept(self, built: B) -> bool:
        return self._drop_points(built) <= self.budget.max_drop_points + 1e-9

    def _record(self, built: B | None) -> None:
        need = self.estimator.need(self.graph)
        right = right_answers(self.graph, self.head, self.validation) if built is None else self._after(built)
        joules = need.joules if built is None else built.energy_joules
        self.rounds.append(
            CompressionRound(
                flash=need.flash if built is None else built.flash_bytes,
                ram=need.ram if built is None else built.ram_bytes,
                cycles=need.cycles,
                validation=float(right.mean()),
                built=built is not None,
                energy_uj=round(1e6 * joules, 3) if joules else None,
            )
        )
        self.on_round(self.rounds[-1])

    def _notes(self, built: B) -> tuple[str, ...]:
        """Whether the validation part is large enough to tell the drop."""
        low, high = drop_interval(self.before, self._after(built))
        points = self._drop_points(built)
        if 100 * high <= self.budget.max_drop_points:
            return ()
        return (
            f"{len(self.before):,} validation samples are too few to be certain of {self.budget.DROP} "
            f"{self.budget.max_drop_points:g}: they show a drop of {points:.2f} points, "
            f"with 95% certainty one of {100 * low:.2f} to {100 * high:.2f}",
        )

    def _failure(self, built: B) -> CompressionError:
        low, high = (100 * limit for limit in drop_interval(self.before, self._after(built)))
        found = relaxed(self.rounds, self.budget, before=float(self.before.mean()), drop=self._drop_points(built))
        return CompressionError(
            f"the budget {self.budget.words()} costs {self._drop_points(built):.2f} points of accuracy on "
            f"{len(self.before):,} validation samples (95% interval {low:.2f} to {high:.2f}), more than "
            f"{self.budget.DROP} {self.budget.max_drop_points:g}\n{self._table()}\n"
            f"{advice(found, self.budget)}; or give the search more time with {self.budget.EFFORT} normal or thorough",
            self._details(found) | {"validation": float(self._after(built).mean())},
        )

    def _table(self) -> str:
        return front_table(self.rounds, self.budget, float(self.before.mean()))

    def _details(self, found: Relaxed) -> dict[str, object]:
        front = [asdict(row) for row in self.rounds]
        return {"front": front, "accuracy_before": float(self.before.mean()), "relax": asdict(found)}

    def _share(self) -> float:
        return min(1.0, self.done / self.work)


def _toward(start: float, limit: float, fixed: int, share: float) -> float:
    """Between what there is and the limit: what is not `fixed` shrinks by the same factor in every round."""
    if start <= limit or limit <= fixed:
        return float(limit)
    ratio: float = (limit - fixed) / (start - fixed)
    return float(fixed + (start - fixed) * ratio**share)
