"""Power failures in the emitted C on this machine: `freeml power --on host`.

The folder is built with the harness of `firmware/power`, which counts every write to non-volatile memory, granule by
granule and inside wide stores too, and can end a run there. Several processes share the cuts; see `host_cuts` for what
is tried and why it is a proof, `host_scenarios` for what is under way while the power fails.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freeml.artifact import load
from freeml.errors import FreemlError
from freeml.ir.graph import QGraph
from freeml.ir.types import QRANGE, Array
from freeml.power.host_build import build_product
from freeml.power.host_process import Crashed, Process, Wrong, work_through
from freeml.power.result import Mode, PowerReport, Progress, parse_replay, replay_string
from freeml.sim.host import DTYPE
from freeml.sim.trace import run_reference

SAMPLES = 3
ATTEMPTS = 64
"""Random inputs among which three are looked for whose results differ."""

BATCH_CUTS = 1000
"""Cuts of a task, about."""

ALL_PAIRS_BYTES = 4_000_000_000
"""Bytes of images up to which every pair of cuts is tried, unless a limit says otherwise; beyond, a sample."""

SAMPLED_PAIRS = 20_000
SECONDS = 8
"""Second cuts for each first one, in a sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Inputs and what the integer reference makes of them, as bytes of the C's arrays one after the other."""

    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]


def run_host(
    folder: Path,
    mode: Mode,
    *,
    replay: str | None = None,
    seed: int = 0,
    jobs: int = 1,
    limit: int | None = None,
    toolchain: str | None = None,
    progress: Progress | None = None,
) -> PowerReport:
    """Cut the power of a compiled folder's C on this machine.

    `linear`: each boot survives one granule more than the last, until the inference ends. `exhaustive`: once, after
    every granule of every scenario, with everything that an interrupted granule can hold; and an uninterrupted run in
    which no region writes what it has read. `depth2`: a second time, after every granule of each recovery; of large
    nets, a seeded sample. `replay`: as a string says, in every scenario. `limit` bounds the cuts by a seeded sample.

    Raises ArtifactError, ReplayError, and ToolchainError where the C cannot be built.
    """
    begun = time.monotonic()
    show = progress or (lambda *_: None)
    if mode == "replay" and replay is None:
        raise FreemlError("--mode replay: expected a string to replay, as in replay=12,0,7")
    survived = parse_replay(replay) if mode == "replay" and replay is not None else ()
    graph = load(folder).graph
    show("build", 0.0)
    with tempfile.TemporaryDirectory(prefix="freeml-power-") as scratch:
        library, other = Path(scratch) / "model.so", Path(scratch) / "other.so"
        product = build_product(folder, library, toolchain)
        shutil.copyfile(library, other)
        samples = choose_samples(graph, seed)
        job = {
            "do": "load",
            "library": str(library),
            "other": str(other),
            "sections": [asdict(section) for section in product.sections],
            "inputs": [sample.hex() for sample in samples.inputs],
            "outputs": [result.hex() for result in samples.outputs],
            "seed": seed,
        }
        run = _Run(folder=folder, mode=mode, job=job, seed=seed, jobs=jobs, limit=limit, show=show, begun=begun)
        return run.report(survived)


def choose_samples(graph: QGraph, seed: int) -> Samples:
    """Three random inputs; their results differ where the net's can, at least the last from the others."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for name in graph.inputs:
        low, high = QRANGE[graph.types[name].dtype]
        inputs[name] = rng.integers(low, high + 1, (ATTEMPTS, *graph.types[name].shape), dtype=np.int64)
    found: list[tuple[bytes, bytes]] = []
    # Few at first: most nets need no more.
    for start, stop in ((0, SAMPLES), (SAMPLES, ATTEMPTS)):
        part = {name: array[start:stop] for name, array in inputs.items()}
        values = run_reference(graph, part).values
        rows = zip(_bytes(graph, graph.inputs, part), _bytes(graph, graph.outputs, values), strict=True)
        found += rows
        distinct = list({output: (sample, output) for sample, output in found}.values())
        if len(distinct) >= SAMPLES:
            break
    if len(distinct) == 1:
        distinct = found[:1] * SAMPLES
    elif len(distinct) == 2:
        distinct = [distinct[0], *distinct]
    chosen = distinct[:SAMPLES]
    return Samples(inputs=tuple(sample for sample, _ in chosen), outputs=tuple(output for _, output in chosen))


def _bytes(graph: QGraph, names: Sequence[str], values: Mapping[str, Array]) -> list[bytes]:
    """Per sample, the arrays of that name as the C stores them."""
    count = len(values[names[0]])
    arrays = [np.asarray(values[name]).astype(DTYPE[graph.types[name].dtype]) for name in names]
    return [b"".join(array[row].tobytes() for array in arrays) for row in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    folder: Path
    mode: Mode
    job: Mapping[str, Any]
    seed: int
    jobs: int
    limit: int | None
    show: Progress
    begun: float

    def report(self, survived: Sequence[int]) -> PowerReport:
        """The whole run."""
        self.show("an uninterrupted run", 0.0)
        hazard = None
        try:
            with Process(self.job) as process:
                survey = process.ask({"do": "survey"})
                if self.mode == "exhaustive":
                    hazard = process.ask({"do": "hazard"})
        except Wrong as error:
            return self._finished({"failures": 1, "first": (None, str(error))}, [])
        except Crashed as error:
            return self._finished({"failures": 1, "first": (None, f"without a cut: {error}")}, [])
        notes = [] if survey["distinct"] else ["all results are equal: that an earlier one stays was not checked"]
        tasks = list(self._tasks(survey, survived, notes))
        total = _no_cuts()
        # In the tasks' order, so that the first failure is the same in every run.
        results = work_through(self.job, tasks, self.jobs, lambda share: self.show(f"cuts, {self.mode}", share))
        for task, result in zip(tasks, results, strict=True):
            name = survey["scenarios"][task["scenario"]]["name"]
            _add(total, result, name)
        if total["known"]:
            notes.append(
                f"{total['known']:,} of the cuts leave memory that another one leaves too, and were not repeated"
            )
        if hazard is not None and hazard["found"]:
            total["failures"] += 1
            places, reason = total["first"] or (None, "")
            total["first"] = (places, "; ".join(filter(None, (reason, self._hazard(hazard)))))
        return self._finished(total, notes)

    def _tasks(self, survey: Mapping[str, Any], survived: Sequence[int], notes: list[str]) -> Iterator[dict[str, Any]]:
        scenarios = survey["scenarios"]
        if self.mode == "linear":
            yield {"do": "linear", "scenario": 0}
            return
        if self.mode == "replay":
            for number in range(len(scenarios)):
                yield {"do": "replay", "scenario": number, "survived": list(survived)}
            return
        limit, seconds = self.limit, None
        places = [
            (s, k, n)
            for s, one in enumerate(scenarios)
            for k, cuts in enumerate(one["stretches"])
            for n in range(*cuts)
        ]
        if self.mode == "depth2":
            pairs = sum((stop - start) ** 2 for one in scenarios for start, stop in one["stretches"])
            if limit is None and pairs * survey["nv_bytes"] > ALL_PAIRS_BYTES:
                limit = SAMPLED_PAIRS
            if limit is not None and pairs > limit:
                seconds, limit = SECONDS, max(1, limit // SECONDS)
            else:
                limit = None
        picked = None
        if limit is not None and limit < len(places):
            picked = random.Random(self.seed).sample(places, limit)
            notes.append(
                f"a seeded sample of {limit:,} of {len(places):,} cuts"
                + (f", {seconds} second ones each" if seconds else "")
            )
            places = sorted(picked)
        yield from _batches(self.mode, places, picked is not None, seconds)

    def _hazard(self, found: Mapping[str, Any]) -> str:
        if found["layer"] is None:
            return f"write-after-read between two commits at {found['place']}"
        names = re.findall(r"^ +fm_layer_(\w+),$", (self.folder / "model.c").read_text(encoding="utf-8"), re.MULTILINE)
        return f"write-after-read in layer {names[found['layer']]}, region {found['region']}, at {found['place']}"

    def _finished(self, total: Mapping[str, Any], notes: Sequence[str]) -> PowerReport:
        survived, reason = total.get("first") or (None, None)
        return PowerReport(
            mode=self.mode,
            on="host",
            cuts=total.get("cuts", 0),
            failures=total["failures"],
            boots_max=total.get("boots_max", 1),
            wall_s=time.monotonic() - self.begun,
            replay=replay_string(survived) if survived else None,
            reason=reason,
            notes=tuple(notes),
        )


def _no_cuts() -> dict[str, Any]:
    return {"cuts": 0, "known": 0, "failures": 0, "boots_max": 1, "first": None}


def _add(total: dict[str, Any], part: Mapping[str, Any], scenario: str) -> None:
    for name in ("cuts", "known", "failures"):
        total[name] += part[name]
    total["boots_max"] = max(total["boots_max"], part["boots_max"])
    if total["first"] is None and part["first"] is not None:
        survived, reason = part["first"]
        total["first"] = (survived, f"{scenario}: {reason}")


def _batches(
    mode: Mode, places: Sequence[tuple[int, int, int]], sampled: bool, seconds: int | None
) -> Iterator[dict[str, Any]]:
    """Neighbouring stretches of one scenario together, until they make a task."""
    by_stretch: dict[tuple[int, int], list[int]] = {}
    for scenario, stretch, n in places:
        by_stretch.setdefault((scenario, stretch), []).append(n)
    batch: list[tuple[int, int]] = []
    cuts = 0
    for key in (*sorted(by_stretch), None):
        if batch and (key is None or key[0] != batch[0][0] or key[1] != batch[-1][1] + 1 or cuts >= BATCH_CUTS):
            scenario = batch[0][0]
            picks = {str(k): by_stretch[scenario, k] for _, k in batch} if sampled else None
            yield {
                "do": mode, "scenario": scenario, "stretches": (batch[0][1], batch[-1][1] + 1), "picks": picks,
                "seconds": seconds,
            }  # fmt: skip
            batch, cuts = [], 0
        if key is not None:
            batch.append(key)
            cuts += len(by_stretch[key])
