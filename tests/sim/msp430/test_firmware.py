"""A real firmware from every compiler that is here, from reset to its last word."""

from __future__ import annotations

import zlib

import pytest

from freeml.errors import FreemlError
from freeml.sim.image import read_image
from freeml.sim.machine import MachineFaultError
from freeml.sim.msp430 import Msp430Machine
from freeml.targets import get
from freeml.toolchains import build, installed
from toolchains.conftest import emit_tiny

BOARD = get("msp430")
OUTPUTS = (bytes([127, 18]), bytes([24, 3]))
VECTORS = b"".join(b"vector %d crc %08x\r\n" % (n, zlib.crc32(output)) for n, output in enumerate(OUTPUTS))
EXPECTED = b"model 0123abcd\r\n" + VECTORS + b"vectors 2 wrong bytes 0\r\n"


@pytest.fixture(scope="module", params=installed(BOARD), ids=lambda toolchain: toolchain.kind)
def firmware(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param.kind)
    return build(request.param, BOARD, emit_tiny(place / "fw", BOARD), place / "firmware.elf").elf


@pytest.fixture
def machine(firmware):
    return Msp430Machine(read_image(firmware, BOARD))


def test_it_says_what_it_should(machine):
    assert machine.run(max_instructions=1_000_000) == "input"
    assert machine.take_output() == EXPECTED
    assert machine.image.function_at(machine.pc) == "fm_board_wait"
    assert machine.mclk_hz == 8_000_000
    assert machine.counts().cycles > machine.counts().instructions > 10_000


def test_the_profile_is_complete(machine):
    machine.profile(True)
    machine.run(max_instructions=1_000_000)
    found = machine.by_function()
    assert {"main", "fm_infer", "fm_board_putc", "fm_board_init"} <= set(found)
    # What is in libgcc has names, but sizes it has not.
    assert "" not in found or "gcc" in str(machine.image.path)
    total = machine.counts()
    for field in ("instructions", "cycles", "nv_writes", "nv_reads"):
        assert sum(getattr(counts, field) for counts in found.values()) == getattr(total, field), field


def test_power_failures_leave_what_the_log_says(machine):
    """Cut anywhere: FRAM holds the image and the writes logged so far, and another start ends the same."""
    machine.run(max_instructions=1_000_000)
    total = machine.counts()
    machine.power_on()
    fresh = machine.read(0x4000, 0x40000)
    for cut in range(1, total.instructions, total.instructions // 23):
        machine.power_on()
        machine.log_nv(True)
        machine.run(max_instructions=cut)
        memory = bytearray(fresh)
        for entry in machine.nv_log():
            memory[entry.address - 0x4000 : entry.address - 0x4000 + len(entry.data)] = entry.data
        assert machine.read(0x4000, 0x40000) == memory
        machine.log_nv(False)
        machine.take_output()
        machine.power_on(keep_nv=True, sram=cut & 0xFF)
        machine.run(max_instructions=1_000_000)
        said = machine.take_output()  # from the vector that was under way on
        assert said.startswith((b"model", b"vector ")) and EXPECTED.endswith(said)


def test_runs_in_pieces_are_the_same_run(machine):
    machine.run(max_instructions=1_000_000)
    whole = machine.registers, machine.counts(), machine.read(0x1C00, 0x2000)
    machine.power_on()
    while machine.run(max_instructions=7) == "instructions":
        machine.restore(machine.snapshot())
    assert (machine.registers, machine.counts(), machine.read(0x1C00, 0x2000)) == whole


def test_16_mhz_costs_wait_states(firmware, tmp_path):
    """The same program with FM_CLOCK_MHZ=16: one wait state for each miss and each write after the clock is set."""
    toolchain = next(t for t in installed(BOARD) if t.kind == firmware.parent.name.rstrip("0123456789"))
    folder = emit_tiny(tmp_path / "fw", BOARD)
    source = folder / "board" / "board.c"
    source.write_text(source.read_text().replace("#define FM_CLOCK_MHZ 8", "#define FM_CLOCK_MHZ 16"))
    image = read_image(build(toolchain, BOARD, folder, tmp_path / "firmware.elf").elf, BOARD)
    fast, slow = Msp430Machine(image), Msp430Machine(read_image(firmware, BOARD))
    costs = {}
    for machine in (fast, slow):
        machine.run(stops={machine.image.symbol("fm_infer")})
        begun = machine.counts()
        machine.run(stops={machine.return_address()})
        costs[machine] = machine.counts() - begun
    assert (fast.mclk_hz, fast.wait_states) == (16_000_000, 1)
    assert costs[fast].instructions == costs[slow].instructions
    assert costs[slow].nv_reads > 50
    assert costs[fast].cycles - costs[fast].nv_reads - costs[fast].nv_writes == costs[slow].cycles
    fast.run(max_instructions=1_000_000)
    assert fast.take_output() == EXPECTED


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "*(volatile uint16_t *)0x0F00u = 1u;",
            r"(dense|both)\+0x\w+ \(0x\w{5}\): word write to 0x00f00, which is not mapped",
        ),
        (
            "(void)*(volatile uint16_t *)((uintptr_t)&fm_arena | 1u);",
            r"(dense|both)\+.*: word read of 0x\w+, which is odd",
        ),
        (
            "MPYS32L = 1u; MPYS32H = 1u; OP2L = 1u; OP2H = 1u; (void)RES3;",
            r"reads RES3 \d cycles too early for the mult",
        ),
    ],
)
def test_faults_name_the_place(statement, message, tmp_path):
    folder = emit_tiny(tmp_path / "fw", BOARD)
    model = folder / "model.c"
    text = model.read_text()
    begin = "static void dense(unsigned first, unsigned end)\n{\n"
    assert begin in text
    include = '#include "msp430fr5994.h"\n'
    model.write_text(include + text.replace(begin, f"{begin}    {statement}\n"))
    zig = next(t for t in installed(BOARD) if t.kind == "zig")
    machine = Msp430Machine(read_image(build(zig, BOARD, folder, tmp_path / "firmware.elf").elf, BOARD))
    with pytest.raises(MachineFaultError, match=message) as caught:
        machine.run(max_instructions=1_000_000)
    assert isinstance(caught.value, FreemlError)
