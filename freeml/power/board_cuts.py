"""The work that provers do in parallel: cuts of the uninterrupted run, cuts while one is recovered from, every
instruction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from freeml.power.prover import OTHER_POISONS, Cut, Failure, Prover, after, digest, images, spoilt
from freeml.power.result import ReplayError
from freeml.power.rig import Rig

Path = tuple[Cut, ...]
"""Cuts of one boot after the other."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What some cuts showed: how many images were booted, and the failures. `more` are names of images that one cut
    more leaves and a single one does not, with the cuts that do; `pairs` is how many such cuts were looked at."""

    cuts: int = 0
    pairs: int = 0
    failures: list[Failure] = field(default_factory=list)
    more: dict[bytes, Path] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        """Both together."""
        self.cuts += other.cuts
        self.pairs += other.pairs
        self.failures += other.failures
        for name, path in other.more.items():
            self.more.setdefault(name, path)


def one_cut(prover: Prover, cuts: Sequence[Cut]) -> Found:
    """Boot what these cuts leave; what a commit leaves with more than one kind of rubbish in SRAM."""
    found = Found()
    settled = {0, *prover.golden.commits}
    for cut, image in prover.left_by(cuts):
        poisons = OTHER_POISONS if cut.spoil is None and cut.survived in settled else ()
        reason = prover.boot(image)
        for poison in poisons:
            reason = reason or prover.boot(image, poison=poison)
        found.cuts += 1
        if reason is not None:
            found.failures.append(Failure(survived=(cut.survived,), reason=reason + cut.words))
    return found


def recovery(prover: Prover, cuts: Sequence[Cut]) -> Found:
    """The same with a look at what a second cut leaves, anywhere in the boots after these."""
    found = Found()
    for cut, image in prover.left_by(cuts):
        _look_beyond(prover, (cut,), image, found)
    return found


def further_cuts(prover: Prover, paths: Sequence[Path]) -> Found:
    """Boot what cuts during recoveries leave, and look at what one more does. Every path has two cuts or more."""
    found = Found()
    by_boot: dict[Path, list[Cut]] = {}
    for path in paths:
        by_boot.setdefault(path[:-1], []).append(path[-1])
    for boot, cuts in by_boot.items():
        for cut, image in _left(prover, boot, cuts):
            _look_beyond(prover, (*boot, cut), image, found)
    return found


def _look_beyond(prover: Prover, path: Path, image: bytes, found: Found) -> None:
    reason, writes = prover.logged(image)
    found.cuts += 1
    if reason is not None:
        words = "".join(cut.words for cut in path)
        found.failures.append(Failure(survived=tuple(cut.survived for cut in path), reason=reason + words))
        return
    last = image
    for cut, left in images(image, writes, spoils=prover.spoils, seed=prover.seed):
        found.pairs += 1
        if left is last:
            continue
        last = left
        name = digest(left)
        if name not in prover.classes:
            found.more.setdefault(name, (*path, cut))


def _left(prover: Prover, boot: Path, cuts: Sequence[Cut]) -> Iterator[tuple[Cut, bytes]]:
    """The images of cuts in the boot after those of `boot`."""
    image = prover.golden.before
    for cut in boot:
        image = cut_image(prover, image, cut)
    writes = prover.first_writes(image, 1 + max(cut.survived for cut in cuts))
    wanted = set(cuts)
    for cut, left in images(image, writes, spoils=prover.spoils, seed=prover.seed):
        if cut in wanted:
            yield cut, left


def cut_image(prover: Prover, image: bytes, cut: Cut) -> bytes:
    """What a boot with this image leaves when it is cut. Raises ReplayError where it ends before that."""
    writes = prover.first_writes(image, cut.survived + 1)
    if cut.survived + (cut.spoil is not None) > len(writes):
        raise ReplayError(
            f"--mode replay: expected boots that write more than {cut.survived} times, found one that comes to its "
            f"verdict after {len(writes)}"
        )
    left = after(image, writes[: cut.survived])
    return left if cut.spoil is None else spoilt(left, writes[cut.survived], cut.spoil, prover.seed)


def every_instruction(prover: Prover, boundaries: Sequence[int]) -> Found:
    """A reboot at each of these instruction boundaries of the uninterrupted run, with what is really there then."""
    found = Found()
    stepper = Rig(prover.rig.subject)
    stepper.start()
    done = 0
    for boundary in boundaries:
        if boundary > done:
            stepper.machine.run(max_instructions=boundary - done)
            done = boundary
        image = stepper.nv()
        reason = prover.boot(image)
        if digest(image) not in prover.classes:
            reason = "non-volatile memory holds what the log of writes does not lead to"
        found.cuts += 1
        if reason is not None:
            survived = stepper.machine.counts().nv_writes
            found.failures.append(Failure(survived=(survived,), reason=f"{reason}, cut after {boundary} instructions"))
    return found
