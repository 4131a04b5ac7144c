"""The project's MSP430X simulator against two that know nothing of it: random instructions, one by one.

What the oracles get wrong is in `gdb_faults.py` and `pcode_faults.py`; everything else must be equal: registers, status
bits, where the program counter went, and every byte of memory.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from freeml.sim.msp430.machine import Msp430Machine

from . import gdbsim
from .batch import FIRST_BYTE, MEMORY_BYTES, START, Outcome, end, image, outcome, stray_writes
from .encode import DOUBLE, JUMPS, PC, SHIFTS, Mode, text
from .faults import Fault, excluded, unexplained
from .gdb_faults import GDB_FAULTS
from .generate import Case, batches
from .oracles import Difference, differing, execute_ours, execute_pcode
from .pcode import lift
from .pcode_faults import PCODE_FAULTS

SAMPLE_BATCHES = 5
NIGHTLY_INSTRUCTIONS = 1_000_000
SAMPLE_SEED, NIGHTLY_SEED = 1, 430

# MOV #0x5A80, &WDTCTL and MOVA #START, PC
_STOP_WATCHDOG = struct.pack("<5H", 0x40B2, 0x5A80, 0x015C, 0x0080 | START >> 16 << 8, START & 0xFFFF)

Execute = Callable[[Sequence[Case]], Outcome]


def report(case: Case, difference: Difference) -> str:
    registers = {f"R{n}": hex(bits) for n, bits in enumerate(difference.registers) if bits}
    before = " ".join(f"{value:x}" for value in case.registers)
    return (
        f"{text(case.instruction)} [{case.code.hex()}] at {case.address:#x}\n"
        f"  registers before: {before}\n  data before: {case.data.hex()} at {case.slot:#x}\n"
        f"  differing bits: {registers}, data {difference.data.hex()}"
    )


def disagreements(cases: Sequence[Case], execute: Execute, faults: Sequence[Fault]) -> tuple[int, list[str]]:
    """How many cases the oracle could be asked about, and those that differ beyond its faults."""
    asked = [case for case in cases if not excluded(case, faults)]
    found = differing(asked, execute_ours(asked), execute(asked))
    reports = [
        report(asked[index], difference)
        for index, difference in found.items()
        if unexplained(asked[index], difference, faults)
    ]
    return len(asked), reports


def compare(seed: int, instructions: int, execute: Execute, faults: Sequence[Fault]) -> None:
    compared = 0
    for cases in batches(seed):
        count, found = disagreements(cases, execute, faults)
        assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:5])
        compared += count
        if compared >= instructions:
            return


def test_sample_against_gdb(gdb_required: Path) -> None:
    compare(SAMPLE_SEED, SAMPLE_BATCHES * 1000, lambda cases: gdbsim.execute(gdb_required, cases), GDB_FAULTS)


def test_sample_against_pcode() -> None:
    compare(SAMPLE_SEED, SAMPLE_BATCHES * 1000, execute_pcode, PCODE_FAULTS)


@pytest.mark.nightly
def test_a_million_instructions_against_gdb(gdb_required: Path) -> None:
    compare(NIGHTLY_SEED, NIGHTLY_INSTRUCTIONS, lambda cases: gdbsim.execute(gdb_required, cases), GDB_FAULTS)


@pytest.mark.nightly
def test_a_million_instructions_against_pcode() -> None:
    compare(NIGHTLY_SEED, NIGHTLY_INSTRUCTIONS, execute_pcode, PCODE_FAULTS)


@pytest.fixture(scope="module")
def sample() -> list[Case]:
    return [case for cases in islice(batches(SAMPLE_SEED), SAMPLE_BATCHES) for case in cases]


def test_the_sample_holds_the_whole_instruction_set(sample: list[Case]) -> None:
    found = Counter((case.instruction.name, case.instruction.extended) for case in sample)
    for name in DOUBLE:
        assert found[name, False] > 20, name
        assert found[name, True] > 20, name
    for name in ("RRC", "RRA", "SWPB", "SXT", "PUSH"):
        assert found[name, False] > 20, name
        assert found[name, True] > 20, name
    for name in (*JUMPS, *SHIFTS, "PUSHM", "POPM", "CALL", "CALLA", "RETI", "MOVA", "ADDA", "SUBA", "CMPA"):
        assert found[name, False] > 5, name
    assert any(case.instruction.zero_carry for case in sample)
    assert any(case.instruction.repeat_register is not None for case in sample)
    assert any(case.instruction.repeat > 8 for case in sample)
    modes = Counter(case.instruction.source.mode for case in sample if case.instruction.source)
    assert all(modes[mode] > 100 for mode in Mode)


def test_the_board_executes_like_the_bare_processor(sample: list[Case]) -> None:
    """The same image in FRAM of the whole MSP430FR5994, behind an instruction that stops the watchdog."""
    cases = sample[:1500]
    memory = image(cases)
    memory[FIRST_BYTE : FIRST_BYTE + len(_STOP_WATCHDOG)] = _STOP_WATCHDOG
    machine = Msp430Machine.bare()
    machine.write(FIRST_BYTE, bytes(memory[FIRST_BYTE:]))
    machine.set_register(PC, FIRST_BYTE)
    assert machine.run(stops={end(cases)}, max_instructions=16 * len(cases)) == "breakpoint"
    board = outcome(cases, bytes(FIRST_BYTE) + machine.read(FIRST_BYTE, MEMORY_BYTES - FIRST_BYTE))
    assert differing(cases, execute_ours(cases), board) == {}
    assert stray_writes(cases, memory, board) == []


def test_no_case_is_lost_to_both_oracles(sample: list[Case]) -> None:
    """What neither can be asked about must be little: it is checked by the user guide's text alone."""
    lost = [case for case in sample if excluded(case, GDB_FAULTS) and excluded(case, PCODE_FAULTS)]
    assert len(lost) < len(sample) // 20
    assert sum(excluded(case, GDB_FAULTS) for case in sample) < len(sample) // 10
    assert sum(excluded(case, PCODE_FAULTS) for case in sample) < len(sample) // 6


def test_the_encoder_and_pcode_agree_on_lengths(sample: list[Case]) -> None:
    for case in sample[:3000]:
        assert lift(case.code.ljust(8, b"\0"), case.address).size == len(case.code), text(case.instruction)


def test_the_same_seed_draws_the_same_cases() -> None:
    assert next(batches(7)) == next(batches(7))
    assert next(batches(7)) != next(batches(8))


def test_a_wrong_result_is_found(sample: list[Case]) -> None:
    """The comparison itself: a bit flipped in the oracle's outcome must show, wherever it is."""
    cases = [case for case in sample[:200] if not excluded(case, GDB_FAULTS)]
    truth = execute_ours(cases)
    for index, case in enumerate(cases):
        for register in (0, 1, 2, *range(4, 16)):
            registers = truth.registers.copy()
            registers[index, register] ^= 1
            assert list(differing([case], *_only(truth, registers, index))) == [0]
        memory = truth.memory.copy()
        memory[case.slot + index % len(case.data)] ^= 0x10
        changed = Outcome(registers=truth.registers, memory=memory)
        assert list(differing(cases, truth, changed)) == [index]


def _only(truth: Outcome, registers: NDArray[np.uint32], index: int) -> tuple[Outcome, Outcome]:
    one = slice(index, index + 1)
    return (
        Outcome(registers=truth.registers[one], memory=truth.memory),
        Outcome(registers=registers[one], memory=truth.memory),
    )
