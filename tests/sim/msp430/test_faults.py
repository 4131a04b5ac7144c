"""What a program must not do stops it, with words that say what and where, and the state of before."""

from __future__ import annotations

import pytest

from freeml.sim.image import Function, Image, Segment
from freeml.sim.machine import MachineFaultError
from freeml.sim.msp430 import Msp430Machine

from . import words as w
from .conftest import CODE, RAM, Bench


def move(source, target, width="W"):
    return w.double("MOV", source, target, width)


FAULTS = {
    "word read of 0x03c00, which is not mapped": move(w.mem(0x3C00), w.reg(5)),
    "byte read of 0x00340, which is not mapped|timer": move(w.mem(0x3C00), w.reg(5), "B"),
    "byte read of 0x01b00, which is not mapped": move(w.mem(0x1B00), w.reg(5), "B"),
    "word write to 0x44000, which is not mapped": w.extended_double("MOV", w.reg(5), w.mem(0x44000)),
    "word write to 0x05a0, which is not mapped": move(w.reg(5), w.mem(0x5A0)),
    "word read of 0x01c01, which is odd": move(w.mem(0x1C01), w.reg(5)),
    "word write to 0x08001, which is odd": move(w.reg(5), w.mem(0x8001)),
    "word read of 0x004c1, which is odd": move(w.mem(0x4C1), w.reg(5)),
    "byte write to 0x01a04, which is read-only memory": move(w.reg(5), w.mem(0x1A04), "B"),
    "word write to 0x01000, which is read-only memory": move(w.reg(5), w.mem(0x1000)),
    "word read of 0x01000 in the boot loader's memory": move(w.mem(0x1000), w.reg(5)),
    "execution of 0x01000, where no instructions can be": w.double("MOV", w.imm(0x1000), w.reg(0)),
    "execution of 0x00200, where no instructions can be": w.double("MOV", w.imm(0x0200), w.reg(0)),
    "illegal instruction 0x1380|0x13a0": [0x13A0],
    "illegal instruction 0x13c0": [0x13C0],
    "illegal instruction 0x1301": [0x1301],
    "illegal instruction 0x10c5": [0x10C5],  # SWPB.B
    "illegal instruction 0x11c5": [0x11C5],  # SXT.B
    "illegal instruction 0x12c5": [0x12C5],  # CALL.B
    "illegal instruction 0x1800": [0x1800, 0x4506],  # A/L and B/W both 0
    "illegal instruction 0x1860": [0x1860, 0x4506],  # reserved bits
    "illegal instruction 0x1840": [0x1840, 0x2000],  # no jump can be extended
    "illegal instruction 0x1a40": [0x1A40, 0x4506],  # reserved in register mode
    "illegal instruction 0x1130": [0x1130, 0x1234],  # RRA #N
    "illegal instruction 0x45a3|0x4583": [0x4583, 0x0000],  # index from R3
    "access to 0x00a80: LEA is not modelled": move(w.imm(1), w.mem(0xA80)),
    "access to 0x00afe: LEA": move(w.mem(0xAFE), w.reg(5)),
    "0x0015c with a wrong password": move(w.imm(0x0080), w.mem(0x15C)),
    "byte write to 0x0015c with a wrong password": move(w.imm(0x80), w.mem(0x15C), "B"),
    "write to 0x00162 while the clock system is locked": move(w.imm(0x000C), w.mem(0x162)),
    "a character is sent while the UART is held in reset": move(w.imm(65), w.mem(0x5CE)),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_say_what_happened_and_change_nothing(bench, message):
    bench.load(FAULTS[message])
    bench[5], bench[2] = 0x1234, 0x105
    jumps = message.startswith("execution")
    if jumps:
        bench.machine.run(max_instructions=1)
    before, counts = bench.machine.registers, bench.machine.counts()
    memory = bench.machine.read(0x1C00, 0x2000)
    wanted = message.split("|")[-1].replace("0x05a0", "0x005a0").replace("timer", "which is not mapped")
    with pytest.raises(MachineFaultError) as caught:
        bench.machine.run(max_instructions=1)
    assert wanted in str(caught.value)
    assert str(caught.value).startswith(f"0x{before[0]:05x}: ")
    assert bench.machine.registers == before
    assert bench.machine.counts() == counts
    assert bench.machine.read(0x1C00, 0x2000) == memory


@pytest.mark.parametrize(
    "program",
    [
        w.double("MOV", w.inc(5), w.mem(0x3C00)),
        w.double("ADD", w.inc(5), w.mem(0x3C00)),
        w.single("PUSH", w.inc(5)),
        w.single("CALL", w.inc(5)),
        w.calla(w.inc(5)),
        w.extended_single("PUSH", w.inc(5), "A"),
        w.extended_double("ADD", w.inc(5), w.mem(0x3C00), "A"),
        w.pushm(12, 15, "A"),
    ],
    ids=str,
)
def test_autoincrements_are_undone(bench, program):
    bench.put(RAM + 0x20, 0xFF00, 0)
    bench[5], bench[1] = RAM + 0x20, RAM  # no room for anything on the stack
    bench.load(program)
    before = bench.machine.registers
    with pytest.raises(MachineFaultError):
        bench.machine.run(max_instructions=1)
    assert bench.machine.registers == before


def test_two_words_are_stored_or_none(bench):
    bench[5] = 0xABCDE
    bench.put(0x3BFE, 0x1111)
    with pytest.raises(MachineFaultError, match="0x03c00"):
        bench.run(w.extended_double("MOV", w.reg(5), w.mem(0x3BFE), "A"))
    assert bench.word(0x3BFE) == 0x1111


def test_code_cannot_run_off_the_end_of_fram(bench):
    with pytest.raises(MachineFaultError, match="execution of 0x44000"):
        bench.run(w.double("MOV", w.imm(1), w.reg(5))[:1], at=0x43FFE)


def image(*instructions, stack_limit=0x3B00):
    """A linked program of two functions."""
    data = w.pack(*instructions)
    functions = (Function(name="start", start=CODE, end=CODE + 8), Function(name="work", start=CODE + 8, end=CODE + 64))
    return Image(
        path=None,
        entry=CODE,
        segments=(Segment(address=CODE, data=data), Segment(address=0xFFFE, data=CODE.to_bytes(2, "little"))),
        functions=functions,
        symbols={"start": CODE, "work": CODE + 8, "fm_stack_limit": stack_limit},
    )


def test_messages_name_the_function():
    program = [
        w.double("MOV", w.imm(0x3C00), w.reg(w.SP)),
        w.single("CALL", w.imm(CODE + 8)),
        w.NOP,
        move(w.mem(0xF00), w.reg(5)),
    ]
    machine = Msp430Machine(image(*program))
    with pytest.raises(MachineFaultError) as caught:
        machine.run()
    assert str(caught.value) == "work+0x2 (0x0440a): word read of 0x00f00, which is not mapped"


def test_stack_overflow_is_noticed_before_it_happens():
    recursion = [w.double("MOV", w.imm(0x3C00), w.reg(w.SP)), w.NOP, w.NOP, w.single("CALL", w.imm(CODE + 8))]
    machine = Msp430Machine(image(*recursion))
    with pytest.raises(
        MachineFaultError, match=r"^work\+0x0 .*stack overflow: SP 0x03afe grew below fm_stack_limit \(0x03b00\)"
    ):
        machine.run()
    assert machine.sp == 0x3B00
    assert machine.read(0x3AFE, 2) == b"\xa5\xa5"


@pytest.mark.parametrize(
    "program",
    [
        w.double("SUB", w.imm(0x102), w.reg(w.SP)),
        w.double("MOV", w.imm(0x1C00), w.reg(w.SP)),
        w.address("SUBA", w.imm(0x200), w.SP),
        w.double("ADD", w.inc(w.SP), w.reg(w.SP)),
        w.pushm(12, 15, "A"),
    ],
    ids=str,
)
def test_every_way_to_move_the_stack_pointer(program):
    enter = w.double("MOV", w.imm(0x3B04 if program[0] >> 8 == 0x14 else 0x3BFE), w.reg(w.SP))
    machine = Msp430Machine(image(enter, program))
    machine.write(0x3BFE, b"\x00\xc8")  # what the ADD takes SP down by
    machine.run(max_instructions=1)
    before = machine.registers
    with pytest.raises(MachineFaultError, match="stack overflow"):
        machine.run()
    assert machine.registers == before


def test_the_watchdog_bites_unless_held_or_fed(bench):
    """After reset it counts 32768 cycles of SMCLK (WDTIS = 4)."""
    bench.load(w.jump("JMP", -1))
    with pytest.raises(MachineFaultError, match="the watchdog expired"):
        bench.machine.run()
    assert bench.machine.counts().cycles == 32768
    held = Bench()
    held.run(move(w.imm(0x5A80), w.mem(0x15C)))
    held.load(w.jump("JMP", -1))
    assert held.machine.run(max_cycles=100_000) == "cycles"
    fed = Bench()
    fed.load(move(w.imm(0x5A0C), w.mem(0x15C)), w.jump("JMP", -4))
    assert fed.machine.run(max_cycles=100_000) == "cycles"


def test_the_debugger_sees_memory_only(bench):
    for address in (0x0, 0x4C0, 0x510, 0x3C00, 0x44000):
        with pytest.raises(ValueError, match="not within the memory"):
            bench.machine.read(address, 2)
    with pytest.raises(ValueError, match="not within the memory"):
        bench.machine.read(0x3BFE, 4)
    assert bench.machine.read(0x15C, 2) == b"\x04\x69"
