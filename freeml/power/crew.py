"""Work on many images, in this process or in several; each has a machine of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from freeml.power.prover import Prover
from freeml.power.result import Progress
from freeml.power.rig import Golden, Subject

Task = TypeVar("Task")
Result = TypeVar("Result")
Item = TypeVar("Item")

TASKS_PER_JOB = 16
"""So that nobody waits long for the last one, and progress is seen."""

_prover: Prover | None = None
"""Of a process that works for another."""


class Crew:
    """`jobs` provers, each with the same firmware; this process has one in any case."""

    def __init__(self, prover: Prover, jobs: int, progress: Progress) -> None:
        self._prover = prover
        self._jobs = jobs
        self._progress = progress

    def each(self, text: str, work: Callable[[Prover, Task], Result], tasks: Sequence[Task]) -> list[Result]:
        """The results in the tasks' order; `work` is a function of a module."""
        self._progress(text, 0.0)
        if self._jobs == 1 or len(tasks) < 2:
            return list(self._here(text, work, tasks))
        results: dict[int, Result] = {}
        # Not forked: a copy of a process with threads, such as that of a progress bar, may wait for a lock for ever.
        with ProcessPoolExecutor(
            min(self._jobs, len(tasks)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._prover.rig.subject, self._prover.golden, self._prover.seed),
        ) as pool:
            pending = {pool.submit(_do, work, task): number for number, task in enumerate(tasks)}
            for future in as_completed(pending):
                results[pending[future]] = future.result()
                self._progress(text, len(results) / len(tasks))
        return [results[number] for number in range(len(tasks))]

    def _here(self, text: str, work: Callable[[Prover, Task], Result], tasks: Sequence[Task]) -> list[Result]:
        results = []
        for number, task in enumerate(tasks, start=1):
            results.append(work(self._prover, task))
            self._progress(text, number / len(tasks))
        return results

    def parts(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Items in runs of neighbours, about as many as there should be tasks."""
        size = max(1, -(-len(items) // (self._jobs * TASKS_PER_JOB)))
        return [items[start : start + size] for start in range(0, len(items), size)]


def _begin(subject: Subject, golden: Golden, seed: int) -> None:
    global _prover
    _prover = Prover(subject, golden, seed)


def _do(work: Callable[[Prover, Task], Result], task: Task) -> Result:
    assert _prover is not None
    return work(_prover, task)
