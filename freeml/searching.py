"""The search for a budget as a compile makes it: trials of `freeml/compression`, each firmware built and measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from freeml.arranging import Again
from freeml.compression.allocate import Estimator
from freeml.compression.budget import Budget, whole_bytes
from freeml.errors import CompressionError, DoesNotFitError, FreemlError, MissingPackageError
from freeml.plan.cost import load_cost_model
from freeml.report import figures
from freeml.targets import get as get_board
from freeml.toolchains import find
from freeml.version import VERSION

if TYPE_CHECKING:
    from freeml.compression.search import Compressed
    from freeml.making import Made
    from freeml.pipeline import Prepared

SearchProgress = Callable[[str, float], None]
"""What is under way in a search for a budget, and the share (0..1) of the search that is done."""


def search(
    prepared: Prepared,
    budget: Budget,
    *,
    keep: Path | None,
    storage: str | None,
    show: SearchProgress,
    on_round: Callable[[figures.CompressionRound], None] = lambda _: None,
) -> tuple[Compressed[Made], Callable[[], None]]:
    """The net that meets a budget, and what to call when it is safe: until then the search is kept in folder `keep`.

    The one place of a compile that needs torch and Optuna.
    """
    options, dataset, board = prepared.options, prepared.dataset, get_board(prepared.options.target)
    assert dataset is not None
    try:
        from freeml.compression.checkpoint import Checkpoints, search_hash
        from freeml.compression.sparsecomp import sparsecomp
        from freeml.compression.study import compress
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "optuna"):
            raise
        raise MissingPackageError(
            f"{budget.words()}: compression retrains the net, and for that alone freeml needs {error.name}, which is "
            "not installed; run pip install 'freeml[train]', or leave the budget out"
        ) from error
    short = budget.flash_bytes if board.activations == "nv" else budget.ram_bytes  # of where the arena lies
    again: Again = "needed" if short is None else "wherever"
    estimator = Estimator(
        board=board,
        precision=prepared.precision(),
        prices=load_cost_model(board.name, find(board, options.toolchain).kind),
        inputs=prepared.calibration,
        whole_bytes=whole_bytes(board, budget, options.supply),
        again=again == "wherever",
        flash_is_short=budget.flash_bytes is not None,
        supply=options.supply,
        regions=options.regions,
    )
    attempt = partial(prepared.made, again=again)
    if budget.method == "sparsecomp":
        if storage is not None or budget.trials is not None:
            raise FreemlError("--method sparsecomp: expected neither --storage nor --trials, for it makes no trials")
        found = sparsecomp(
            prepared.graph, dataset, budget, attempt=attempt, estimator=estimator, seed=options.seed, show=show,
            on_round=on_round,
        )  # fmt: skip
        return _once_if_it_fits(found, prepared, budget), lambda: None
    asked = asdict(replace(options, budget=replace(budget, trials=None)))  # more trials are the same search, longer
    parts = [array for part in (dataset.train, dataset.val) for array in (part.x, part.y)]
    name = search_hash(
        VERSION, hashlib.sha256(prepared.model.read_bytes()).hexdigest(), asked, *({"array": array} for array in parts)
    )
    checkpoints = Checkpoints(folder=keep, search=name)
    try:
        found = compress(
            prepared.graph, dataset, budget, attempt=attempt, estimator=estimator, seed=options.seed, show=show,
            checkpoints=checkpoints, storage=storage, on_round=on_round,
        )  # fmt: skip
    except CompressionError:  # an answer, though not the one hoped for: nothing is left to go on with
        checkpoints.clear()
        raise
    return _once_if_it_fits(found, prepared, budget), checkpoints.clear


def _once_if_it_fits(found: Compressed[Made], prepared: Prepared, budget: Budget) -> Compressed[Made]:
    """The same with every layer computed once, where that is within the budget too."""
    if not found.built.again:
        return found
    try:
        once = prepared.made(found.graph, again="never")
    except DoesNotFitError:
        return found
    return found if budget.missed_by(once) else replace(found, built=once)


def search_folder(output: Path) -> Path:
    """Where a search is kept until its result is written: beside the output."""
    whole = output.resolve()
    return whole.with_name(f"{whole.name}.search")
