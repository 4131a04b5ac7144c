"""What every board simulator offers: a board as a debugger sees it.

The simulators run a firmware's ELF image unchanged. Everything else (a net on chosen inputs, a profile by layer,
power failures) is built on this interface and knows no board.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from freeml.errors import FreemlError
from freeml.sim.image import Image
from freeml.targets import Board

StopReason = Literal["breakpoint", "instructions", "cycles", "input", "ended"]
"""Why a run ended: the next instruction is at a breakpoint; a limit was reached; the program waits for console input
that nobody has fed; the processor sleeps and nothing will wake it."""


class MachineFaultError(FreemlError):
    """The firmware did what the board would not survive: the message names the function, the address and the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What some stretch of execution cost. `cycles` is None where the simulator counts instructions only.

    `nv_writes` are writes to non-volatile memory as it takes them: a store to FRAM of whatever width, by the processor
    or a DMA channel, or 16 bytes of MRAM that were programmed.
    """

    instructions: int
    cycles: int | None
    nv_writes: int
    nv_reads: int | None = None
    """Reads of non-volatile memory that its cache did not hold (fetches included), where this is modelled."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            instructions=self.instructions + other.instructions,
            cycles=None if self.cycles is None or other.cycles is None else self.cycles + other.cycles,
            nv_writes=self.nv_writes + other.nv_writes,
            nv_reads=None if self.nv_reads is None or other.nv_reads is None else self.nv_reads + other.nv_reads,
        )

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(
            instructions=self.instructions - earlier.instructions,
            cycles=None if self.cycles is None or earlier.cycles is None else self.cycles - earlier.cycles,
            nv_writes=self.nv_writes - earlier.nv_writes,
            nv_reads=None if self.nv_reads is None or earlier.nv_reads is None else self.nv_reads - earlier.nv_reads,
        )


def energy_nj(board: Board, counts: Counts) -> float:
    """Energy of a stretch of execution, estimated with the board's constants (`Board.energy`)."""
    energy = board.energy
    cycles = (
        counts.cycles if counts.cycles is not None else counts.instructions * (energy.cycles_per_instruction or 1.0)
    )
    accesses = (counts.nv_reads or 0) * energy.nj_per_nv_read + counts.nv_writes * energy.nj_per_nv_write
    return cycles * energy.nj_per_cycle + accesses


@dataclass(frozen=True, slots=True, kw_only=True)
class NvWrite:
    """One write to non-volatile memory: when (cycles, or instructions where cycles are not counted), by which
    instruction, where, and the bytes that it put there."""

    time: int
    pc: int
    address: int
    data: bytes


class Snapshot(Protocol):
    """The whole state of a machine, opaque; belongs to the machine that took it."""


class Machine(Protocol):
    """One board with one firmware. Addresses are byte addresses. Not thread-safe; deterministic."""

    @property
    def board(self) -> Board:
        """What is simulated."""

    @property
    def image(self) -> Image:
        """What was flashed."""

    @property
    def pc(self) -> int:
        """Address of the next instruction."""

    @property
    def sp(self) -> int:
        """Stack pointer."""

    def power_on(self, *, keep_nv: bool = False, sram: int = 0xA5) -> None:
        """Start from reset: SRAM filled with the byte `sram`, counters at zero; the image flashed anew, or, with
        `keep_nv`, non-volatile memory as it is."""

    def run(
        self, *, stops: Collection[int] = (), max_instructions: int | None = None, max_cycles: int | None = None
    ) -> StopReason:
        """Execute until the next instruction is in `stops`, or a limit is passed. At least one instruction is
        executed, so that a run may start at a breakpoint. Raises MachineFaultError."""

    def counts(self) -> Counts:
        """Totals since the machine was powered on."""

    def read(self, address: int, size: int) -> bytes:
        """Memory as a debugger reads it: without side effects. Raises ValueError outside the memory map."""

    def write(self, address: int, data: bytes) -> None:
        """The same for writing; not counted or logged as the firmware's doing."""

    def return_address(self) -> int:
        """Where the function returns to at whose first instruction the machine is."""

    def snapshot(self) -> Snapshot:
        """The state at this point: memory, registers, devices, counters."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this machine."""

    def fingerprint(self) -> bytes:
        """A hash of all that decides what the machine will do from here on: memory, registers, devices, no counters.
        Of two machines with the same image and the same fingerprint, the one does what the other does."""

    def take_output(self) -> bytes:
        """What the firmware wrote to the console since the last call."""

    def feed(self, data: bytes) -> None:
        """Append to what the console will bring to the firmware."""

    def log_nv(self, enabled: bool) -> None:
        """Begin (emptying the log) or stop to log writes to non-volatile memory."""

    def nv_log(self) -> tuple[NvWrite, ...]:
        """The log."""

    def profile(self, enabled: bool) -> None:
        """Begin (from zero) or stop to count by function."""

    def by_function(self) -> Mapping[str, Counts]:
        """Costs of a function's own instructions (callees not included) since `profile(True)`; what belongs to no
        known function is under an empty name."""
