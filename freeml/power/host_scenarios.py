"""What goes on while the power fails, and what a program may see after each boot.

A scenario is an image of non-volatile memory and the program of `fm_model.h`, which captures a sample, the wanted one,
and runs it to its end. Only the standard library is used.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from freeml.power.host_library import (
    EARLIER,
    ENDED,
    FAULT,
    FAULTS,
    GIVEN_UP,
    NEVER,
    SHOWS_NONE,
    SHOWS_OTHER,
    SPOILT,
    WANTED,
    Boot,
    Machine,
    Write,
)

RUNAWAY = 64
"""Times what an uninterrupted run does: a run that does more counts as endless."""

SHOWN = {
    EARLIER: "the earlier result",
    GIVEN_UP: "the result of the inference that was given up",
    WANTED: "the new result",
    SHOWS_NONE: "no result",
    SHOWS_OTHER: "a result that no inference gives",
}


class WrongError(Exception):
    """A run that no power failure cut is wrong already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`image` is non-volatile memory at first. `pending` says whether an inference (of sample GIVEN_UP) is under way in
    it, which the first boot gives up; `shows` is the result in it. Cuts are tried up to commit number `commits`, None:
    everywhere.
    """

    name: str
    image: bytes
    pending: bool = False
    shows: int = SHOWS_NONE
    commits: int | None = None


class Expected(NamedTuple):
    """What a boot may see: pairs of whether an inference is pending and which result is shown; and the sample of which
    a pending inference is."""

    seen: frozenset[tuple[bool, int]]
    resumes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The uninterrupted run of a scenario: every granule that it writes, and how many before each commit."""

    scenario: Scenario
    boot: Boot
    log: ctypes.Array[Write]
    commits: tuple[int, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """Where the stretches end that are cut, in granules written: at commits, and at the end of the run."""
        ends = (*self.commits, self.boot.written)
        return ends if self.scenario.commits is None else ends[: self.scenario.commits]

    def stretch(self, number: int) -> range:
        """The cuts of a stretch: after so many granules. The last one of a run includes the cut after all of them."""
        last = number == len(self.commits)
        return range(self.ends[number - 1] if number else 0, self.ends[number] + last)


class Judge:
    """Compares what was seen with what may be. Samples whose results are equal are taken for one."""

    def __init__(self, machine: Machine, outputs: Sequence[bytes]) -> None:
        self._machine = machine
        last = {output: k for k, output in enumerate(outputs)}
        self._same = {k: last[output] for k, output in enumerate(outputs)}

    @property
    def distinct(self) -> bool:
        """Whether the wanted result can be told from the others."""
        return self._same[EARLIER] != WANTED and self._same[GIVEN_UP] != WANTED

    def is_of(self, boot: Boot, sample: int) -> bool:
        """Whether a boot has ended with the result of a sample."""
        return boot.outcome == ENDED and self._same.get(boot.shows_at_end) == self._same[sample]

    def is_wanted(self, boot: Boot) -> bool:
        """Whether it has ended with the wanted one."""
        return self.is_of(boot, WANTED)

    def fault(self, boot: Boot) -> str:
        """A fault in words."""
        where = f" at {self._machine.place(boot.fault_address)}" if boot.fault_address else ""
        return f"{FAULTS[boot.fault]}{where}, after {boot.written:,} granules and {boot.commits} commits of a boot"

    def objection(self, boot: Boot, expected: Expected) -> str | None:
        """What is wrong with a boot, or None. One that was cut, or agreed with a state, is right so far."""
        if boot.booted and (boot.pending, boot.shows) not in expected.seen:
            found = (boot.pending, self._same.get(boot.shows, boot.shows))
            if found not in {(pending, self._same.get(shows, shows)) for pending, shows in expected.seen}:
                may = " or ".join(sorted(_seen(*pair) for pair in expected.seen))
                return f"after fm_boot: expected {may}; found {_seen(boot.pending, boot.shows)}"
        if boot.outcome == FAULT:
            return self.fault(boot)
        if boot.outcome == ENDED:
            due = expected.resumes if boot.pending and not boot.captured else WANTED
            if self._same.get(boot.shows_at_end) != self._same[due]:
                return f"at the end: expected {SHOWN[due]}, found {SHOWN[boot.shows_at_end]}"
        return None


def _seen(pending: bool, shows: int) -> str:
    return f"{'an' if pending else 'no'} inference pending and {SHOWN[shows]}"


def expected_at_first(scenario: Scenario) -> Expected:
    """What the first boot sees."""
    return Expected(frozenset({(scenario.pending, scenario.shows)}), GIVEN_UP)


def expected_after(boot: Boot, expected: Expected, survived: int, spoil: int) -> Expected:
    """What the boot after `boot` may see when the power failed after `survived` granules of that one, which itself was
    to see `expected`. A spoilt granule may count as written or not."""
    if not boot.booted:
        return expected
    begun = survived + (spoil in SPOILT)
    before = (boot.pending, boot.shows)
    if not boot.captured:
        after = (False, expected.resumes) if boot.pending else before
        return Expected(frozenset({after} if survived >= boot.at_end else {before, after}), expected.resumes)
    if survived >= boot.at_started:
        after = (False, WANTED)
        return Expected(frozenset({after} if survived >= boot.at_end else {(True, boot.shows), after}), WANTED)
    if begun > boot.at_start:
        return Expected(frozenset({(True, boot.shows), (False, boot.shows)}), WANTED)
    if survived >= boot.at_input:
        return Expected(frozenset({(False, boot.shows)}), WANTED)
    return Expected(frozenset({before, (False, boot.shows)} if begun else {before}), expected.resumes)


def golden(machine: Machine, judge: Judge, scenario: Scenario) -> Golden:
    """Run a scenario with no cut, and set the fuel that its other runs get. Raises WrongError."""
    machine.set_fuel()
    boot = _uncut(machine, judge, scenario)
    log, commits = (Write * (boot.written + 1))(), (ctypes.c_uint64 * (boot.commits + 1))()
    machine.set_log(log, commits)
    again = _uncut(machine, judge, scenario)
    machine.set_log(None)
    if again != boot:
        raise WrongError(f"{scenario.name}: two runs from the same memory differ")
    machine.set_fuel(RUNAWAY * boot.spent + 100_000)
    return Golden(scenario=scenario, boot=boot, log=log, commits=tuple(commits[: boot.commits]))


def _uncut(machine: Machine, judge: Judge, scenario: Scenario) -> Boot:
    boot = machine.boot(scenario.image, force=True)
    wrong = judge.objection(boot, expected_at_first(scenario))
    if wrong is not None:
        raise WrongError(f"{scenario.name}, without a cut: {wrong}")
    return boot


def scenarios(machine: Machine, other: Machine, judge: Judge, seed: int) -> Iterator[Scenario]:
    """All scenarios, in the order in which they are tried. `other` is another copy of the product: another owner of
    what is in non-volatile memory. Raises WrongError where an image cannot be made."""
    chance = random.Random(seed)
    garbage, foreign = chance.randbytes(machine.nv_size), chance.randbytes(other.nv_size)
    if judge.distinct:
        earlier = _after(machine, judge, garbage, EARLIER)
        yield Scenario(name="after an earlier inference", image=earlier, shows=EARLIER)
        places = _commits(machine, earlier)
        regions = max(0, len(places) - 2)
        for done in sorted({0, regions // 2, regions}):
            machine.boot(earlier, capture=GIVEN_UP, force=True, survive=places[done] if places else 0)
            yield Scenario(
                name=f"giving up an inference after {done} of its {regions} regions",
                image=machine.nv(), pending=True, shows=EARLIER, commits=3,
            )  # fmt: skip
    foreign = _after(other, judge, foreign, EARLIER)
    places = _commits(other, foreign)
    other.boot(foreign, capture=GIVEN_UP, force=True, survive=places[len(places) // 2] if places else 0)
    stranger, half = other.nv(), machine.nv_size // 2
    for name, image in (
        ("memory of garbage", garbage),
        ("memory of zeros", bytes(machine.nv_size)),
        ("erased memory", b"\xff" * machine.nv_size),
        ("another model's inference under way", stranger),
        ("another model's memory, erased from the start to the middle", b"\xff" * half + stranger[half:]),
        ("another model's memory, erased from the middle to the end", stranger[:half].ljust(len(stranger), b"\xff")),
    ):
        only = not judge.distinct and image is garbage
        yield Scenario(name=name, image=image, commits=None if only else 2)


def _after(machine: Machine, judge: Judge, image: bytes, sample: int) -> bytes:
    """Memory after an inference of a sample."""
    boot = machine.boot(image, capture=sample, force=True)
    if not judge.is_of(boot, sample):
        found = judge.fault(boot) if boot.outcome == FAULT else SHOWN[boot.shows_at_end]
        raise WrongError(f"an inference without a cut: expected the result of its input, found {found}")
    return machine.nv()


def _commits(machine: Machine, image: bytes) -> tuple[int, ...]:
    """Granules written before each commit of an inference of sample GIVEN_UP."""
    boot = machine.boot(image, capture=GIVEN_UP, force=True)
    places = (ctypes.c_uint64 * (boot.commits + 1))(*[NEVER] * (boot.commits + 1))
    machine.set_log(None, places)
    boot = machine.boot(image, capture=GIVEN_UP, force=True)
    machine.set_log(None)
    return tuple(places[: boot.commits])
