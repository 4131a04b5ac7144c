"""Emitted firmware, unchanged, from reset to its verdict."""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import pairwise

import pytest

from freeml.sim.apollo4.machine import Apollo4Machine
from freeml.sim.image import Image, read_image
from freeml.toolchains import Toolchain, build

from .programs import APOLLO4, ROOT, TOOLCHAINS, each_toolchain, emitted

STATUS_OK = (0x4F4B).to_bytes(2, "little")
STATUS_RUNNING = (0x5255).to_bytes(2, "little")
NETS = sorted(path.stem for path in (ROOT / "examples" / "models").glob("*.onnx"))


@cache
def firmware(net: str, toolchain: Toolchain) -> Image:
    elf = emitted(net).parent / f"{toolchain.kind}.elf"
    build(toolchain, APOLLO4, emitted(net), elf)
    return read_image(elf, APOLLO4)


def run_to_verdict(machine: Apollo4Machine) -> tuple[int, bytes]:
    """Instructions and console of the whole program, which must say that every byte was right."""
    assert machine.run(stops=[machine.image.symbol("fm_board_halt")], max_instructions=500_000_000) == "breakpoint"
    status = machine.image.symbol("fm_board_status")
    assert machine.read(status, 2) == STATUS_OK
    # One granule each for "running" and for the verdict besides what the inference commits; the verdict survives.
    assert machine.counts().nv_writes > 2
    console = machine.take_output()
    assert re.search(rb"vectors [1-9][0-9]* wrong bytes 0\r\n$", console), console
    counted = machine.counts().instructions
    machine.power_on(keep_nv=True)
    assert machine.read(status, 16) == STATUS_OK + bytes(14)
    return counted, console


@each_toolchain
@pytest.mark.parametrize("net", ["tiny", "har"])
def test_the_self_test_passes_and_repeats_exactly(net, toolchain):
    machine = Apollo4Machine(firmware(net, toolchain))
    first = run_to_verdict(machine)
    machine.power_on(sram=0x00)
    assert run_to_verdict(machine) == first
    assert run_to_verdict(Apollo4Machine(machine.image)) == first


@pytest.mark.nightly
@pytest.mark.parametrize("net", NETS)
@each_toolchain
def test_every_example_passes(net, toolchain):
    machine = Apollo4Machine(firmware(net, toolchain))
    first = run_to_verdict(machine)
    run_to_verdict(machine)  # with what the first left in memory that keeps: as right, in other steps
    machine.power_on()
    assert run_to_verdict(machine) == first


@each_toolchain
def test_pieces_make_the_same_whole(toolchain):
    machine = Apollo4Machine(firmware("har", toolchain))
    expected = run_to_verdict(machine)
    machine.power_on()
    rng = random.Random(4)
    other = machine.snapshot()
    halt = machine.image.symbol("fm_board_halt")
    while machine.run(stops=[halt], max_instructions=rng.randint(1, 5000)) != "breakpoint":
        if rng.random() < 0.2:
            here = machine.snapshot()
            machine.restore(other)
            machine.run(max_instructions=rng.randint(1, 500))
            machine.restore(here)
            other = here
    assert machine.read(machine.image.symbol("fm_board_status"), 2) == STATUS_OK
    assert (machine.counts().instructions, machine.take_output()) == expected


def test_layers_account_for_the_inference():
    machine = Apollo4Machine(firmware("har", TOOLCHAINS[0]))
    machine.profile(True)
    counted, _ = run_to_verdict(machine)
    costs = machine.by_function()
    assert sum(cost.instructions for cost in costs.values()) == counted
    assert [name for name, cost in costs.items() if cost.nv_writes] == ["nv_program_main2"]
    assert "" not in costs
    assert sum(name.startswith("fm_layer_") for name in costs) >= 5


def test_a_status_is_never_torn():
    """A cut at any instruction of the first report leaves what was flashed or the whole record."""
    machine = Apollo4Machine(firmware("tiny", TOOLCHAINS[0]))
    status = machine.image.symbol("fm_board_status")
    machine.run(stops=[machine.image.symbol("fm_board_report")])
    back = machine.return_address()
    seen = []
    while machine.pc != back:
        here = machine.snapshot()
        machine.power_on(keep_nv=True)
        seen.append(machine.read(status, 16))
        machine.restore(here)
        machine.run(max_instructions=1)
    assert set(seen) == {b"\xff" * 16, STATUS_RUNNING + bytes(14)}
    assert sum(earlier != later for earlier, later in pairwise(seen)) == 1
