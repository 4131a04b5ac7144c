"""A search as an Optuna study: trials, each by its own recipe, until one meets the budget within the drop.

Without a storage the study lives in memory and one process makes it; the sampler is seeded anew for each trial, so that
a run that was killed and begun again suggests what the first one did, and trials that ended are answered from their
checkpoints. With a storage, processes and machines share trials through a database that Optuna keeps.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from freeml.compression.allocate import Estimates
from freeml.compression.budget import Budget
from freeml.compression.checkpoint import Checkpoints, Outcome
from freeml.compression.graphtext import from_text, to_text
from freeml.compression.recipe import PLANS, Recipe, first_recipe, knobs, suggested
from freeml.compression.search import B, Compressed, run_trial
from freeml.compression.task import check_task
from freeml.compression.train import one_thread
from freeml.data import Dataset
from freeml.errors import CompressionError, DoesNotFitError, FreemlError, StorageError
from freeml.ir.graph import Graph
from freeml.report.figures import CompressionRound

HEARTBEAT_SECONDS = 30
"""How often a process says in the database that it is at work; one that has not for three times as long is given up."""

TABLES_SECONDS = 2.0
"""What a database takes at most to make the tables of a study."""

PART_CHARACTERS = 30_000
"""Of a text in the database: what every database takes as one value."""

MET, MESSAGE, DETAILS, OWNER = "met", "message", "details", "owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """What a trial that met the budget leaves in the database for all who search: the net, and how it was found."""

    graph: Graph
    rounds: tuple[CompressionRound, ...]
    notes: tuple[str, ...]


def compress(
    graph: Graph,
    dataset: Dataset,
    budget: Budget,
    *,
    attempt: Callable[[Graph], B],
    estimator: Estimates,
    seed: int,
    show: Callable[[str, float], None],
    checkpoints: Checkpoints,
    storage: str | None = None,
    on_round: Callable[[CompressionRound], None] = lambda _: None,
) -> Compressed[B]:
    """The smallest change found that brings the firmware within the budget and keeps the accuracy on validation data.

    `attempt` quantizes and builds. `storage` is the URL of a database that several processes share, `checkpoints` where
    the trials are kept meanwhile; `on_round` hears of every net that was looked at. Raises CompressionError when the
    budget is below what the net takes with one channel in every layer, or when no trial meets it within the drop;
    DataError for labels of one class or of another task; StorageError; CheckpointError.
    """
    check_task(graph, dataset)
    count = PLANS[budget.effort].trials if budget.trials is None else budget.trials

    def follow(recipe: Recipe, number: int) -> Compressed[B] | Outcome:
        kept = checkpoints.load(recipe)
        if kept is not None and kept.outcome is not None:
            return kept.outcome
        if kept is None:
            checkpoints.save(recipe)

        def tell(step: str, share: float) -> None:
            show(f"{step}, trial {number + 1}" if count > 1 else step, min(1.0, (number + share) / count))

        try:
            return run_trial(
                graph, dataset, budget, attempt=attempt, estimator=estimator, seed=seed, show=tell, recipe=recipe,
                state=None if kept is None else kept.state, keep=lambda state: checkpoints.save(recipe, state),
                on_round=on_round,
            )  # fmt: skip
        except CompressionError as error:
            if "irreducible" in error.details:
                raise  # no recipe helps
            value = error.details.get("validation", 0.0)
            assert isinstance(value, float)
            outcome = Outcome(value=value, message=str(error), details=json.dumps(dict(error.details)))
            checkpoints.save(recipe, outcome=outcome)
            return outcome

    own: list[BaseException] = []
    with one_thread(), checkpoints.locked(), _database_errors(storage, own):
        study = _open(storage, checkpoints.search)
        _begin(study, budget, checkpoints)
        return _search(study, budget, count, follow, attempt, seed, own, checkpoints.owner)


def _search(
    study: Study,
    budget: Budget,
    count: int,
    follow: Callable[[Recipe, int], Compressed[B] | Outcome],
    attempt: Callable[[Graph], B],
    seed: int,
    own: list[BaseException],
    owner: str,
) -> Compressed[B]:
    """Trials until one meets the budget, here or in another process, or `count` have not.

    What goes wrong in a trial of ours, and not in the database, is added to `own`.
    """
    found: list[Compressed[B]] = []

    def objective(trial: Trial) -> float:
        recipe = suggested(trial, budget)
        trial.set_user_attr(OWNER, owner)
        try:
            ended = follow(recipe, trial.number)
        except BaseException as error:
            own.append(error)
            raise
        if isinstance(ended, Outcome):
            _write(trial, MESSAGE, ended.message)
            _write(trial, DETAILS, ended.details)
            return ended.value
        _write(trial, MET, to_text(Winner(graph=ended.graph, rounds=ended.rounds, notes=ended.notes)))
        found.append(ended)
        return ended.rounds[-1].validation

    while True:
        missed: list[FrozenTrial] = []
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            winner = _read(trial, MET)
            taken = None if winner is None else _taken(winner, budget, attempt)
            if taken is not None:
                return taken
            missed += [trial] if winner is None else []
        if len(missed) >= count:
            raise _failure(max(missed, key=lambda trial: (trial.value or 0.0, -trial.number)), len(missed))
        begun = sum(trial.state != TrialState.FAIL for trial in study.get_trials(deepcopy=False))
        study.sampler = _sampler(seed, begun)
        study.optimize(objective, n_trials=1)
        if found:
            return found[-1]


def _taken(text: str, budget: Budget, attempt: Callable[[Graph], B]) -> Compressed[B] | None:
    """A net that another process found, built here; None where this compiler's image misses the budget."""
    winner = from_text(text)
    assert isinstance(winner, Winner)
    try:
        built = attempt(winner.graph)
    except DoesNotFitError:
        return None
    if budget.missed_by(built):
        return None
    return Compressed(graph=winner.graph, built=built, rounds=winner.rounds, notes=winner.notes)


def _failure(best: FrozenTrial, count: int) -> CompressionError:
    """The error of the trial that kept most of the accuracy."""
    details = json.loads(_read(best, DETAILS) or "{}")
    message = _read(best, MESSAGE) or ""
    if count > 1:
        message += f"\nthis is the best of {count} trials"
    return CompressionError(message, {**details, "trials": count})


# --- the study --------------------------------------------------------------------------------------------------------


def _open(storage: str | None, search: str) -> Study:
    """The study of this search, and of no other: its name is the hash of the model, the data and the options."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if storage is None:
        return optuna.create_study(direction="maximize", study_name=search)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            try:
                database = _database(storage)
            except (IntegrityError, OperationalError):  # two processes at once made its tables: they are there now
                time.sleep(TABLES_SECONDS)
                database = _database(storage)
        except (ImportError, RuntimeError, ValueError, SQLAlchemyError) as error:
            raise StorageError(
                f"--storage {_without_password(storage)}: expected the URL of a database that can be opened, as in "
                f"sqlite:///search.db, found: {_first_line(error)}; mend the URL, or install the database's driver"
            ) from error
    return optuna.create_study(direction="maximize", study_name=search, storage=database, load_if_exists=True)


def _database(storage: str) -> _Database:
    return _Database(
        storage,
        heartbeat_interval=HEARTBEAT_SECONDS,
        grace_period=3 * HEARTBEAT_SECONDS,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
    )


class _Database(RDBStorage):
    """A database that may miss a heartbeat: the thread that sends them is no place to fail."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Say that a trial is being worked on."""
        try:
            super().record_heartbeat(trial_id)
        except (SQLAlchemyError, OptunaError):
            return


def _begin(study: Study, budget: Budget, checkpoints: Checkpoints) -> None:
    """Queue the default recipe of a new study, and trials of ours that were interrupted.

    The folder of checkpoints is held by this process alone, so a trial that was begun there and is still open in the
    database is nobody else's, unless another process has taken it over meanwhile.
    """
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(knobs(first_recipe(budget.effort), budget), skip_if_exists=True)
    for kept in checkpoints.all():
        params = knobs(kept.recipe, budget)
        trials = study.get_trials(deepcopy=False)
        same = [trial for trial in trials if params in (trial.params, trial.system_attrs.get("fixed_params"))]
        if not same or any(trial.state in (TrialState.COMPLETE, TrialState.WAITING) for trial in same):
            continue
        for trial in same:
            if trial.state == TrialState.RUNNING and trial.user_attrs.get(OWNER) == checkpoints.owner:
                study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(params)


def _sampler(seed: int, number: int) -> TPESampler:
    """The sampler of a trial: what it draws follows from the seed, the trial's number and the trials before it."""
    return TPESampler(seed=int(np.random.default_rng([seed, number]).integers(2**31)))


# --- texts in the database --------------------------------------------------------------------------------------------


def _write(trial: Trial, name: str, text: str) -> None:
    for index, start in enumerate(range(0, len(text), PART_CHARACTERS)):
        trial.set_user_attr(f"{name}.{index}", text[start : start + PART_CHARACTERS])


def _read(trial: FrozenTrial, name: str) -> str | None:
    parts: list[str] = []
    while (part := trial.user_attrs.get(f"{name}.{len(parts)}")) is not None:
        parts.append(part)
    return "".join(parts) if parts else None


@contextmanager
def _database_errors(storage: str | None, own: Sequence[BaseException]) -> Iterator[None]:
    """Whatever goes wrong with a database in words. What a trial raised itself passes as it is, even where Optuna fails
    over telling the database of it."""
    try:
        yield
    except FreemlError:
        raise
    except Exception as error:
        if own:
            raise own[-1] from None
        if storage is None:
            raise
        raise StorageError(
            f"--storage {_without_password(storage)}: the database failed: {_first_line(error)}; make it reachable and "
            "run the same command again: trials that ended are in it, and one under way goes on from its last round"
        ) from error


def _without_password(storage: str) -> str:
    """The URL as it may be shown."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return repr(storage) if "@" not in storage else "URL"


def _first_line(error: BaseException) -> str:
    """What went wrong at the bottom, in one line."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return (str(error).strip() or type(error).__name__).splitlines()[0]
