"""Running a firmware for the MSP430 on its simulator, for tests that ask what it says and not how long it takes."""

from __future__ import annotations

from pathlib import Path

from freeml.sim.image import read_image
from freeml.sim.msp430 import Msp430Machine
from freeml.targets import get

STACK_END = 0x3C00
UNTOUCHED = 0xA5


def load(elf: Path) -> Msp430Machine:
    return Msp430Machine(read_image(elf, get("msp430")))


def finish(machine: Msp430Machine, limit: int = 30_000_000) -> Msp430Machine:
    """Until the CPU switches itself off, or waits for a character that nobody will send."""
    assert machine.run(max_instructions=limit) in ("ended", "input")
    return machine


def stack_used(machine: Msp430Machine) -> int:
    """Bytes from the deepest one that was ever written."""
    limit = machine.image.symbol("fm_stack_limit")
    stack = machine.read(limit, STACK_END - limit)
    return len(stack.lstrip(bytes([UNTOUCHED])))
