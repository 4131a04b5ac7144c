"""The process in which a product runs whose power fails: nothing that it does can harm whoever asked.

It reads one JSON object a line: first what to load, then tasks; each is answered by a line. Standard library only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from freeml.power.host_cuts import Cutter, Tally
from freeml.power.host_library import FAULT, HAZARD, Machine, Section
from freeml.power.host_scenarios import Golden, Judge, WrongError, golden, scenarios


class Worker:
    """A machine and its scenarios. `careful`: say where the power is cut before it is."""

    def __init__(self, job: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
        sections = [Section(**section) for section in job["sections"]]
        inputs = [bytes.fromhex(text) for text in job["inputs"]]
        outputs = [bytes.fromhex(text) for text in job["outputs"]]
        self.machine = Machine(Path(job["library"]), sections, inputs, outputs)
        other = Machine(Path(job["other"]), sections, inputs, outputs)
        self._judge = Judge(self.machine, outputs)
        self._seed = int(job["seed"])
        self.machine.set_poison(self._seed % 255 ^ 0xA5)
        self._say = say if job["careful"] else None
        self._golden: dict[int, Golden] = {}
        self._scenarios = list(scenarios(self.machine, other, self._judge, self._seed))

    def survey(self) -> dict[str, Any]:
        """What there is to cut."""
        found = [self.cutter(number).golden for number in range(len(self._scenarios))]
        return {
            "scenarios": [
                {
                    "name": one.scenario.name,
                    "stretches": [(cuts.start, cuts.stop) for cuts in map(one.stretch, range(len(one.ends)))],
                }
                for one in found
            ],
            "distinct": self._judge.distinct,
            "granule": self.machine.granule,
            "nv_bytes": self.machine.nv_size,
        }

    def hazard(self) -> dict[str, Any]:
        """The first write-after-read of an uninterrupted run of the first scenario, if there is one."""
        golden = self.cutter(0).golden
        boot = self.machine.boot(golden.scenario.image, force=True, shadow=True)
        if boot.outcome != FAULT or boot.fault != HAZARD:
            return {"found": False}
        # The first commit is that of the inputs.
        where = [(layer, region) for layer, count in enumerate(self.machine.regions) for region in range(count)]
        done = boot.commits - 1
        layer, region = where[done] if 0 <= done < len(where) else (None, None)
        return {"found": True, "place": self.machine.place(boot.fault_address), "layer": layer, "region": region}

    def cut(self, task: dict[str, Any]) -> dict[str, Any]:
        """A part of a mode, in one scenario."""
        cutter = self.cutter(task["scenario"])
        do, picks = task["do"], task.get("picks")
        if do == "linear":
            tally = cutter.linear()
        elif do == "replay":
            tally = cutter.replay(task["survived"])
        elif do == "depth2":
            tally = _sum(cutter.depth2(k, _of(picks, k), task["seconds"]) for k in range(*task["stretches"]))
        else:
            tally = _sum(cutter.exhaustive(k, _of(picks, k)) for k in range(*task["stretches"]))
        return {
            "cuts": tally.cuts, "boots": tally.boots, "known": tally.known, "failures": tally.failures,
            "boots_max": tally.boots_max, "first": tally.first,
        }  # fmt: skip

    def cutter(self, number: int) -> Cutter:
        """For a scenario. Raises WrongError when it goes wrong with no cut."""
        found = self._golden.get(number)
        if found is None:
            found = golden(self.machine, self._judge, self._scenarios[number])
            self._golden = {0: self._golden[0]} if 0 in self._golden else {}  # others are seldom asked for twice
            self._golden[number] = found
        return Cutter(self.machine, self._judge, found, self._seed + 1, self._announce)

    def _announce(self, survived: Sequence[int]) -> None:
        if self._say is not None:
            self._say({"at": list(survived)})


def _of(picks: dict[str, list[int]] | None, stretch: int) -> list[int] | None:
    return None if picks is None else picks.get(str(stretch), [])


def _sum(parts: Any) -> Tally:  # noqa: ANN401 - an iterable of Tally
    total = Tally()
    for part in parts:
        total.cuts += part.cuts
        total.boots += part.boots
        total.known += part.known
        total.failures += part.failures
        total.boots_max = max(total.boots_max, part.boots_max)
        total.first = total.first or part.first
    return total


def main() -> None:
    """Answer until standard input ends."""

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), flush=True)

    worker: Worker | None = None
    for line in sys.stdin:
        task = json.loads(line)
        try:
            if task["do"] == "load":
                worker = Worker(task, say)
                say({"done": {}})
                continue
            assert worker is not None
            simple = {"survey": worker.survey, "hazard": worker.hazard}.get(task["do"])
            say({"done": simple() if simple else worker.cut(task)})
        except WrongError as error:
            say({"wrong": str(error)})
