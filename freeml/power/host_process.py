"""Processes that cut the power (`host_worker`), and sharing tasks among them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

import freeml

START = "import sys; sys.path.insert(0, sys.argv[1]); from freeml.power.host_worker import main; main()"


class Wrong(Exception):  # noqa: N818 - a finding, not a fault of this program
    """An uninterrupted run is wrong already."""


class Crashed(Exception):  # noqa: N818
    """The product took its process with it. `survived` is where the power was cut, if a careful process said so."""

    def __init__(self, message: str, survived: list[int] | None) -> None:
        super().__init__(message)
        self.survived = survived


class Process:
    """One worker. A careful one says where it cuts, which makes it slower."""

    def __init__(self, job: Mapping[str, Any], *, careful: bool = False) -> None:
        root = str(Path(freeml.__file__).resolve().parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", START, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._at: list[int] | None = None
        try:
            self.ask({**job, "careful": careful})
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a task. Raises Wrong and Crashed."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what follows says why
            stdin.write(json.dumps(task) + "\n")
            stdin.flush()
        for line in stdout:
            answer = json.loads(line)
            if "at" in answer:
                self._at = answer["at"]
            elif "wrong" in answer:
                raise Wrong(answer["wrong"])
            else:
                return dict(answer["done"])
        status = self._process.wait()
        raise Crashed(f"the product ended its process (status {status})", self._at)

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.kill()
        self._process.wait()


def work_through(
    job: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], jobs: int, progress: Callable[[float], None]
) -> list[dict[str, Any]]:
    """Results of tasks in their order, from so many processes. One that crashes is a failure with where it was."""
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(tasks)):
        waiting.put(number)
    results: dict[int, dict[str, Any]] = {}

    def work() -> None:
        process: Process | None = None
        try:
            while True:
                try:
                    number = waiting.get_nowait()
                except Empty:
                    return
                process = process or Process(job)
                try:
                    results[number] = process.ask(tasks[number])
                except Crashed:
                    process.close()
                    process = None
                    results[number] = _crashed(job, tasks[number])
                progress(len(results) / len(tasks))
        finally:
            if process is not None:
                process.close()

    progress(0.0)
    count = max(1, min(jobs, len(tasks)))
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work) for _ in range(count)]:
            done.result()
    return [results[number] for number in range(len(tasks))]


def _crashed(job: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """Once more, carefully, to learn where."""
    with Process(job, careful=True) as process:
        try:
            return process.ask(task)
        except Crashed as crash:
            first = (crash.survived or [], str(crash))
            return {"cuts": 1, "boots": 1, "known": 0, "failures": 1, "boots_max": 2, "first": first}
