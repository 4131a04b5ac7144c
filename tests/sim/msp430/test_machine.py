"""Stopping, going back, logging and counting."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from freeml.sim.image import Function, Image, Segment
from freeml.sim.msp430 import Msp430Machine

from . import words as w
from .conftest import CODE, RAM, STACK, Bench

START, OUTER, INNER, END = CODE, 0x4500, 0x4600, 0x4700


def put(address, value, width="W"):
    return w.double("MOV", w.imm(value), w.mem(address), width)


@pytest.fixture
def machine():
    """start calls outer ten times, outer calls inner twice; all store to FRAM; then the CPU sleeps."""
    code = {
        START: [
            put(0x15C, 0x5A80), w.double("MOV", w.imm(STACK), w.reg(w.SP)), w.double("MOV", w.imm(10), w.reg(10)),
            w.single("CALL", w.imm(OUTER)), w.double("SUB", w.gen(1), w.reg(10)), w.jump("JNZ", -4),
            w.double("BIS", w.imm(0xF0), w.reg(w.SR)),
        ],
        OUTER: [w.double("MOV", w.reg(10), w.mem(0x8000)), w.single("CALL", w.imm(INNER)), w.single("CALL", w.imm(INNER)), w.RET],
        INNER: [w.double("ADD", w.reg(10), w.mem(0x8010)), w.double("ADD", w.gen(1), w.mem(RAM)), w.RET],
    }  # fmt: skip
    image = Image(
        path=None,
        entry=START,
        segments=(
            *(Segment(address=at, data=w.pack(*program)) for at, program in code.items()),
            Segment(address=0xFFFE, data=START.to_bytes(2, "little")),
        ),
        functions=tuple(
            Function(name=name, start=at, end=at + 0x40)
            for name, at in (("start", START), ("outer", OUTER), ("inner", INNER))
        ),
        symbols={"start": START, "outer": OUTER, "inner": INNER},
    )
    return Msp430Machine(image)


def test_power_on(machine):
    assert (machine.pc, machine.counts().cycles) == (START, 0)
    assert machine.read(RAM, 0x2000) == b"\xa5" * 0x2000
    assert machine.read(0x8000, 2) == b"\xff\xff"
    assert machine.run() == "ended"
    assert machine.read(0x8000, 2) == b"\x01\x00"
    machine.power_on(keep_nv=True, sram=0x5A)
    assert machine.read(0x8000, 2) == b"\x01\x00"
    assert machine.read(RAM, 2) == b"\x5a\x5a"
    assert (machine.pc, machine.counts().instructions) == (START, 0)
    machine.power_on()
    assert machine.read(0x8000, 2) == b"\xff\xff"


def test_breakpoints(machine):
    seen = []
    while (reason := machine.run(stops={OUTER, INNER})) == "breakpoint":
        seen.append(machine.pc)
    assert reason == "ended"
    assert seen == [OUTER, INNER, INNER] * 10
    machine.power_on()
    assert machine.run(stops={INNER}) == "breakpoint"
    assert machine.run(stops={INNER}) == "breakpoint", "from one to the next"
    assert machine.run(max_instructions=3) == "instructions", "the stops of an earlier call are gone"
    assert machine.run() == "ended"


def test_stops_are_exact(machine):
    machine.run()
    total = machine.counts()
    machine.power_on()
    for count in range(1, total.instructions + 1):
        assert machine.run(max_instructions=1) == "instructions"
        assert machine.counts().instructions == count
    assert machine.counts() == total
    machine.power_on()
    while machine.run(max_cycles=1) == "cycles":
        pass
    assert machine.counts() == total
    machine.power_on()
    machine.run(max_cycles=100)
    assert 100 <= machine.counts().cycles < 106


def test_a_breakpoint_wins_over_a_limit(machine):
    machine.run(stops={INNER})
    count = machine.counts().instructions
    machine.power_on()
    assert machine.run(stops={INNER}, max_instructions=count) == "breakpoint"


def test_return_addresses(machine):
    machine.run(stops={OUTER})
    back = machine.return_address()
    assert machine.run(stops={back}) == "breakpoint"
    assert machine.sp == STACK


def test_return_addresses_of_far_calls(bench):
    for at in (0x5000, 0x20000):
        bench[1] = STACK
        bench.run(w.calla(w.imm(0x6000)), at=at)
        assert bench.machine.return_address() == at + 4
    bench[6] = 0x6000
    bench.run(w.calla(w.reg(6)), at=0x20000)
    assert bench.machine.return_address() == 0x20002
    bench.put(STACK - 4, 0, 1)
    bench[1] = STACK - 2
    bench.run(w.single("CALL", w.reg(6)), at=0x5000)
    assert bench.machine.return_address() == 0x5002, "whatever lies above it on the stack"


def states(machine):
    return machine.registers, machine.counts(), machine.read(RAM, 0x2000), machine.read(0x4000, 0x40000)


def test_snapshots_bring_back_everything(machine):
    """From random places: what follows a restored snapshot is what followed it the first time."""
    rng = random.Random(1)
    for _ in range(20):
        machine.power_on()
        machine.run(max_instructions=rng.randrange(1, 100))
        taken = machine.snapshot()
        then = states(machine)
        machine.run(max_instructions=rng.randrange(1, 100))
        later = states(machine)
        machine.run()
        machine.restore(taken)
        assert states(machine) == then
        machine.run(max_instructions=later[1].instructions - then[1].instructions)
        assert states(machine) == later


def test_snapshots_hold_the_devices(bench):
    """A multiplication, a timer and a character in flight."""
    put_all = [
        put(0x4C2, -3),
        put(0x340, 0x0220),
        put(0x5C0, 0x0081),
        put(0x5C6, 1),
        put(0x5C0, 0x0080),
        put(0x5CE, 65),
    ]
    bench.run(*put_all, put(0x4C8, 5))
    taken = bench.machine.snapshot()
    reads = [w.double("MOV", w.mem(a), w.reg(5 + n)) for n, a in enumerate((0x4CA, 0x350, 0x5CA, 0x15C))]
    bench.run(*reads)
    first = bench.machine.registers[5:9], bench.machine.take_output()
    bench.run(put(0x4C0, 9), put(0x4C8, 9), put(0x340, 0), put(0x5CE, 66), *[w.NOP] * 30)
    bench.machine.restore(taken)
    bench.run(*reads)
    assert (bench.machine.registers[5:9], bench.machine.take_output()) == first
    assert first[0][0] == 0xFFF1


def test_a_snapshot_belongs_to_its_machine(machine):
    with pytest.raises(ValueError, match="of this machine"):
        machine.restore(Bench().machine.snapshot())


def test_code_that_changes_is_decoded_anew(bench):
    """By itself, by the debugger, by a snapshot; also in the middle of an instruction."""
    bench.run(w.double("MOV", w.imm(1), w.reg(5)))
    taken = bench.machine.snapshot()
    bench.put(CODE + 2, 2)
    bench[0] = CODE
    bench.machine.run(max_instructions=1)
    assert bench[5] == 2
    bench.machine.restore(taken)
    bench[0] = CODE
    bench.machine.run(max_instructions=1)
    assert bench[5] == 1
    bench.run(put(RAM + 0x12, 7), w.double("MOV", w.imm(RAM + 0x10), w.reg(0)), at=CODE + 8)
    bench.put(
        RAM + 0x10,
        *w.double("MOV", w.imm(7), w.reg(6)),
        *w.double("MOV", w.imm(9), w.mem(RAM + 0x12)),
        *w.jump("JMP", -6),
    )
    bench.machine.run(max_instructions=4)
    assert bench[6] == 9


def test_the_log_of_writes(machine):
    machine.log_nv(True)
    machine.run(max_instructions=12)
    log = machine.nv_log()
    assert [(e.pc, e.address, e.data) for e in log] == [
        (OUTER, 0x8000, b"\x0a\x00"),
        (INNER, 0x8010, b"\x09\x00"),
        (INNER, 0x8010, b"\x13\x00"),
    ]
    assert all(a.time < b.time for a, b in pairwise(log))
    assert log[0].time <= machine.counts().cycles
    taken = machine.snapshot()
    machine.run()
    assert len(machine.nv_log()) == machine.counts().nv_writes == 30
    machine.restore(taken)
    assert machine.nv_log() == log
    machine.log_nv(False)
    machine.run()
    assert machine.nv_log() == log
    machine.log_nv(True)
    assert machine.nv_log() == ()


def test_replaying_the_log_gives_the_memory(machine):
    machine.log_nv(True)
    memory = bytearray(machine.read(0x4000, 0x40000))
    machine.run()
    for entry in machine.nv_log():
        memory[entry.address - 0x4000 : entry.address - 0x4000 + len(entry.data)] = entry.data
    assert bytes(memory) == machine.read(0x4000, 0x40000)


def test_logs_longer_than_the_core_can_hold(bench):
    bench.run(put(0x15C, 0x5A80))
    bench.machine.log_nv(True)
    bench.load(w.double("MOV", w.reg(5), w.mem(0x1800)), w.double("ADD", w.gen(1), w.reg(5)), w.jump("JMP", -4))
    assert bench.machine.run(max_instructions=600_000) == "instructions"
    log = bench.machine.nv_log()
    assert len(log) == 200_000
    assert [e.data for e in log] == [(n & 0xFFFF).to_bytes(2, "little") for n in range(200_000)]


def test_bytes_and_20_bits_in_the_log(bench):
    bench.machine.log_nv(True)
    bench[5] = 0xABCDE
    bench.run(w.double("MOV", w.reg(5), w.mem(0x9001), "B"), w.extended_double("MOV", w.reg(5), w.mem(0x30000), "A"))
    found = [(e.address, e.data) for e in bench.machine.nv_log()]
    assert found == [(0x9001, b"\xde"), (0x30000, b"\xde\xbc"), (0x30002, b"\x0a\x00")]


def test_the_profile_sums_up(machine):
    machine.profile(True)
    machine.run()
    found = machine.by_function()
    total = machine.counts()
    assert set(found) == {"start", "outer", "inner"}
    for field in ("instructions", "cycles", "nv_writes", "nv_reads"):
        assert sum(getattr(counts, field) for counts in found.values()) == getattr(total, field), field
    assert found["inner"].instructions == 10 * 2 * 3
    assert found["inner"].cycles == 10 * 2 * (4 + 4 + 4)
    assert found["outer"].cycles == 10 * (3 + 4 + 4 + 4)
    assert (found["outer"].nv_writes, found["inner"].nv_writes) == (10, 20)
    machine.power_on()
    machine.profile(True)
    machine.run(max_instructions=5)
    assert sum(c.instructions for c in machine.by_function().values()) == 5
    machine.profile(False)
    machine.run()
    assert sum(c.instructions for c in machine.by_function().values()) == 5


def test_profiling_changes_no_count(machine):
    machine.run()
    plain = machine.counts()
    machine.power_on()
    machine.profile(True)
    machine.log_nv(True)
    machine.run()
    assert machine.counts() == plain


def test_a_flat_machine_is_all_memory():
    machine = Msp430Machine.bare(flat=True)
    machine.write(0, bytes(range(256)) * 4096)
    machine.write(
        0xF0000, w.pack(w.double("MOV", w.mem(0x4C8), w.reg(5)), w.extended_double("MOV", w.reg(5), w.mem(0xFFFFE)))
    )
    machine.set_register(0, 0xF0000)
    assert machine.run(max_instructions=2) == "instructions"
    assert machine.registers[5] == 0xC9C8
    assert machine.read(0xFFFFE, 2) == b"\xc8\xc9"
    assert machine.counts().nv_writes == 0
    taken = machine.snapshot()
    machine.write(0x12345, b"x")
    machine.restore(taken)
    assert machine.read(0x12345, 1) == b"\x45"
