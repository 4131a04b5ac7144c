"""Executing cases on the project's simulator and by p-code, and saying where two outcomes differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freeml.sim.msp430.machine import Msp430Machine

from .batch import START, WILD, Outcome, bare_image, end, image, outcome, stray_writes
from .encode import ADDRESS_MASK, PC
from .generate import FALL_THROUGH, TARGET, Case
from .pcode import NotModelledError, Processor, UndecodableError

_INSTRUCTIONS_PER_CASE = 16


class SimulatorError(Exception):
    """Our simulator did not come to the end of the image, or wrote where no case's data lie."""


def execute_ours(cases: Sequence[Case]) -> Outcome:
    """What the project's simulator makes of the cases, run as one program. Raises SimulatorError."""
    machine = Msp430Machine.bare(flat=True)
    memory = image(cases)
    machine.write(0, bytes(memory))
    machine.set_register(PC, START)
    reason = machine.run(stops={end(cases)}, max_instructions=_INSTRUCTIONS_PER_CASE * len(cases))
    if reason != "breakpoint":
        raise SimulatorError(f"the run ended at {machine.pc:#x} with {reason}")
    after = outcome(cases, machine.read(0, len(memory)))
    if stray := stray_writes(cases, memory, after):
        raise SimulatorError(f"bytes were written outside the cases' data: {[hex(address) for address in stray[:8]]}")
    return after


def execute_pcode(cases: Sequence[Case]) -> Outcome:
    """What p-code makes of the cases; one that it cannot execute ends WILD."""
    memory = bare_image(cases)
    size = len(memory)
    memory.extend(bytes(ADDRESS_MASK + 1 - size))
    processor = Processor(memory)
    registers = np.zeros((len(cases), 16), dtype=np.uint32)
    for index, case in enumerate(cases):
        for number in range(1, 16):
            processor.set_register(number, case.registers[number])
        processor.pc = case.address
        try:
            processor.step()
        except (NotModelledError, UndecodableError):
            registers[index, PC] = WILD
            continue
        registers[index, 1:] = [processor.register(number) for number in range(1, 16)]
        if processor.pc == case.address + len(case.code):
            registers[index, PC] = FALL_THROUGH
        else:
            registers[index, PC] = TARGET if processor.pc == case.target else WILD
    return Outcome(registers=registers, memory=np.frombuffer(bytes(memory[:size]), dtype=np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two outcomes of one case differ: bits of registers (R0: the end), bits of the slot's bytes."""

    registers: tuple[int, ...]
    data: bytes

    def __bool__(self) -> bool:
        return any(self.registers) or any(self.data)


def difference(case: Case, index: int, left: Outcome, right: Outcome) -> Difference:
    registers = left.registers[index] ^ right.registers[index]
    registers[3] = 0  # reads as a constant, whatever was written
    data = bytes(a ^ b for a, b in zip(left.data(case), right.data(case), strict=True))
    return Difference(
        registers=tuple(int(bits) & (0xFFFF if n == PC else ADDRESS_MASK) for n, bits in enumerate(registers)),
        data=data,
    )


def differing(cases: Sequence[Case], left: Outcome, right: Outcome) -> dict[int, Difference]:
    """Differences by index of the case; equal cases are left out."""
    masked = np.ones(16, dtype=bool)
    masked[3] = False
    suspects = set(np.flatnonzero((left.registers != right.registers)[:, masked].any(axis=1)).tolist())
    unequal = np.flatnonzero(left.memory[:START] != right.memory[:START])
    if len(unequal):
        starts = np.array([case.slot for case in cases])
        order = np.argsort(starts)
        positions = np.searchsorted(starts[order], unequal, side="right") - 1
        for position, address in zip(positions.tolist(), unequal.tolist(), strict=True):
            index = int(order[position])
            if position >= 0 and address < cases[index].slot + len(cases[index].data):
                suspects.add(index)
    found = {index: difference(cases[index], index, left, right) for index in sorted(suspects)}
    return {index: bits for index, bits in found.items() if bits}
