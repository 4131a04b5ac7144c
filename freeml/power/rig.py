"""A firmware on a simulated board whose non-volatile memory can be set: what the power-failure harness works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from freeml.artifact import Artifact, flashed_image, load
from freeml.codegen.lower import result_layout
from freeml.errors import FreemlError
from freeml.ir.graph import QGraph
from freeml.ir.types import ITEM_BYTES
from freeml.plan.memory import arena_alignment, plan_memory
from freeml.sim.board import PROGRESS_RESULT, PROGRESS_VALID, open_machine
from freeml.sim.image import read_image
from freeml.sim.machine import NvWrite, StopReason
from freeml.targets import Board
from freeml.targets import get as get_board

POISON = 0xA5
"""What SRAM and the registers that a reset leaves undefined hold in every byte."""

GENERAL_REGISTERS = range(4, 16)
"""Of an MSP430: all but program counter, stack pointer, status register and constant generator."""

STATUS_OK = 0x4F4B
"""FM_STATUS_OK of firmware/device/fm_board.h: every output byte is as the test vectors say."""

CURSOR = 0x3FFF
"""Bits of the word of progress (firmware/common/fm_run.h)."""

COMMIT_TAIL = 100
"""Instructions from the return of fm_progress_store to the copy of the word in SRAM, and some more."""

GOLDEN_LIMIT = 4_000_000_000
"""Instructions after which an uninterrupted run is taken to hang."""


class PowerError(FreemlError):
    """The harness cannot be used on this folder, or not in this way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is cut: an image, its board, the bytes of the arena and of a result, and where in a result outputs lie,
    (offset, size) each."""

    elf: Path
    board: str
    arena_bytes: int
    result_bytes: int
    outputs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The uninterrupted run from reset to the verdict.

    `before` is the persistent data as flashed, `writes` what is written there, (offset, bytes) in order, and `times`
    when, in the machine's time. `commits` are the numbers of writes after which a commit is done, `returns` where the
    commits' calls return to. `result` holds the outputs' bytes.
    """

    before: bytes
    writes: tuple[tuple[int, bytes], ...]
    times: tuple[int, ...]
    commits: tuple[int, ...]
    returns: frozenset[int]
    instructions: int
    result: bytes


def subject_of(graph: QGraph, board: Board, elf: Path) -> Subject:
    """An image of a net."""
    offsets, result_bytes = result_layout(graph, board)
    outputs = tuple(
        (offsets[name], graph.types[name].size * ITEM_BYTES[graph.types[name].dtype]) for name in graph.outputs
    )
    arena_bytes = plan_memory(graph, arena_alignment(board)).arena_bytes
    return Subject(
        elf=elf, board=board.name, arena_bytes=arena_bytes, result_bytes=result_bytes, outputs=outputs
    )  # fmt: skip


def open_folder(folder: Path) -> tuple[Artifact, Subject]:
    """The image of a compiled folder. Raises ArtifactError, and PowerError where its program has nothing to run."""
    artifact = load(folder)
    if not artifact.report["bytes"]["vectors"]:
        raise PowerError(
            f"{folder}: expected a self-test program with a test vector, found one without, for want of room; "
            "use a smaller net, or --on host"
        )
    return artifact, subject_of(artifact.graph, artifact.board, flashed_image(folder))


@runtime_checkable
class Watching(Protocol):
    """A machine that can watch non-volatile memory for being read and later written."""

    def watch(self, address: int, size: int) -> None:
        """Begin, or end with a size of 0."""

    @property
    def hazard(self) -> tuple[int, int, int] | None:
        """Bytes, and of the first its address and the instruction that wrote; None when there were none."""


@runtime_checkable
class Settable(Protocol):
    """A machine whose registers a debugger sets: one that has them at zero after a reset, as no chip promises."""

    def set_register(self, number: int, value: int) -> None:
        """Cut to what the register holds."""


class Rig:
    """One machine with one firmware. Offsets are within its persistent data, the linker scripts' section .fm_nv."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.board = get_board(subject.board)
        self.image = read_image(subject.elf, self.board)
        self.machine = open_machine(self.board, self.image)
        self.nv_start = self.image.symbol("fm_nv_start")
        self.nv_bytes = self.image.symbol("fm_nv_end") - self.nv_start
        self.halt = self.image.symbol("fm_board_halt")
        self._status = self.image.symbol("fm_board_status")
        self._progress = self.image.symbol("fm_progress_now")
        self._results = self.image.symbol("fm_results")
        self._stack_limit = self.image.symbol("fm_stack_limit")

    def start(self, nv: bytes | None = None, *, poison: int = POISON) -> None:
        """A reset with this in the persistent data; newly flashed without."""
        if nv is None:
            self.machine.power_on(sram=poison)
        else:
            self.machine.write(self.nv_start, nv)
            self.machine.power_on(keep_nv=True, sram=poison)
        if isinstance(self.machine, Settable):
            for number in GENERAL_REGISTERS:
                self.machine.set_register(number, poison * 0x01010101)
        self.machine.take_output()

    def nv(self) -> bytes:
        """The persistent data."""
        return self.machine.read(self.nv_start, self.nv_bytes)

    def ended(self, reason: StopReason) -> bool:
        """Whether a run that stopped for this reason came to the verdict: nothing is left to do but to wait."""
        return reason in ("input", "ended") or self.machine.pc == self.halt

    @property
    def word(self) -> int:
        """The word of progress as the firmware has it."""
        return int.from_bytes(self.machine.read(self._progress, 2), "little")

    def committed(self) -> int:
        """The word just committed, where a commit's call returns: the few instructions until the firmware has it too
        are executed, since no two commits in a row are of the same word."""
        before = self.word
        for _ in range(COMMIT_TAIL):
            self.machine.run(max_instructions=1)
            if self.word != before:
                return self.word
        raise PowerError(f"{self.subject.elf}: expected a commit to change the word of progress, found it unchanged")

    def result(self) -> bytes | None:
        """The outputs' bytes where the user finds them, one after the other; None where there is no result."""
        word = self.word
        if not word & PROGRESS_VALID:
            return None
        start = self._results + (self.subject.result_bytes if word & PROGRESS_RESULT else 0)
        return b"".join(self.machine.read(start + offset, size) for offset, size in self.subject.outputs)

    @property
    def status(self) -> int:
        """What the firmware reported of itself."""
        return int.from_bytes(self.machine.read(self._status, 2), "little")

    def place(self) -> str:
        """Where the machine is, in words."""
        return f"{self.image.function_at(self.machine.pc) or 'no known function'} ({self.machine.pc:#x})"

    def forget_stack(self) -> None:
        """Overwrite what lies beyond the end of the stack: nobody may rely on what calls left behind there."""
        size = self.machine.sp - self._stack_limit
        if size > 0:
            self.machine.write(self._stack_limit, b"\x5a" * size)

    def code_intact(self) -> bool:
        """Whether everything outside the persistent data is as it was flashed."""
        persistent = range(self.nv_start, self.nv_start + self.nv_bytes)
        return all(
            self.machine.read(s.address, len(s.data)) == s.data
            for s in self.image.segments
            if s.address not in persistent
        )

    def placed(self, log: Sequence[NvWrite]) -> tuple[tuple[int, bytes], ...]:
        """Writes by offset. Raises PowerError for one outside the persistent data."""
        found = []
        for write in log:
            offset = write.address - self.nv_start
            if offset < 0 or offset + len(write.data) > self.nv_bytes:
                place = self.image.function_at(write.pc) or hex(write.pc)
                raise PowerError(f"{place} writes to {write.address:#x}, which is outside the persistent data")
            found.append((offset, write.data))
        return tuple(found)

    def golden(self) -> Golden:
        """Run without a cut. Raises PowerError where the firmware's own verdict is not that all is well."""
        machine = self.machine
        store = self.image.symbol("fm_progress_store")
        self.start()
        before = self.nv()
        machine.log_nv(True)
        returns: set[int] = set()
        commits = []
        while True:
            reason = machine.run(stops={store, self.halt, *returns}, max_instructions=GOLDEN_LIMIT)
            if reason == "instructions":
                raise PowerError(f"{self.subject.elf}: an uninterrupted run hangs in {self.place()}")
            if self.ended(reason):
                break
            if machine.pc == store:
                returns.add(machine.return_address())
            else:
                commits.append(machine.counts().nv_writes)
        log = machine.nv_log()
        machine.log_nv(False)
        result = self.result()
        if self.status != STATUS_OK or result is None or self.word & CURSOR:
            raise PowerError(
                f"{self.subject.elf}: expected the answer of the integer reference without any cut, found status "
                f"{self.status:#06x}; compile the model anew"
            )
        return Golden(
            before=before,
            writes=self.placed(log),
            times=tuple(write.time for write in log),
            commits=tuple(commits),
            returns=frozenset(returns),
            instructions=machine.counts().instructions,
            result=result,
        )

    def boundaries(self, golden: Golden) -> list[int]:
        """For each number of writes, none to all, the instruction boundaries of the uninterrupted run that have seen so
        many. The sum is one more than its instructions; a class inside an instruction has no boundary."""
        machine = self.machine
        self.start()
        found = []
        begun = 0
        for number, time in enumerate(golden.times):
            while (counts := machine.counts()).nv_writes <= number:
                left = time - (counts.instructions if counts.cycles is None else counts.cycles)
                if left < 1:
                    machine.run(max_instructions=1)
                elif counts.cycles is None:
                    machine.run(max_instructions=left)
                else:
                    machine.run(max_cycles=left)
            found.append(counts.instructions - begun)
            begun = counts.instructions
        return [*found, golden.instructions - begun + 1]

    def hazards(self, golden: Golden) -> str | None:
        """Whether the uninterrupted run reads a byte of the arena and writes it later, before the next commit: then a
        region is not the same when it runs again, even where no cut shows it. Where the simulator can tell; a board
        that copies its arena to non-volatile memory reads none of it back but at boot."""
        machine = self.machine
        if not isinstance(machine, Watching):
            return None
        arena = self.image.symbol("fm_arena")
        self.start()
        try:
            while True:
                machine.watch(arena, self.subject.arena_bytes)
                reason = machine.run(stops={*golden.returns, self.halt}, max_instructions=GOLDEN_LIMIT)
                if machine.hazard is not None:
                    number, address, pc = machine.hazard
                    place = self.image.function_at(pc) or "no known function"
                    return (
                        f"{place} at {pc:#x} writes byte {address - arena} of the arena ({address:#x}), which was read "
                        f"since the last commit; {number} bytes in all"
                    )
                if self.ended(reason):
                    return None
        finally:
            machine.watch(arena, 0)
