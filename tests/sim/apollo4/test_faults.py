"""What the board would not survive is an error that names the place."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest

from freeml.errors import FreemlError
from freeml.sim.apollo4.engine import EngineMissingError
from freeml.sim.apollo4.machine import Apollo4Machine
from freeml.sim.image import ImageError, Segment
from freeml.sim.machine import MachineFaultError

from .programs import TOOLCHAINS, each_toolchain, finished, program, started

MISDEEDS = (
    ("large_frame", r"large_frame\+0x\w+ \(0x\w+\): stack overflow: the stack pointer is 0x\w+, [\d,]+ bytes into"),
    ("store_to_mram", r"store_to_mram\+.*: writes 4 bytes at 0x1\w{4}, MRAM: .*fm_nv_write"),
    ("read_nowhere", r"read_nowhere\+.*: reads 4 bytes at 0x30000000, where the Apollo4 has no memory"),
    ("write_peripheral", r"write_peripheral\+.*: writes 4 bytes at 0x40021000, a peripheral"),
    ("null_pointer", r"null_pointer\+.*: reads 4 bytes at 0x0, the secure boot loader's"),
    ("undefined", r"undefined\+0x0 \(0x\w+\): an undefined instruction"),
    ("breakpoint", r"breakpoint\+0x0 \(0x\w+\): a breakpoint instruction"),
    ("supervisor", r"supervisor\+0x0 \(0x\w+\): a supervisor call"),
    ("sleep", r"sleep\+0x0 \(0x\w+\): sleeps for good"),
    ("jump_to_data", r"jump_to_data\+.*: branches to 0x100\w+, TCM, which holds no code"),
    ("jump_to_arm", r"jump_to_arm\+.*: branches to 0x\w+ as to code that is not Thumb"),
    ("unaligned_pair", r"unaligned_pair\+.*: .* multiple of 4, found 0x100\w+"),
    ("unaligned_multiple", r"unaligned_multiple\+.*: .* multiple of 4, found 0x100\w+"),
    ("unaligned_float", r"unaligned_float\+.*: .* multiple of 4, found 0x100\w+"),
    ("float_off", r"float_off\+.*: a floating-point instruction before CPACR"),
    ("unknown_register", r"unknown_register\+.*: reads 4 bytes at 0xe000e010, a system register"),
    ("other_helper", r"boot ROM \(0x8000054\), called from other_helper\+.*: a helper .* not modelled"),
    ("wrong_key", r"boot ROM .*called from wrong_key\+.*: .*found 0x12344320 and 1"),
    ("interrupts_on", r"boot ROM .*called from interrupts_on\+.*: programs 16 bytes .* with interrupts on"),
    ("source_in_mram", r"boot ROM .*called from source_in_mram\+.*: programs 16 bytes of MRAM from 0x1\w{4}: .*TCM"),
    ("half_granule", r"boot ROM .*called from half_granule\+.*: programs 8 bytes .*multiple of 16"),
    ("between_granules", r"boot ROM .*called from between_granules\+.*: expected granules of 16"),
    ("program_code", r"boot ROM .*called from program_code\+.*at 0x18000: .* within persistent data"),
)
NUMBERS = {name: number for number, name in enumerate(("hang", *(name for name, _ in MISDEEDS)), start=1)}
RECURSE = 100


def misbehaving(toolchain, number: int) -> Apollo4Machine:
    machine = started(program(toolchain, "misdeeds.c"))
    machine.write(machine.image.symbol("misdeed"), number.to_bytes(4, "little"))
    return machine


@each_toolchain
@pytest.mark.parametrize(("name", "message"), MISDEEDS, ids=[name for name, _ in MISDEEDS])
def test_misdeed(toolchain, name, message):
    machine = misbehaving(toolchain, NUMBERS[name])
    before = machine.counts().instructions
    with pytest.raises(MachineFaultError) as raised:
        machine.run(stops=[machine.image.symbol("fm_board_halt")], max_instructions=10_000)
    assert isinstance(raised.value, FreemlError)
    assert re.search(f"firmware.elf: {message}", str(raised.value)), raised.value
    assert 0 < machine.counts().instructions - before < 100

    # It stays as it is until somebody does something about it.
    with pytest.raises(MachineFaultError, match=re.escape(str(raised.value))):
        machine.run(max_instructions=1)
    # After that nothing of it is left.
    machine.power_on()
    finished(machine)
    assert machine.counts().instructions == finished(started(machine.image)).counts().instructions


@each_toolchain
def test_recursion_is_caught_before_it_reaches_the_variables(toolchain):
    machine = misbehaving(toolchain, RECURSE)
    with pytest.raises(MachineFaultError, match=r"recurse\+0x\w+ .*stack overflow"):
        machine.run(stops=[machine.image.symbol("fm_board_halt")], max_instructions=1_000_000)
    assert machine.image.symbol("fm_stack_limit") - 0x200 < machine.sp < machine.image.symbol("fm_stack_limit")


@each_toolchain
def test_writing_nothing_is_refused(toolchain):
    machine = misbehaving(toolchain, NUMBERS["program_code"] + 1)
    with pytest.raises(MachineFaultError, match=r"called from .*: programs 0 bytes of MRAM"):
        machine.run(stops=[machine.image.symbol("fm_board_halt")], max_instructions=10_000)


@each_toolchain
def test_a_firmware_that_hangs_ends_at_the_limit(toolchain):
    machine = misbehaving(toolchain, NUMBERS["hang"])
    before = machine.counts().instructions
    assert machine.run(stops=[machine.image.symbol("fm_board_halt")], max_instructions=123_457) == "instructions"
    assert machine.counts().instructions - before == 123_457
    assert machine.image.function_at(machine.pc) == "hang"


def test_an_image_without_its_vector_table():
    image = program(TOOLCHAINS[0], "counted.c", "counted.S")
    first, *others = sorted(image.segments, key=lambda segment: segment.address)
    blank = Segment(address=first.address, data=bytes(8) + first.data[8:])
    with pytest.raises(ImageError, match="expected a vector table at 0x18000"):
        Apollo4Machine(replace(image, segments=(blank, *others)))


def test_requests_that_make_no_sense():
    machine = started(program(TOOLCHAINS[0], "counted.c", "counted.S"))
    for address, size in ((0x17FFF, 2), (0x1FFFFF, 2), (0x1005FFFF, 2), (0x1015FFFF, 2), (0x18000, -1)):
        with pytest.raises(ValueError, match="not in one memory"):
            machine.read(address, size)
    with pytest.raises(ValueError, match="use max_instructions"):
        machine.run(max_cycles=5)
    with pytest.raises(ValueError, match="at least one"):
        machine.run(max_instructions=0)
    with pytest.raises(ValueError, match="cannot stop at 0x10000000"):
        machine.run(stops=[0x10000000])
    with pytest.raises(ValueError, match="hears nothing"):
        machine.feed(b"x")
    machine.feed(b"")
    with pytest.raises(ValueError, match="that this machine took"):
        machine.restore(started(machine.image).snapshot())


def test_without_unicorn(monkeypatch):
    monkeypatch.setitem(sys.modules, "unicorn", None)
    with pytest.raises(EngineMissingError, match=r"takes the package unicorn, .*pip install 'freeml\[boards\]'"):
        Apollo4Machine(program(TOOLCHAINS[0], "counted.c", "counted.S"))
