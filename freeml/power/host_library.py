"""The harness of `firmware/power` in this process: boots a product whose power fails, and says what was seen.

Only the standard library is used, so that a process that runs nothing but this starts fast.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

EARLIER, GIVEN_UP, WANTED = 0, 1, 2
"""Samples: the one whose inference has ended before, one whose inference is given up, and the one that matters."""
SHOWS_NONE, SHOWS_OTHER = 100, 101

ENDED, CUT, AGREED, FAULT = range(4)
"""Outcomes of a boot."""

HAZARD = 7
"""A fault: a byte that is written after the same region has read it."""

OLD, ZEROS, ONES, RANDOM, FRONT, BACK, DESCENDING = range(7)
"""What is left of a granule that is being written when the power fails; see `fm_power_spoil`."""

SPOILT = (ZEROS, ONES, RANDOM, FRONT, BACK)
"""Those where writing has begun."""

NEVER = 2**64 - 1
STACK_BYTES = 256 * 1024
RANGES, REGISTERS, FRAMES = 16, 24, 8192
FUEL, FUEL_PER_BYTE = 2**24, 2**12
"""Far more than any net takes."""

FAULTS = (
    "no fault",
    "a store outside the product's memory",
    "a plain store to non-volatile memory that only fm_nv_write may write",
    "a store too wide to be torn",
    "fm_nv_write with a place or size that is no whole granule of non-volatile memory, or an odd source",
    "fm_output gives a pointer outside non-volatile memory, or some outputs and not others",
    "it does not come to an end",
    "write-after-read",
    "more writes than an uninterrupted run makes many times over",
)


class _Net(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "granule",
            "mirrored",
            "nv_size",
            "arena_at",
            "arena_size",
            "inputs_size",
            "outputs_size",
            "layers",
        )
    ]


class Write(ctypes.Structure):
    """struct fm_power_write: a granule as it was written."""

    at: int
    part: int
    parts: int
    bytes: ctypes.Array[ctypes.c_ubyte]
    _fields_ = [
        ("at", ctypes.c_uint32),
        ("part", ctypes.c_uint16),
        ("parts", ctypes.c_uint16),
        ("bytes", ctypes.c_ubyte * 16),
    ]


class _Range(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("size", ctypes.c_uint64), ("initial", ctypes.c_void_p)]


class _State(ctypes.Structure):
    _fields_ = [
        ("is_set", ctypes.c_uint64),
        ("registers", ctypes.c_uint64 * REGISTERS),
        ("frames_size", ctypes.c_uint64),
        ("frames", ctypes.c_ubyte * FRAMES),
        ("nv", ctypes.c_void_p),
        ("sram", ctypes.c_void_p),
    ]


class _Power(ctypes.Structure):
    _fields_ = [
        ("samples", ctypes.c_void_p * 3),
        ("expected", ctypes.c_void_p * 3),
        ("sram", _Range * RANGES),
        ("sram_count", ctypes.c_uint64),
        ("stack", ctypes.c_void_p),
        ("stack_size", ctypes.c_uint64),
        ("read_in", ctypes.c_void_p),
        ("written_in", ctypes.c_void_p),
        ("survive", ctypes.c_uint64),
        ("fuel", ctypes.c_uint64),
        ("spoil", ctypes.c_uint32),
        ("random", ctypes.c_uint32),
        ("capture", ctypes.c_uint32),
        ("force", ctypes.c_uint32),
        ("shadow", ctypes.c_uint32),
        ("poison", ctypes.c_uint32),
        ("compare", ctypes.c_uint32),
        ("record", ctypes.c_uint32),
        ("log", ctypes.c_void_p),
        ("log_size", ctypes.c_uint64),
        ("commits", ctypes.c_void_p),
        ("commits_size", ctypes.c_uint64),
        ("state", ctypes.c_void_p),
        ("written", ctypes.c_uint64),
        ("commit_count", ctypes.c_uint64),
        ("spent", ctypes.c_uint64),
        ("at_input", ctypes.c_uint64),
        ("at_start", ctypes.c_uint64),
        ("at_started", ctypes.c_uint64),
        ("at_end", ctypes.c_uint64),
        ("booted", ctypes.c_uint32),
        ("pending", ctypes.c_uint32),
        ("shows", ctypes.c_uint32),
        ("captured", ctypes.c_uint32),
        ("shows_at_end", ctypes.c_uint32),
        ("fault", ctypes.c_uint32),
        ("fault_address", ctypes.c_uint64),
    ]


def spoilt(kind: int, random: int, old: bytes, new: bytes) -> bytes:
    """What is left of a granule, as power.c does it."""
    size, half = len(old), len(old) // 2
    if kind == RANDOM:
        x, result = random | 1, bytearray()
        for _ in range(size):
            x ^= x << 13 & 0xFFFFFFFF
            x ^= x >> 17
            x ^= x << 5 & 0xFFFFFFFF
            result.append(x >> 11 & 0xFF)
        return bytes(result)
    return {
        OLD: old,
        ZEROS: bytes(size),
        ONES: b"\xff" * size,
        FRONT: new[:half] + old[half:],
        BACK: old[:half] + new[half:],
    }[kind]


class Boot(NamedTuple):
    """What one boot did. Places in time count the granules written so far; NEVER where it did not come to that.

    `shows` and `shows_at_end` are the sample whose result fm_output shows, after fm_boot (when `booted`) and at the
    end, or SHOWS_NONE or SHOWS_OTHER.
    """

    outcome: int
    booted: bool
    pending: bool
    shows: int
    shows_at_end: int
    captured: bool
    written: int
    commits: int
    at_input: int
    at_start: int
    at_started: int
    at_end: int
    spent: int
    fault: int
    fault_address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Volatile memory of the product: `offset` is from the symbol fm_power."""

    offset: int
    size: int
    initialised: bool


class Machine:
    """One loaded copy of a product. A second copy, from another file, is another model's firmware."""

    def __init__(
        self, path: Path, sections: Sequence[Section], inputs: Sequence[bytes], outputs: Sequence[bytes]
    ) -> None:
        library = ctypes.CDLL(str(path))
        library.fm_power_describe.restype = _Net
        library.fm_power_nv.restype = ctypes.c_void_p
        library.fm_power_layer_regions.restype = ctypes.c_uint64
        library.fm_power_apply.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
        self._library = library
        net = library.fm_power_describe()
        self.granule, self.nv_size, self.mirrored = int(net.granule), int(net.nv_size), bool(net.mirrored)
        self.arena_at, self.arena_size = int(net.arena_at), int(net.arena_size)
        self.regions = [int(library.fm_power_layer_regions(layer)) for layer in range(net.layers)]
        self._nv = int(library.fm_power_nv())
        self._power = _Power.in_dll(library, "fm_power")
        self._kept: list[Any] = []  # what the library points at must stay
        anchor = ctypes.addressof(self._power)
        if len(sections) > RANGES:
            raise ValueError(f"expected at most {RANGES} writable sections, found {len(sections)}")
        for number, section in enumerate(sections):
            start = anchor + section.offset
            initial = self._keep(ctypes.string_at(start, section.size)) if section.initialised else None
            self._power.sram[number] = _Range(start, section.size, initial)
        self._power.sram_count = len(sections)
        sram_size = sum(section.size for section in sections)
        for number, (sample, result) in enumerate(zip(inputs, outputs, strict=True)):
            if (len(sample), len(result)) != (net.inputs_size, net.outputs_size):
                raise ValueError(f"expected samples of {net.inputs_size} and {net.outputs_size} bytes")
            self._power.samples[number], self._power.expected[number] = self._keep(sample), self._keep(result)
        self._power.stack, self._power.stack_size = self._keep(bytes(STACK_BYTES + 16)), STACK_BYTES
        self._power.stack = -(-self._power.stack // 16) * 16
        self._power.read_in, self._power.written_in = (
            self._keep(bytes(4 * self.nv_size)),
            self._keep(bytes(4 * self.nv_size)),
        )
        self._state = _State(nv=self._keep(bytes(self.nv_size)), sram=self._keep(bytes(max(1, sram_size))))
        self._power.state = ctypes.addressof(self._state)
        self.set_fuel()
        self._power.poison = 0xA5

    def _keep(self, content: bytes) -> int:
        buffer = ctypes.create_string_buffer(content, max(1, len(content)))
        self._kept.append(buffer)
        return ctypes.addressof(buffer)

    def set_log(self, log: ctypes.Array[Write] | None, commits: ctypes.Array[ctypes.c_uint64] | None = None) -> None:
        """Where boots from now on note what they write, and how much before each commit; None: nowhere."""
        power = self._power
        power.log, power.log_size = (None, 0) if log is None else (ctypes.addressof(log), len(log))
        power.commits, power.commits_size = (None, 0) if commits is None else (ctypes.addressof(commits), len(commits))

    def set_fuel(self, fuel: int | None = None) -> None:
        """Stores and calls after which a boot counts as endless; None: where nothing is known of the net yet."""
        self._power.fuel = FUEL + FUEL_PER_BYTE * self.nv_size if fuel is None else fuel

    def set_poison(self, byte: int) -> None:
        """What volatile memory holds after a reset, beside initialised data."""
        self._power.poison = byte

    def forget_state(self) -> None:
        """There is no state to compare with."""
        self._state.is_set = 0

    def boot(
        self,
        image: bytes | ctypes.Array[ctypes.c_char] | None,
        *,
        survive: int = NEVER,
        spoil: int = OLD,
        random: int = 0,
        capture: int = WANTED,
        force: bool = False,
        shadow: bool = False,
        compare: bool = False,
        record: int = 0,
    ) -> Boot:
        """Reset and run, with `image` in non-volatile memory or, when None, what is there.

        The power fails when `survive` granules were written. With `compare` the run stops as AGREED where its whole
        state after a commit is the recorded one; `record` is the number of the commit, from 1, that is recorded.
        """
        power = self._power
        if image is not None:
            ctypes.memmove(self._nv, image, self.nv_size)
        power.survive, power.spoil, power.random = survive, spoil, random
        power.capture, power.force, power.shadow = capture, force, shadow
        power.compare, power.record = compare, record
        outcome = self._library.fm_power_boot()
        return Boot(
            outcome,
            bool(power.booted),
            bool(power.pending),
            power.shows,
            power.shows_at_end,
            bool(power.captured),
            power.written,
            power.commit_count,
            power.at_input,
            power.at_start,
            power.at_started,
            power.at_end,
            power.spent,
            power.fault,
            power.fault_address,
        )

    def nv(self) -> bytes:
        """Non-volatile memory as it is."""
        return ctypes.string_at(self._nv, self.nv_size)

    def apply(self, image: ctypes.Array[ctypes.c_char], log: ctypes.Array[Write], start: int, end: int) -> None:
        """Put granules [start, end) of a log into an image of non-volatile memory."""
        self._library.fm_power_apply(image, log, start, end)

    def place(self, address: int) -> str:
        """An address of non-volatile memory, or of the arena, in words."""
        offset = address - self._nv
        inside = offset - self.arena_at
        if 0 <= inside < self.arena_size:
            return f"byte {inside} of the {'copy of the ' if self.mirrored else ''}arena"
        return f"byte {offset} of non-volatile memory" if 0 <= offset < self.nv_size else f"address {address:#x}"
