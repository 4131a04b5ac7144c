"""Instructions are counted exactly, and a run can end at each of them."""

from __future__ import annotations

import random

import pytest

from freeml.sim.apollo4.machine import Apollo4Machine
from freeml.sim.machine import Counts, MachineFaultError
from freeml.toolchains import installed_host

from .programs import TOOLCHAINS, finished, program, started

TRACED = 3000
"""Instructions that are executed one at a time."""


@pytest.fixture
def machine(request) -> Apollo4Machine:
    return started(program(request.param, "counted.c", "counted.S"))


each_machine = pytest.mark.parametrize("machine", TOOLCHAINS, ids=lambda toolchain: toolchain.kind, indirect=True)


def call(machine: Apollo4Machine, name: str) -> tuple[int, int]:
    """Run to the next call of a function and through it: (instructions, where it returned to)."""
    assert machine.run(stops=[machine.image.symbol(name)]) == "breakpoint"
    back = machine.return_address()
    before = machine.counts().instructions
    assert machine.run(stops=[back]) == "breakpoint"
    assert machine.pc == back
    return machine.counts().instructions - before, back


@each_machine
def test_counts_known_by_hand(machine):
    # 0 and 1: the block's last three are passed over, then two more; 2 and 3: they are executed and return.
    assert [call(machine, "counted_blocks")[0] for _ in range(4)] == [11, 11, 9, 9]
    assert call(machine, "counted_loop")[0] == 3 * 1000 + 3
    finished(machine)
    results = machine.image.symbol("results")
    found = [int.from_bytes(machine.read(results + 4 * i, 4), "little") for i in range(5)]
    assert found == [6, 0x12001, 10, 10, 3000]
    assert machine.take_output() == b"ok"
    assert machine.take_output() == b""


def trace(machine: Apollo4Machine, stops: tuple[int, ...], steps: int) -> list[int]:
    """Addresses of the instructions to come, by single steps."""
    addresses = []
    while machine.pc not in stops and len(addresses) < steps:
        addresses.append(machine.pc)
        machine.run(max_instructions=1)
    return addresses


@each_machine
def test_single_steps_go_the_same_way(machine):
    halt = machine.image.symbol("fm_board_halt")
    before = machine.counts().instructions
    start = machine.snapshot()
    finished(machine)
    total = machine.counts().instructions - before
    expected = machine.read(0x10000000, 0x60000)

    machine.restore(start)
    assert machine.counts().instructions == before
    stepped = trace(machine, (halt,), 10 * total)
    assert len(stepped) == total
    assert machine.counts() == Counts(instructions=before + total, cycles=None, nv_writes=0)
    assert machine.read(0x10000000, 0x60000) == expected
    assert machine.take_output() == b"ok"

    # The trace shows instructions that an IT block passes over, each at its place.
    blocks = machine.image.symbol("counted_blocks")
    offsets = [address - blocks for address in stepped if 0 <= address - blocks < 26]
    assert offsets == 2 * [0, 2, 4, 8, 10, 12, 14, 16, 20, 22, 24] + 2 * [0, 2, 4, 8, 10, 12, 14, 16, 20]

    # Any length of run, from anywhere, lands where the trace says.
    rng = random.Random(0)
    machine.restore(start)
    at = 0
    while at < total - 1:
        length = min(rng.choice((1, 2, 3, 5, 50, 700)), total - 1 - at)
        assert machine.run(stops=[halt], max_instructions=length) == "instructions"
        at += length
        assert machine.pc == stepped[at]
        assert machine.counts().instructions == before + at
        if rng.random() < 0.5:
            machine.restore(machine.snapshot())
    assert machine.run(stops=[halt], max_instructions=1) == "breakpoint"


@each_machine
def test_a_run_stops_at_any_address_of_the_trace(machine):
    start = machine.snapshot()
    before = machine.counts().instructions
    stepped = trace(machine, (machine.image.symbol("fm_board_halt"),), TRACED)
    for address in sorted(set(stepped[1:])):
        machine.restore(start)
        assert machine.run(stops=[address, 0x1FFFFE]) == "breakpoint"
        first = stepped.index(address, 1)
        assert (machine.pc, machine.counts().instructions) == (address, before + first)


@each_machine
def test_from_an_address_to_itself(machine):
    loop = machine.image.symbol("counted_loop") + 2
    assert machine.run(stops=[loop]) == "breakpoint"
    for _ in range(3):
        before = machine.counts().instructions
        assert machine.run(stops=[loop]) == "breakpoint"
        assert (machine.pc, machine.counts().instructions - before) == (loop, 3)


@each_machine
def test_profile_adds_up(machine):
    machine.profile(True)
    before = machine.counts().instructions
    call(machine, "counted_loop")
    calls = machine.by_function()
    assert calls["counted_loop"].instructions == 3003
    assert calls["counted_blocks"].instructions == 40
    assert sum(counts.instructions for counts in calls.values()) == machine.counts().instructions - before
    machine.profile(False)
    finished(machine)
    assert machine.by_function() == calls
    machine.profile(True)
    assert machine.by_function() == {}


@each_machine
def test_power_on_repeats_itself_whatever_sram_holds(machine):
    seen = set()
    for sram in (0xA5, 0x00, 0xFF):
        machine.power_on(sram=sram)
        ssram = machine.read(0x1015FFF0, 16)
        assert ssram == bytes([sram]) * 16
        assert machine.pc == machine.image.entry
        assert machine.counts() == Counts(instructions=0, cycles=None, nv_writes=0)
        finished(machine)
        results = machine.read(machine.image.symbol("results"), 20)
        seen.add((machine.counts().instructions, machine.take_output(), results))
    assert len(seen) == 1


@each_machine
def test_code_that_a_debugger_changes_is_executed_as_changed(machine):
    loop = machine.image.symbol("counted_loop")
    start = machine.snapshot()
    # The instruction to come, and one after it, before either was executed.
    machine.write(machine.pc, (0xBF00).to_bytes(2, "little"))
    machine.write(machine.pc + 2, (0xDE00).to_bytes(2, "little"))
    machine.run(max_instructions=1)
    with pytest.raises(MachineFaultError, match=r"main\+0x2 .*undefined"):
        machine.run(max_instructions=1)
    machine.restore(start)
    assert call(machine, "counted_loop")[0] == 3003
    machine.restore(start)
    machine.write(loop + 4, (0x3801 + 3).to_bytes(2, "little"))  # subs r0, #4
    assert call(machine, "counted_loop")[0] == 3 * 250 + 3
    machine.restore(start)
    assert call(machine, "counted_loop")[0] == 3003
    machine.power_on()
    assert machine.read(loop + 4, 2) == (0x3801).to_bytes(2, "little")


@each_machine
def test_long_runs_go_on_through_slices(machine, monkeypatch):
    monkeypatch.setattr("freeml.sim.apollo4.machine._SLICE", 7)
    assert [call(machine, "counted_blocks")[0] for _ in range(4)] == [11, 11, 9, 9]
    assert call(machine, "counted_loop")[0] == 3003
    assert machine.run(max_instructions=7) == "instructions"


@pytest.mark.parametrize("host", installed_host(), ids=lambda host: host.kind)
def test_hooks_built_by_any_compiler(host, monkeypatch, tmp_path):
    """Each under its own warnings, all of them errors."""
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path))
    monkeypatch.setattr("freeml.sim.native.find_host", lambda: host)
    machine = started(program(TOOLCHAINS[0], "counted.c", "counted.S"))
    assert [call(machine, "counted_blocks")[0] for _ in range(4)] == [11, 11, 9, 9]
    finished(machine)
    assert machine.take_output() == b"ok"
    assert len(list(tmp_path.iterdir())) == 1
