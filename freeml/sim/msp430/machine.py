"""The MSP430FR5994 as a machine of `freeml.sim.machine`: buffers, snapshots, logs, profiles around the core."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from freeml.sim.image import Image
from freeml.sim.machine import Counts, MachineFaultError, NvWrite, Snapshot, StopReason
from freeml.sim.msp430.faults import describe
from freeml.sim.msp430.layout import BREAK_INPUT, BREAK_STOP, NOT_YET, STOPS, Core, LogEntry, ProfileEntry, State
from freeml.sim.msp430.library import load_library
from freeml.targets import Board
from freeml.targets import get as get_board

_LOG_ENTRIES = 65536
_OUTPUT_BYTES = 65536
_ERASED = 0xFF
"""What flashing leaves in non-volatile memory that the image does not fill."""

_INFO = (0x1800, 0x1A00)
_MAIN = (0x4000, 0x44000)
_READABLE = ((0x000A, 0x0020), (0x0100, 0x0340), (0x1800, 0x1B00), (0x1C00, 0x3C00), _MAIN)
"""What a debugger may look at: memory, and registers that only store. First address and the one past the last."""

_WRITABLE = ((0x000A, 0x0020), (0x1800, 0x1B00), (0x1C00, 0x3C00), _MAIN)
_SP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """The core's state and memory, what waits at the console, and how long the log was."""

    owner: int
    core: bytes
    input: bytes
    output: bytes
    log_bytes: int


class Msp430Machine:
    """One board. See `freeml.sim.machine.Machine`; the methods that it does not have are for tests.

    Console: characters sent through eUSCI_A0 are the output; `feed` fills its receiver. A run stops with "input" at the
    first instruction of the function `fm_board_wait` while nothing is there to be received, and when the CPU sleeps
    until something is. It stops with "ended" when the CPU sleeps and nothing can wake it. Cycles go on while it sleeps.
    """

    def __init__(self, image: Image, *, flat: bool = False) -> None:
        self._library = load_library()
        self._image = image
        self._flat = flat
        memory_bytes = int(self._library.m430_memory_bytes(flat))
        self._store = mmap.mmap(-1, int(self._library.m430_core_bytes(flat)))
        self._core = Core.from_buffer(self._store)
        self._state = self._core.state
        self._at = ctypes.addressof(self._core)
        self._memory_at = self._at + ctypes.sizeof(Core)
        self._state_at = self._at + Core.state.offset
        self._snapshot_bytes = ctypes.sizeof(Core) - Core.state.offset + memory_bytes
        # Mapped rather than allocated: most of it is never touched.
        self._ops = mmap.mmap(-1, memory_bytes // 2 * int(self._library.m430_op_bytes()))
        self._code = (ctypes.c_uint8 * (memory_bytes // 8 + 1))()
        self._breaks = (ctypes.c_uint8 * (memory_bytes // 2))()
        self._output_buffer = (ctypes.c_uint8 * _OUTPUT_BYTES)()
        self._log_buffer = (LogEntry * _LOG_ENTRIES)()
        self._function_of: ctypes.Array[ctypes.c_uint16] | None = None
        self._profile = (ProfileEntry * (len(image.functions) + 1))()
        self._core.ops = ctypes.addressof(ctypes.c_uint8.from_buffer(self._ops))
        self._core.code = ctypes.addressof(self._code)
        self._core.breaks = ctypes.addressof(self._breaks)
        self._core.output = ctypes.addressof(self._output_buffer)
        self._core.output_capacity = _OUTPUT_BYTES
        self._core.log_capacity = _LOG_ENTRIES
        self._core.profile = ctypes.addressof(self._profile)
        self._library.m430_init(self._at, flat)
        self._stops: frozenset[int] = frozenset()
        self._input = b""
        self._output = b""
        self._log = bytearray()
        self._core.stack_limit = image.symbols.get("fm_stack_limit", 0)
        if "fm_board_wait" in image.symbols:
            self._library.m430_set_break(self._at, image.symbols["fm_board_wait"], BREAK_INPUT, 1)
        if not flat:
            self.power_on()

    @classmethod
    def bare(cls, *, flat: bool = False) -> Msp430Machine:
        """A machine without a program. `flat`: only a CPU, with 1 MB of plain memory and neither devices nor FRAM."""
        empty = Image(path=Path("bare"), entry=0, segments=(), functions=(), symbols={})
        return cls(empty, flat=flat)

    # --- the protocol -------------------------------------------------------------------------------------------------

    @property
    def board(self) -> Board:
        """What is simulated."""
        return get_board("msp430")

    @property
    def image(self) -> Image:
        """What was flashed."""
        return self._image

    @property
    def pc(self) -> int:
        """Address of the next instruction."""
        return int(self._state.r[0])

    @property
    def sp(self) -> int:
        """Stack pointer."""
        return int(self._state.r[_SP])

    def power_on(self, *, keep_nv: bool = False, sram: int = 0xA5) -> None:
        """Start from reset. What the image does not fill of newly flashed memory is 0xFF. Without `keep_nv` the console
        starts anew too; with it, unread input and untaken output stay."""
        self._drain()
        self._set_input(self._input[self._state.uart.rx_position :] if keep_nv else b"")
        if not keep_nv:
            self._output = b""
            for start, end in (_INFO, _MAIN):
                ctypes.memset(self._memory_at + start, _ERASED, end - start)
                self._library.m430_forget(self._at, start, end - start)
            for segment in self._image.segments:
                ctypes.memmove(self._memory_at + segment.address, segment.data, len(segment.data))
        self._library.m430_reset(self._at, sram)

    def run(
        self, *, stops: Collection[int] = (), max_instructions: int | None = None, max_cycles: int | None = None
    ) -> StopReason:
        """Execute until the next instruction is in `stops`, or a limit is reached. Raises MachineFaultError."""
        self._set_stops(frozenset(stops))
        state, run = self._state, self._library.m430_run
        begun = state.instructions
        instructions = NOT_YET if max_instructions is None else begun + max(1, max_instructions)
        cycles = NOT_YET if max_cycles is None else state.cycles + max(1, max_cycles)
        while True:
            reason = STOPS[run(self._at, instructions, cycles, state.instructions != begun)]
            if reason == "drain":
                self._drain()
                continue
            if reason == "fault":
                raise MachineFaultError(f"{self._place(self._core.pc)}: {describe(self._core)}")
            return reason  # type: ignore[return-value]

    def counts(self) -> Counts:
        """Totals since the machine was powered on."""
        state = self._state
        return Counts(
            instructions=state.instructions,
            cycles=state.cycles,
            nv_writes=state.nv_writes,
            nv_reads=state.nv_reads,
        )

    def read(self, address: int, size: int) -> bytes:
        """Memory, and registers that only store what is written to them. Raises ValueError for anything else."""
        self._require(address, size, _READABLE)
        return ctypes.string_at(self._memory_at + address, size)

    def write(self, address: int, data: bytes) -> None:
        """Memory, read-only memory included. Raises ValueError for anything else."""
        self._require(address, len(data), _WRITABLE)
        if data:
            ctypes.memmove(self._memory_at + address, data, len(data))
            self._library.m430_forget(self._at, address, len(data))

    def return_address(self) -> int:
        """Where the function returns to at whose first instruction the machine is: behind a CALL 16 bits of it are on
        the stack, behind a CALLA 20."""
        low, high = self._word(self.sp), self._word(self.sp + 2)
        far = low | (high & 0xF) << 16
        if high <= 0xF and far >= 4 and self._is_calla(far):
            return far
        return low

    def snapshot(self) -> Snapshot:
        """The state at this point."""
        self._drain()
        return _Snapshot(
            owner=id(self),
            core=ctypes.string_at(self._state_at, self._snapshot_bytes),
            input=self._input,
            output=self._output,
            log_bytes=len(self._log),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of this machine; writes logged since then leave the log, a profile goes on as it is.

        Raises ValueError for another machine's."""
        if not isinstance(snapshot, _Snapshot) or snapshot.owner != id(self):
            raise ValueError("expected a snapshot of this machine")
        saved = ctypes.cast(ctypes.c_char_p(snapshot.core), ctypes.c_void_p).value or 0
        self._library.m430_forget_changes(self._at, saved + ctypes.sizeof(State))
        ctypes.memmove(self._state_at, snapshot.core, self._snapshot_bytes)
        self._set_input(snapshot.input, rewind=False)
        self._output = snapshot.output
        del self._log[snapshot.log_bytes :]

    def fingerprint(self) -> bytes:
        """A hash of all that decides what the machine will do; 256 bits, in which a difference of one word always
        shows. The FRAM cache counts: waiting for it takes time."""
        sums = (ctypes.c_uint64 * 4)()
        self._library.m430_fingerprint(self._at, ctypes.addressof(sums))
        return bytes(sums)

    def take_output(self) -> bytes:
        """What the firmware wrote to the console since the last call."""
        self._drain()
        taken, self._output = self._output, b""
        return taken

    def feed(self, data: bytes) -> None:
        """Append to what the console will bring to the firmware."""
        self._set_input(self._input[self._state.uart.rx_position :] + data)

    def log_nv(self, enabled: bool) -> None:
        """Begin (emptying the log) or stop to log writes to FRAM, information memory included; times are cycles."""
        self._drain()
        if enabled:
            self._log.clear()
        self._core.log = ctypes.addressof(self._log_buffer) if enabled else None

    def nv_log(self) -> tuple[NvWrite, ...]:
        """The log. A 20-bit store is two writes."""
        self._drain()
        entries = (LogEntry * (len(self._log) // ctypes.sizeof(LogEntry))).from_buffer_copy(self._log)
        return tuple(
            NvWrite(time=e.cycle, pc=e.pc, address=e.address, data=int(e.value).to_bytes(e.bytes, "little"))
            for e in entries
        )

    def profile(self, enabled: bool) -> None:
        """Begin (from zero) or stop to count by function. What happens between two instructions (interrupt entry, DMA,
        sleep) counts for the function of the second."""
        if enabled:
            if self._function_of is None:
                self._function_of = self._map_functions()
                self._core.function_of = ctypes.addressof(self._function_of)
            ctypes.memset(ctypes.addressof(self._profile), 0, ctypes.sizeof(self._profile))
        self._core.profiling = enabled

    def by_function(self) -> Mapping[str, Counts]:
        """Costs of each function that ran; the same name twice (static functions) is one entry."""
        names = ("", *(function.name for function in self._image.functions))
        found: dict[str, Counts] = {}
        for name, entry in zip(names, self._profile, strict=True):
            if entry.cycles == 0 and entry.instructions == 0:
                continue
            earlier = found.get(name, Counts(instructions=0, cycles=0, nv_writes=0, nv_reads=0))
            found[name] = Counts(
                instructions=earlier.instructions + entry.instructions,
                cycles=(earlier.cycles or 0) + entry.cycles,
                nv_writes=earlier.nv_writes + entry.nv_writes,
                nv_reads=(earlier.nv_reads or 0) + entry.nv_reads,
            )
        return found

    # --- beyond the protocol ------------------------------------------------------------------------------------------

    @property
    def registers(self) -> tuple[int, ...]:
        """R0 (PC) to R15, 20 bits each; R3 is 0."""
        return tuple(self._state.r)

    def set_register(self, number: int, value: int) -> None:
        """Set one, cut to what it holds: PC and SP are even, SR has nine bits, R3 none."""
        mask = {0: 0xFFFFE, 1: 0xFFFFE, 2: 0x1FF, 3: 0}.get(number, 0xFFFFF)
        self._state.r[number] = value & mask

    @property
    def mclk_hz(self) -> int:
        """The frequency that the clock system is set to give the CPU, with the DCO's nominal values."""
        return int(self._state.clock.mclk_hz)

    @property
    def wait_states(self) -> int:
        """NWAITS of the FRAM controller."""
        return int(self._state.waits)

    def watch(self, address: int, size: int) -> None:
        """Begin to watch so many bytes of main FRAM for being read and later written, or end it with a size of 0.
        Accesses before count for nothing. The machine does the same meanwhile, only slower."""
        if size:
            self._require(address, size, (_MAIN,))
            self._watched = (ctypes.c_uint8 * size)()
            self._core.watched = ctypes.addressof(self._watched)
        self._library.m430_watch(self._at, address, size)

    @property
    def hazard(self) -> tuple[int, int, int] | None:
        """Since the watch began, of watched bytes that were written after having been read before any write: their
        number, and of the first its address and the instruction that wrote. None when there were none."""
        core = self._core
        return (core.hazards, core.hazard_address, core.hazard_pc) if core.hazards else None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _require(self, address: int, size: int, ranges: tuple[tuple[int, int], ...]) -> None:
        allowed = ((0, 0x100000),) if self._flat else ranges
        if size < 0 or not any(start <= address and address + size <= end for start, end in allowed):
            raise ValueError(f"{size} bytes at 0x{address:05x} are not within the memory of {self.board.title}")

    def _word(self, address: int) -> int:
        try:
            return int.from_bytes(self.read(address, 2), "little")
        except ValueError:
            return 0

    def _is_calla(self, after: int) -> bool:
        """Whether the instruction before `after` is a CALLA: of one word, or of two."""
        one, two = self._word(after - 2), self._word(after - 4)
        return one >> 4 in (0x134, 0x136, 0x137) or two >> 4 in (0x135, 0x138, 0x139, 0x13B)

    def _set_stops(self, stops: frozenset[int]) -> None:
        if stops != self._stops:
            for address in self._stops - stops:
                self._library.m430_set_break(self._at, address, BREAK_STOP, 0)
            for address in stops - self._stops:
                self._library.m430_set_break(self._at, address, BREAK_STOP, 1)
            self._stops = stops

    def _set_input(self, data: bytes, *, rewind: bool = True) -> None:
        self._input = data
        self._core.input = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        self._core.input_bytes = len(data)
        if rewind:
            self._state.uart.rx_position = 0

    def _drain(self) -> None:
        """Empty the core's buffers into ours."""
        state = self._state
        if state.output_used:
            self._output += ctypes.string_at(ctypes.addressof(self._output_buffer), state.output_used)
            state.output_used = 0
        if state.log_used:
            used = state.log_used * ctypes.sizeof(LogEntry)
            self._log += ctypes.string_at(ctypes.addressof(self._log_buffer), used)
            state.log_used = 0

    def _map_functions(self) -> ctypes.Array[ctypes.c_uint16]:
        table = (ctypes.c_uint16 * len(self._breaks))()
        for number, function in enumerate(self._image.functions, start=1):
            start, end = function.start // 2, min((function.end + 1) // 2, len(table))
            if start < end:
                table[start:end] = [number] * (end - start)
        return table

    def _place(self, address: int) -> str:
        """Function, offset and address, as in fm_infer+0x1c (0x4a2e)."""
        name = self._image.function_at(address)
        if name is None:
            return f"0x{address:05x}"
        return f"{name}+0x{address - self._image.symbols[name]:x} (0x{address:05x})"
