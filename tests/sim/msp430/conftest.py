"""A bare MSP430FR5994 and short programs for it."""

from __future__ import annotations

import pytest

from freeml.sim.msp430 import Msp430Machine

from .words import SP, pack

CODE = 0x4400
STACK = 0x3C00
RAM = 0x1C00


class Bench:
    """A machine without a firmware that runs what a test gives it."""

    def __init__(self) -> None:
        self.machine = Msp430Machine.bare()
        self.machine.set_register(SP, STACK)

    def load(self, *instructions, at=CODE):
        """Put a program into memory and the PC at its start; returns the address behind it."""
        data = pack(*instructions)
        self.machine.write(at, data)
        self.machine.set_register(0, at)
        return at + len(data)

    def run(self, *instructions, at=CODE, count=None):
        """Load a program and execute `count` instructions of it (by default one per argument). Returns the cycles."""
        self.load(*instructions, at=at)
        before = self.machine.counts()
        count = len(instructions) if count is None else count
        assert self.machine.run(max_instructions=count) == "instructions"
        used = self.machine.counts() - before
        assert used.instructions == count
        return used.cycles

    def __getitem__(self, register):
        return self.machine.registers[register]

    def __setitem__(self, register, value):
        self.machine.set_register(register, value)

    def word(self, address):
        return int.from_bytes(self.machine.read(address, 2), "little")

    def long(self, address):
        return int.from_bytes(self.machine.read(address, 4), "little")

    def put(self, address, *words):
        self.machine.write(address, b"".join((w & 0xFFFF).to_bytes(2, "little") for w in words))

    @property
    def flags(self):
        """The status bits as text, such as "CZ"."""
        return "".join(name for name, bit in (("C", 1), ("Z", 2), ("N", 4), ("V", 256)) if self[2] & bit)


@pytest.fixture
def bench():
    return Bench()
