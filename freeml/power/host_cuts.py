"""Cutting the power: everywhere, twice, ever later, and as a string says.

Why this is a proof. A boot depends on non-volatile memory alone, for everything else is filled with the same rubbish
first. So a cut after n granules is tried exactly by booting from the image that the first n writes of the
uninterrupted run leave: image n. Images are grouped by stretch, from one commit to the next. The first of a stretch, G,
holds what the commit left. From G the product is booted and run to its very end, and judged; at its first commit its
whole state is recorded: non-volatile memory, variables, stack frames and the registers that a called function
preserves. Every other image of the stretch is booted and run until its state after a commit equals the recorded one,
byte for byte; from there on a machine can but do what it did from G, and that is known to be right. A run whose state
never equals is not given up but runs to its end too, and is judged there.

Where a second cut follows (`depth2`), the images are those that the writes of a recovery leave. Nearly all of them
are images that a first cut leaves, since a recovery writes what was to be written anyway; those are not tried again.

Only the standard library is used.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from freeml.power.host_library import AGREED, DESCENDING, ENDED, OLD, SPOILT, Machine, Write, spoilt
from freeml.power.host_scenarios import Expected, Golden, Judge, expected_after, expected_at_first

Image = ctypes.Array[ctypes.c_char]

ATOMIC_BYTES = 2
"""Granules of this size are old or new after a cut, larger ones may hold anything."""

MOST_RESULTS = 3
"""Boots without a cut by which the wanted result must be there: the first may end another inference."""


@dataclass(slots=True)
class Tally:
    """What a part of a run found: `known` are cuts whose image was tried before, `first` is the first failure: granules
    that each boot survived, and what is wrong."""

    cuts: int = 0
    boots: int = 0
    known: int = 0
    failures: int = 0
    boots_max: int = 1
    first: tuple[list[int], str] | None = None

    def add(self, survived: Sequence[int], wrong: str | None, boots: int) -> None:
        """Count a cut, or several in a row, with the boots that came after them."""
        self.cuts += 1
        self.boots += boots
        self.boots_max = max(self.boots_max, len(survived) + boots)
        if wrong is not None:
            self.failures += 1
            if self.first is None:
                self.first = (list(survived), wrong)


Announce = Callable[[Sequence[int]], None]
"""Told where the power is cut next, in case that the product takes this process with it."""


@dataclass(slots=True)
class Cutter:
    """Tries cuts of one scenario on a machine. `random` seeds what a granule cut short may hold."""

    machine: Machine
    judge: Judge
    golden: Golden
    random: int = 1
    announce: Announce = field(default=lambda _: None)

    def exhaustive(self, number: int, picks: Sequence[int] | None = None) -> Tally:
        """All cuts of a stretch, or its first and those picked."""
        tally, start = Tally(), self.golden.stretch(number).start
        for image, n, kind in self.first_cuts(number, picks):
            self.announce([n])
            tally.add([n], *self._recover(image, self._after_first(n, kind), record=n == start and kind == OLD))
        return tally

    def depth2(self, number: int, picks: Sequence[int] | None = None, seconds: int | None = None) -> Tally:
        """A second cut after every write of the recovery from each cut of a stretch, or after so many of them."""
        tally = Tally()
        tried = {(hash(image.raw), self._after_first(n, kind)) for image, n, kind in self.first_cuts(number, None)}
        log = (Write * (2 * self.golden.boot.written + 4096))()
        chance = random.Random(self.random * 1_000_003 + number)
        start = self.golden.stretch(number).start
        for image, n, kind in self.first_cuts(number, picks):
            self.announce([n])
            expected = self._after_first(n, kind)
            if n == start and kind == OLD:
                self._recover(image, expected, record=True)
            self.machine.set_log(log)
            boot = self.machine.boot(image, compare=True)
            self.machine.set_log(None)
            wrong = self.judge.objection(boot, expected)
            if wrong is not None:
                tally.add([n], wrong, 1)
                continue
            places: Sequence[int] = range(boot.written)
            if seconds is not None and seconds < len(places):
                places = sorted(chance.sample(places, seconds))
            for second, m, again in self._images(image, log, 0, places, boot.written):
                then = expected_after(boot, expected, m, again)
                key = (hash(second.raw), then)
                if key in tried:
                    tally.cuts += 1
                    tally.known += 1
                    tally.boots_max = max(tally.boots_max, 3)  # two that were cut, and one that goes on
                    continue
                tried.add(key)
                self.announce([n, m])
                tally.add([n, m], *self._recover(second, then))
        return tally

    def linear(self) -> Tally:
        """Each boot survives one granule more than the last, until the wanted result is there.

        A boot that survives the longest stretch comes to a commit, so there cannot be more boots than that stretch has
        granules and the run has stretches.
        """
        tally, survived = Tally(), list[int]()
        stretches = [len(self.golden.stretch(number)) for number in range(len(self.golden.ends))]
        most = max(stretches) + len(stretches) + 1
        expected, image = expected_at_first(self.golden.scenario), self.golden.scenario.image
        for n in range(most):
            self.announce([*survived, n])
            boot = self.machine.boot(None if n else image, survive=n, force=not n)
            wrong = self.judge.objection(boot, expected)
            if wrong is not None:
                tally.failures, tally.first = 1, (survived, wrong)
            if wrong is not None or self.judge.is_wanted(boot):
                break
            survived.append(n)
            expected = expected_after(boot, expected, n, OLD)
        else:
            wrong = f"no progress: after {most:,} boots, each a granule longer than the last, the result is not there"
            tally.failures, tally.first = 1, (survived, wrong)
        tally.cuts, tally.boots, tally.boots_max = len(survived), len(survived) + 1, len(survived) + 1
        return tally

    def replay(self, survived: Sequence[int]) -> Tally:
        """The cuts that a string tells, with each content that an interrupted granule can have, until one fails."""
        tally = Tally()
        kinds = (OLD, *SPOILT) if self.machine.granule > ATOMIC_BYTES else (OLD, DESCENDING)
        for spoils in product(kinds, repeat=len(survived)):
            self.announce(survived)
            wrong, boots = self._replayed(survived, spoils)
            tally.add(survived, wrong, max(1, boots - len(survived)))
            if wrong is not None:
                break
        return tally

    def _replayed(self, survived: Sequence[int], spoils: Sequence[int]) -> tuple[str | None, int]:
        expected, image = expected_at_first(self.golden.scenario), self.golden.scenario.image
        boots = 0
        for n, spoil in zip(survived, spoils, strict=True):
            boot = self.machine.boot(
                None if boots else image, survive=n, spoil=spoil, random=self.random, force=not boots
            )
            boots += 1
            wrong = self.judge.objection(boot, expected)
            if wrong is not None or boot.outcome == ENDED:
                return wrong, boots
            expected = expected_after(boot, expected, n, spoil)
        wrong, more = self._recover(None, expected)
        return wrong, boots + more

    def _after_first(self, n: int, spoil: int) -> Expected:
        return expected_after(self.golden.boot, expected_at_first(self.golden.scenario), n, spoil)

    def _recover(self, image: Image | None, expected: Expected, *, record: bool = False) -> tuple[str | None, int]:
        """Boot from an image, or the memory as it is, with no further cut: what is wrong, and the boots it took."""
        boot = self.machine.boot(image, compare=image is not None and not record, record=record)
        for boots in range(1, MOST_RESULTS):
            wrong = self.judge.objection(boot, expected)
            if wrong is not None or boot.outcome == AGREED or self.judge.is_wanted(boot):
                return wrong, boots
            expected = Expected(frozenset({(False, boot.shows_at_end)}), expected.resumes)
            boot = self.machine.boot(None)
        return "the wanted result does not come", MOST_RESULTS

    def first_cuts(self, number: int, picks: Sequence[int] | None) -> Iterator[tuple[Image, int, int]]:
        """Images of a stretch: its first, then all or those picked."""
        golden, stretch = self.golden, self.golden.stretch(number)
        image = ctypes.create_string_buffer(golden.scenario.image, self.machine.nv_size)
        self.machine.apply(image, golden.log, 0, stretch.start)
        self.machine.forget_state()
        places = stretch if picks is None else sorted({stretch.start, *picks})
        return self._images(image, golden.log, stretch.start, places, golden.boot.written)

    def _images(
        self, base: Image, log: ctypes.Array[Write], start: int, places: Iterable[int], written: int
    ) -> Iterator[tuple[Image, int, int]]:
        """What cuts leave after `places` of the `written` granules of a log: the image, the place, and what is left of
        the granule at the cut. `base` holds the first `start` granules. The same buffer comes each time."""
        machine, size = self.machine, self.machine.granule
        image = ctypes.create_string_buffer(base.raw, machine.nv_size)
        floor, reached = ctypes.create_string_buffer(base.raw, machine.nv_size), start  # ahead of a store that is wide
        done = start
        for n in places:
            machine.apply(image, log, done, n)
            done = n
            yield image, n, OLD
            if n >= written:
                continue
            entry = log[n]
            if size > ATOMIC_BYTES:
                place, new = ctypes.byref(image, entry.at), bytes(entry.bytes[:size])
                old = ctypes.string_at(place, size)
                for kind in SPOILT:
                    ctypes.memmove(place, spoilt(kind, self.random, old, new), size)
                    yield image, n, kind
                ctypes.memmove(place, old, size)
            elif entry.part:
                first = n - entry.part
                machine.apply(floor, log, reached, first)
                reached = first
                torn = ctypes.create_string_buffer(floor.raw, machine.nv_size)
                machine.apply(torn, log, first + entry.parts - entry.part, first + entry.parts)
                yield torn, n, DESCENDING
