"""One cut at a time: boot with what it left in non-volatile memory, and find out whether the answer is still right.

Why this is a proof and not a sample. A power failure leaves nothing but the non-volatile memory: a reset sets registers
and devices, and SRAM holds rubbish (here one byte everywhere; after each commit other bytes are tried too). So what
happens after a cut is a function of the bytes in non-volatile memory alone, and all instruction boundaries between two
writes to it are one case: the image that the first of these writes left. One reboot for each image covers every
boundary of the run, and images inside an instruction that writes twice besides.

Neither does a reboot have to run to its end. A simulator is deterministic: two machines in the same state do the same
for ever. The state - all memory, all registers, all devices, with counters left out and times as what is left of them -
is compared where a commit is done, as a hash of at least 128 bits. When it is one from which an earlier boot was
followed to the right verdict, this boot comes to the right verdict. When it is not, the boot goes on, to the verdict if
need be, and its own states join the known ones. What lies beyond the end of the stack is overwritten there in every
boot, since it differs with the path taken and no correct program reads it; one that did would run into that byte.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from freeml.power.rig import CURSOR, POISON, STATUS_OK, Golden, PowerError, Rig, Subject
from freeml.sim.machine import MachineFaultError

OTHER_POISONS = (0x00, 0xFF)
"""Tried besides, on the image after each commit."""

PATIENCE = 4
"""A boot is taken to hang after so many times the instructions of the uninterrupted run, and a million."""

SPOIL_WORDS = ("0x00", "0xFF", "rubbish", "new bytes and then old ones", "bits of both")
SPOILS = len(SPOIL_WORDS)
"""What a granule of MRAM may hold whose programming was cut, besides the old and the new."""

Write = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut before write number `survived` of the run (so many were done), that write's granule left as it was, or
    spoilt in one of `SPOILS` ways."""

    survived: int
    spoil: int | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Cuts are made in this order."""
        return self.survived, -1 if self.spoil is None else self.spoil

    @property
    def words(self) -> str:
        """What `survived` alone does not say."""
        return "" if self.spoil is None else f", the granule then written holding {SPOIL_WORDS[self.spoil]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The writes that each boot survived, and what was wrong in the last."""

    survived: tuple[int, ...]
    reason: str


def digest(image: bytes | bytearray) -> bytes:
    """A name for an image."""
    return hashlib.blake2b(image, digest_size=16).digest()


def after(image: bytes, writes: Sequence[Write]) -> bytes:
    """The image with writes done."""
    changed = bytearray(image)
    for offset, data in writes:
        changed[offset : offset + len(data)] = data
    return bytes(changed)


def spoilt(image: bytes, write: Write, spoil: int, seed: int) -> bytes:
    """The image with the granule of `write` spoilt. The same granule always gets the same rubbish, so that images that
    are alike in all that matters are the same."""
    offset, data = write
    old = image[offset : offset + len(data)]
    rubbish = random.Random(f"{seed} {offset}").randbytes(len(data))
    half = len(data) // 2
    held = (
        bytes(len(data)),
        b"\xff" * len(data),
        rubbish,
        data[:half] + old[half:],
        bytes(o & ~r | n & r for o, n, r in zip(old, data, rubbish, strict=True)),
    )[spoil]
    return image[:offset] + held + image[offset + len(data) :]


def images(
    before: bytes, writes: Sequence[Write], *, spoils: bool, seed: int, first: int = 0
) -> Iterator[tuple[Cut, bytes]]:
    """What a cut anywhere in a run of these writes leaves, in order of the cut; from that before write `first` on. A
    write that changes nothing leaves the very object that was there before."""
    image = after(before, writes[:first])
    for survived, (offset, data) in enumerate([*writes[first:], (0, b"")], start=first):
        yield Cut(survived), image
        if spoils and data:
            for spoil in range(SPOILS):
                yield Cut(survived, spoil), spoilt(image, (offset, data), spoil, seed)
        if image[offset : offset + len(data)] != data:
            image = image[:offset] + data + image[offset + len(data) :]


class Prover:
    """Boots images. What is known of one image makes the next quicker."""

    def __init__(self, subject: Subject, golden: Golden, seed: int) -> None:
        self.rig = Rig(subject)
        self.golden = golden
        self.seed = seed
        self.spoils = self.rig.board.nv_kind == "mram"
        self._stops = {*golden.returns, self.rig.halt}
        self._limit = PATIENCE * golden.instructions + 1_000_000
        self._right: set[bytes] = set()

    @cached_property
    def classes(self) -> dict[bytes, Cut]:
        """Every image that one cut of the uninterrupted run leaves, by name, with the first cut that does."""
        found: dict[bytes, Cut] = {}
        for cut, image in images(self.golden.before, self.golden.writes, spoils=self.spoils, seed=self.seed):
            found.setdefault(digest(image), cut)
        return found

    def left_by(self, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, bytes]]:
        """The images of these cuts of the uninterrupted run, which are in ascending order."""
        wanted = set(cuts)
        first, last = cuts[0].survived, cuts[-1].survived
        writes = self.golden.writes[: last + 1]
        for cut, image in images(self.golden.before, writes, spoils=self.spoils, seed=self.seed, first=first):
            if cut in wanted:
                yield cut, image

    def boot(self, image: bytes, *, poison: int = POISON) -> str | None:
        """Boot with this image; what is wrong then, or None."""
        try:
            self.rig.start(image, poison=poison)
            reason = self._follow()
        except MachineFaultError as error:
            reason = str(error)
        if reason is not None:
            self._flash()
        return reason

    def logged(self, image: bytes) -> tuple[str | None, tuple[Write, ...]]:
        """The same, and what was written until the boot was known to end well."""
        machine = self.rig.machine
        machine.log_nv(True)
        reason = self.boot(image)
        log = machine.nv_log()
        machine.log_nv(False)
        try:
            return reason, self.rig.placed(log)
        except PowerError as error:
            return reason or str(error), ()

    def first_writes(self, image: bytes, count: int) -> tuple[Write, ...]:
        """The first writes of a boot with this image, at least so many; fewer when it comes to its verdict, or goes
        wrong, before."""
        machine = self.rig.machine
        self.rig.start(image)
        machine.log_nv(True)
        try:
            while machine.counts().nv_writes < count:
                reason = machine.run(stops=self._stops, max_instructions=self._limit)
                if reason == "instructions" or self.rig.ended(reason):
                    break
        except MachineFaultError:
            self._flash()
        log = machine.nv_log()
        machine.log_nv(False)
        return self.rig.placed(log)

    def _flash(self) -> None:
        """The machine as new: what a boot that went wrong left, code included, is not to be trusted."""
        self.rig.start()

    def _follow(self) -> str | None:
        rig, machine = self.rig, self.rig.machine
        passed: list[bytes] = []
        while True:
            reason = machine.run(stops=self._stops, max_instructions=self._limit)
            if reason == "instructions":
                return f"the firmware hangs in {rig.place()}"
            if rig.ended(reason):
                break
            rig.forget_stack()
            state = machine.fingerprint()
            if state in self._right:
                self._right.update(passed)
                return None
            wrong = self._wrong_answer()
            if wrong is not None:
                return f"after a commit in {rig.place()}, {wrong}"
            passed.append(state)
        wrong = self._wrong_end()
        if wrong is None:
            self._right.update(passed)
        return wrong

    def _wrong_answer(self) -> str | None:
        """All answers are those to the same input, so whatever is held out for one must be right at any time."""
        result = self.rig.result()
        if result is None or result == self.golden.result:
            return None
        wrong = sum(a != b for a, b in zip(result, self.golden.result, strict=True))
        return f"{wrong} of {len(result)} bytes of the answer are wrong"

    def _wrong_end(self) -> str | None:
        rig = self.rig
        if rig.status != STATUS_OK:
            return f"the firmware's own verdict is {rig.status:#06x}, and {STATUS_OK:#06x} would be right"
        wrong = self._wrong_answer()
        if wrong is not None:
            return wrong
        if rig.result() is None or rig.word & CURSOR:
            return "there is no answer after the verdict"
        if not rig.code_intact():
            return "the firmware wrote over itself"
        return None
