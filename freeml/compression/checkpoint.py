"""Where a search is, on disk: written after every round, read back by the next run of the same command.

A folder beside the output holds a file for each trial, named after the search (model, data, options) and the recipe, so
that no other search mistakes it for its own. Each file is replaced in one step, and a lock that ends with the process
keeps two of them apart.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freeml.compression.allocate import Need
from freeml.compression.graphtext import from_text, to_text
from freeml.compression.recipe import Recipe
from freeml.errors import CheckpointError, FreemlError
from freeml.ir.graph import Graph
from freeml.ir.types import Array
from freeml.report.figures import CompressionRound

LOCK = "lock"
SUFFIX = ".trial.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A trial between two steps: `steps` of it are done, `graph` is the net as it is now; `masks` (bool, by constant
    name) say which of its weights may differ from zero, of those layers where not all may.

    `start` is what the net took before anything was removed, the offsets are those that `Estimator` learned.
    """

    steps: int
    graph: Graph
    start: Need
    flash_offset: int
    ram_offset: int
    joules_per_cycle: float
    rounds: tuple[CompressionRound, ...]
    done: float
    masks: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A trial that ended without meeting the budget within the drop: the validation accuracy (0..1) of its net, 0 where
    no image met the budget, and the error that it would be, in words and figures (plain JSON values)."""

    value: float
    message: str
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file: the search and recipe that it belongs to, and how far that trial is; neither where it has just begun."""

    search: str
    recipe: Recipe
    state: State | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The trials of one search in a folder; nothing is kept where that is None. `search` is its hash."""

    folder: Path | None
    search: str

    @property
    def owner(self) -> str:
        """Whose trials are kept here: this folder of this machine."""
        place = "" if self.folder is None else str(self.folder.resolve())
        return hashlib.sha256(f"{platform.node()} {place}".encode()).hexdigest()[:16]

    def load(self, recipe: Recipe) -> Kept | None:
        """What is known of a trial; None where nothing is, or nothing that can be read."""
        path = self._path(recipe)
        return None if path is None else self._read(path)

    def all(self) -> tuple[Kept, ...]:
        """What is known of every trial of this search."""
        if self.folder is None or not self.folder.is_dir():
            return ()
        found = [self._read(path) for path in sorted(self.folder.glob(f"{self.search[:16]}-*{SUFFIX}"))]
        return tuple(kept for kept in found if kept is not None)

    def save(self, recipe: Recipe, state: State | None = None, outcome: Outcome | None = None) -> None:
        """Replace what is known of a trial, in one step. Raises CheckpointError where the disk refuses."""
        path = self._path(recipe)
        if path is None:
            return
        text = to_text(Kept(search=self.search, recipe=recipe, state=state, outcome=outcome))
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise CheckpointError(
                f"{path.parent}: the search cannot be kept: {error.strerror}; make room or choose another --out. What "
                "was kept before is whole: the same command goes on from there"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone. Raises CheckpointError where another one has it, or none can be
        made; a search that is interrupted by hand says how to go on."""
        if self.folder is None:
            yield
            return
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / LOCK)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise CheckpointError(
                f"{self.folder}: another freeml is searching there; wait for it, or give this one a folder of its own "
                "with --out (searches that share a --storage need one each)"
            ) from None
        except OSError as error:
            raise CheckpointError(
                f"{self.folder}: cannot be made to keep the search in: {error.strerror}; choose another --out"
            ) from error
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"the search is kept in {self.folder}; the same command goes on from there, and deleting that folder "
                "begins anew"
            ) from None
        finally:
            lock.release()

    def clear(self) -> None:
        """Forget every trial of this search, and the folder when nothing else is in it."""
        if self.folder is None or not self.folder.is_dir():
            return
        for path in (*self.folder.glob(f"{self.search[:16]}-*{SUFFIX}"), *self.folder.glob(".new-*")):
            path.unlink(missing_ok=True)
        if not any(self.folder.glob(f"*{SUFFIX}")):
            (self.folder / LOCK).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _path(self, recipe: Recipe) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.search[:16]}-{recipe.digest()}{SUFFIX}"

    def _read(self, path: Path) -> Kept | None:
        try:
            kept = from_text(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, FreemlError):
            return None  # nothing that this freeml can go on from: the trial begins anew
        return kept if isinstance(kept, Kept) and kept.search == self.search else None


def search_hash(*parts: Mapping[str, Any] | str | bytes) -> str:
    """A name for a search that no other input shares: sha256 of its parts, arrays by their bytes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else (part if isinstance(part, str) else to_text(part)).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
