"""Random programs with loops and calls, run from beginning to end on the project's simulator and on each oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

from freeml.sim.msp430.machine import Msp430Machine

from . import gdbsim
from .batch import GDB_V_FLAG
from .encode import C_FLAG, N_FLAG, PC, V_FLAG, Z_FLAG
from .faults import Fault
from .gdb_faults import GDB_FAULTS
from .generate import Case
from .pcode import Processor
from .pcode_faults import PCODE_FAULTS
from .programs import Avoid, Program, data_written, draw_program, saved_status

_FLAGS = C_FLAG | Z_FLAG | N_FLAG
_LIMIT = 200_000


def avoiding(faults: tuple[Fault, ...]) -> Avoid:
    def avoid(case: Case) -> bool:
        return any(fault.applies(case) for fault in faults)

    return avoid


def run_ours(program: Program) -> tuple[bytes, int]:
    """Memory afterwards, and the number of instructions."""
    machine = Msp430Machine.bare(flat=True)
    machine.write(0, program.memory)
    machine.set_register(PC, program.entry)
    assert machine.run(stops={program.end}, max_instructions=_LIMIT) == "breakpoint"
    return machine.read(0, len(program.memory)), machine.counts().instructions


def against_gdb(program: Path, seed: int) -> int:
    drawn = draw_program(seed, avoiding(GDB_FAULTS))
    ours, instructions = run_ours(drawn)
    code = gdbsim.epilogue()
    memory = drawn.memory[: drawn.end] + code + drawn.memory[drawn.end + len(code) :]
    theirs = gdbsim.run(program, memory, drawn.entry)
    theirs = theirs[: drawn.end] + drawn.memory[drawn.end : drawn.end + len(code)] + theirs[drawn.end + len(code) :]
    assert data_written(ours) == data_written(theirs), seed
    mine, other = saved_status(ours), saved_status(theirs)
    assert mine & _FLAGS == other & _FLAGS, seed
    assert bool(mine & V_FLAG) == bool(other & GDB_V_FLAG), seed
    return instructions


def against_pcode(seed: int) -> int:
    drawn = draw_program(seed, avoiding(PCODE_FAULTS))
    ours, instructions = run_ours(drawn)
    memory = bytearray(drawn.memory)
    processor = Processor(memory)
    processor.pc = drawn.entry
    steps = 0
    while processor.pc != drawn.end:
        processor.step()
        steps += 1
        assert steps <= instructions, seed
    assert steps == instructions, seed
    assert ours == memory, seed
    return instructions


def test_programs_against_gdb(gdb_required: Path) -> None:
    executed = sum(against_gdb(gdb_required, seed) for seed in range(60))
    assert executed > 20_000


def test_programs_against_pcode() -> None:
    executed = sum(against_pcode(seed) for seed in range(6))
    assert executed > 3_000


@pytest.mark.nightly
def test_many_programs_against_gdb(gdb_required: Path) -> None:
    executed = sum(against_gdb(gdb_required, seed) for seed in range(1000, 4000))
    assert executed > 1_000_000


@pytest.mark.nightly
def test_many_programs_against_pcode() -> None:
    executed = sum(against_pcode(seed) for seed in range(1000, 3000))
    assert executed > 500_000


def test_the_same_seed_draws_the_same_program() -> None:
    assert draw_program(3, lambda case: False) == draw_program(3, lambda case: False)
