"""Non-volatile memory: programmed by the boot ROM, a granule at a time, and still there after a cut."""

from __future__ import annotations

from itertools import pairwise

from freeml.sim.apollo4.state import LOG_CAPACITY
from freeml.sim.machine import Counts, NvWrite

from .programs import each_toolchain, finished, program, started

IN_MRAM = b"".join({0: 0xAA00, 1: 0xAA01, 8: 0xAA08, 39: 0xAA27}.get(i, 0).to_bytes(2, "little") for i in range(40))
IN_TCM = b"".join((0xBB00 + i).to_bytes(2, "little") for i in range(42))
WRITES = [
    *((16 * i, IN_MRAM[16 * i : 16 * i + 16]) for i in range(5)),
    *((16 * i, IN_TCM[16 * i : 16 * i + 16]) for i in range(3)),
    *((48 + 16 * i, IN_TCM[50 + 16 * i : 66 + 16 * i]) for i in range(2)),
]
"""What persist.c programs: (offset in `record`, bytes) in order."""


def contents(writes: int) -> bytes:
    """`record` after some of the writes to a new board."""
    record = bytearray(b"\xff" * 80)
    for offset, data in WRITES[:writes]:
        record[offset : offset + 16] = data
    return bytes(record)


@each_toolchain
def test_every_granule_is_logged_and_counted(toolchain):
    machine = started(program(toolchain, "persist.c"))
    record = machine.image.symbol("record")
    assert record % 16 == 0
    machine.log_nv(True)
    machine.profile(True)
    finished(machine)
    assert [(entry.address - record, entry.data) for entry in machine.nv_log()] == WRITES
    assert all(earlier.time < later.time for earlier, later in pairwise(machine.nv_log()))
    assert machine.nv_log()[-1].time < machine.counts().instructions
    assert machine.counts().nv_writes == len(WRITES)
    profile = machine.by_function()
    assert profile["nv_program_main2"].nv_writes == len(WRITES)
    assert sum(counts.nv_writes for counts in profile.values()) == len(WRITES)
    assert machine.read(record, 80) == contents(10)

    machine.log_nv(False)
    machine.power_on()
    finished(machine)
    assert len(machine.nv_log()) == len(WRITES)
    machine.log_nv(True)
    assert machine.nv_log() == ()


@each_toolchain
def test_a_cut_at_every_instruction_leaves_whole_granules(toolchain):
    machine = started(program(toolchain, "persist.c"))
    record = machine.image.symbol("record")
    machine.log_nv(True)
    begin = machine.snapshot()
    finished(machine)
    log = machine.nv_log()
    end = machine.counts().instructions
    # From the instruction before the first write to the one after the last.
    machine.restore(begin)
    machine.run(max_instructions=log[0].time - machine.counts().instructions)
    assert machine.read(record, 80) == contents(0)
    seen = set()
    while machine.counts().instructions < min(end, log[-1].time + 2):
        done = sum(entry.time < machine.counts().instructions for entry in log)
        here = machine.snapshot()
        machine.power_on(keep_nv=True, sram=0x5A)
        assert machine.read(record, 80) == contents(done)
        assert machine.counts() == Counts(instructions=0, cycles=None, nv_writes=0)
        seen.add(done)
        machine.restore(here)
        assert machine.read(record, 80) == contents(done)
        assert machine.counts().nv_writes == done
        machine.run(max_instructions=1)
    assert seen == set(range(len(WRITES) + 1))


@each_toolchain
def test_what_a_cut_leaves_is_there_for_the_next_run(toolchain):
    machine = started(program(toolchain, "persist.c"))
    record = machine.image.symbol("record")
    finished(machine)
    machine.power_on(keep_nv=True)
    assert machine.read(record, 80) == contents(10)
    machine.run(stops=[machine.image.symbol("main")])
    assert machine.read(record, 80) == contents(10)
    machine.power_on()
    assert machine.read(record, 80) == contents(0)


@each_toolchain
def test_a_log_longer_than_its_buffer(toolchain):
    machine = started(program(toolchain, "persist.c"))
    machine.log_nv(True)
    writes: list[NvWrite] = []
    rounds = LOG_CAPACITY // len(WRITES) + 2
    begin = machine.snapshot()
    for _ in range(rounds):
        machine.restore(begin)
        finished(machine)
    writes += machine.nv_log()
    assert len(writes) == rounds * len(WRITES)


@each_toolchain
def test_a_full_buffer_is_emptied_in_the_middle_of_a_run(toolchain):
    machine = started(program(toolchain, "persist.c"))
    before = machine.counts().instructions
    begin = machine.snapshot()
    finished(machine)
    length = machine.counts().instructions - before
    machine.restore(begin)
    machine.log_nv(True)
    machine._state.log_capacity = 2
    finished(machine)
    assert machine.counts().instructions - before == length
    record = machine.image.symbol("record")
    assert [(entry.address - record, entry.data) for entry in machine.nv_log()] == WRITES
