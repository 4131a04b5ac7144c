"""Firmware builds with every compiler found, and says what it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.targets import BOARDS, Board
from freeml.toolchains import Toolchain, build, sizes

from .board430 import finish, load, stack_used
from .conftest import TOOLCHAINS, Built, each_for_msp430, each_toolchain, emit_tiny

SCRATCH_BYTES = 200
"""Of the layer with the largest frame, see tiny/model.c."""

STATUS_OK = 0x4F4B

LIBGCC_BYTES = 8
"""What a division of libgcc's puts on the stack: it brings no note of its frames."""

OUTPUTS = (bytes([127, 18]), bytes([24, 3]))
"""Of the test vectors, see tiny/vectors.c."""


@each_toolchain
def test_firmware_builds_and_is_measured(board: Board, toolchain: Toolchain, built: Built):
    result = built(board, toolchain)
    found = result.sizes
    assert result.elf.read_bytes()[:4] == b"\x7fELF"
    assert found == sizes(result.elf, board, stack=result.stack.size_bytes)
    assert found.weights == 8
    assert 2 <= found.data <= 4, "the one initialised variable, aligned"
    assert 300 < found.text < 2800
    arena_in_nv = board.activations == "nv"
    granule = board.nv_granule_bytes
    if arena_in_nv:
        assert found.nv == 32 + 2 * 4 + 8 + 2 + 2, "arena, two results, identity and progress, job, status word"
    else:
        assert found.nv == 32 + granule * (2 + 8 + 1 + 1), "kept arena, two results, eight records, job, status"
        assert found.bss >= 32, "arena"
    assert found.flash == found.text + found.rodata + found.weights + found.data
    assert found.sram == found.data + found.bss + found.stack


@each_toolchain
def test_stack_estimate_names_the_deepest_path(board: Board, toolchain: Toolchain, built: Built):
    stack = built(board, toolchain).stack
    names = [name for name, _ in stack.path]
    assert names[0] == "_start"
    assert "main" in names
    assert stack.size_bytes == sum(size for _, size in stack.path)
    assert SCRATCH_BYTES < stack.size_bytes < SCRATCH_BYTES + 200


@pytest.mark.usefixtures("nothing_kept")
@each_toolchain
def test_same_sources_give_the_same_bytes_in_any_folder(
    board: Board, toolchain: Toolchain, built: Built, tmp_path: Path
):
    again = build(toolchain, board, emit_tiny(tmp_path / "deeper" / "fw", board), tmp_path / "firmware.elf")
    assert again.elf.read_bytes() == built(board, toolchain).elf.read_bytes()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@each_toolchain
def test_the_emitted_makefile_gives_the_same_bytes(board: Board, toolchain: Toolchain, built: Built, tmp_path: Path):
    folder = emit_tiny(tmp_path / "fw", board)
    zig = f"ZIG={sys.executable} -m ziglang"
    command = ["make", "--silent", f"TOOLCHAIN={toolchain.kind}", zig]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "firmware.elf").read_bytes() == built(board, toolchain).elf.read_bytes()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("name", "variable", "program"),
    [("msp430", "FREEML_MSP430_GCC", "msp430-elf-gcc"), ("apollo4", "FREEML_ARM_GCC", "arm-none-eabi-gcc")],
)
def test_the_emitted_makefile_finds_gcc_where_freeml_does(name: str, variable: str, program: str, tmp_path: Path):
    """The variable names the program, its folder or the folder of the installation; what is not there is not used."""
    folder = emit_tiny(tmp_path / "fw", BOARDS[name])
    inside = tmp_path / "prefix" / "bin" / program
    inside.parent.mkdir(parents=True)
    inside.touch(mode=0o755)
    cases = {
        inside: inside,
        inside.parent: inside,
        inside.parent.parent: inside,
        tmp_path / "nothing": program,
        "": program,
    }
    for value, expected in cases.items():
        command = ["make", "--no-print-directory", "--dry-run", "TOOLCHAIN=gcc"]
        environment = {**os.environ, variable: str(value)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        linking = done.stdout.splitlines()[-1]
        assert linking.split()[0] == str(expected), variable


@each_for_msp430
def test_firmware_runs_and_finds_its_vectors_right(msp430: Board, toolchain: Toolchain, built: Built):
    result = built(msp430, toolchain)
    machine = finish(load(result.elf))
    assert (
        machine.take_output()
        == b"model 0123abcd\r\n"
        + b"".join(b"vector %d crc %08x\r\n" % (number, zlib.crc32(outputs)) for number, outputs in enumerate(OUTPUTS))
        + b"vectors 2 wrong bytes 0\r\n"
    )
    status = machine.read(machine.image.symbol("fm_board_status"), 2)
    assert int.from_bytes(status, "little") == STATUS_OK
    used = stack_used(machine)
    unmeasured = LIBGCC_BYTES if toolchain.kind.startswith("gcc") else 0
    assert used - unmeasured <= result.stack.size_bytes <= used + 8, "the estimate covers what was used, hardly more"


@each_for_msp430
def test_firmware_notices_one_wrong_byte(msp430: Board, toolchain: Toolchain, tmp_path: Path):
    folder = emit_tiny(tmp_path / "fw", msp430)
    vectors = folder / "vectors.c"
    vectors.write_text(vectors.read_text().replace("{24, 3}", "{24, 4}"))
    machine = finish(load(build(toolchain, msp430, folder, tmp_path / "firmware.elf").elf))
    assert machine.take_output().splitlines()[-1] == b"vectors 2 wrong bytes 1"


@pytest.mark.usefixtures("nothing_kept")
def test_building_writes_the_elf_and_nothing_else(msp430: Board, zig: Toolchain, tmp_path: Path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(home)
    folder = emit_tiny(tmp_path / "fw", msp430)
    before = sorted(folder.rglob("*"))
    build(zig, msp430, folder, tmp_path / "out" / "firmware.elf")
    assert sorted(folder.rglob("*")) == before
    assert list(home.rglob("*")) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["firmware.elf"]


@pytest.mark.parametrize(
    ("statement", "warning"),
    [
        ("int unused = 0;", "unused"),
        ("int8_t narrow = fm_arena.s8[0] + divisor; (void)narrow;", "conversion"),
        ("unsigned sign = (unsigned)1 + fm_arena.s8[0]; (void)sign;", "sign"),
        ("int divisor = 0; (void)divisor;", "shadow"),
    ],
)
@each_toolchain
def test_a_warning_stops_the_build(board: Board, toolchain: Toolchain, statement: str, warning: str, tmp_path: Path):
    folder = emit_tiny(tmp_path / "fw", board)
    model = folder / "model.c"
    model.write_text(model.read_text().replace("    (void)first;\n", f"    {statement}\n    (void)first;\n", 1))
    with pytest.raises(ToolchainError, match=rf"compiling model\.c failed(?s:.*){warning}"):
        build(toolchain, board, folder, tmp_path / "firmware.elf")


@each_toolchain
def test_a_firmware_too_large_for_the_memory_does_not_link(board: Board, toolchain: Toolchain, tmp_path: Path):
    folder = emit_tiny(tmp_path / "fw", board)
    # An address space of 16 bits cannot hold one object of that size: it takes several.
    count = board.near_nv.size_bytes // 30000 + 1
    names = [f"large_{number}" for number in range(count)]
    with (folder / "weights.h").open("a") as header:
        header.writelines(f"extern const int8_t {name}[30000];\n" for name in names)
    with (folder / "weights.c").open("a") as definitions:
        definitions.writelines(f"FM_WEIGHTS const int8_t {name}[30000] = {{1}};\n" for name in names)
    model = folder / "model.c"
    step = "    fm_arena.s8[0] = (int8_t)(fm_arena.s8[0] ^ {}[(unsigned char)fm_arena.s8[1]]);\n"
    uses = "".join(step.format(name) for name in names)
    model.write_text(model.read_text().replace("    const int32_t sum", f"{uses}    const int32_t sum"))
    with pytest.raises(ToolchainError, match=rf"linking firmware\.elf failed(?s:.*){board.near_nv.name}"):
        build(toolchain, board, folder, tmp_path / "firmware.elf")


def test_a_failed_build_leaves_the_earlier_file(msp430: Board, zig: Toolchain, tmp_path: Path):
    folder = emit_tiny(tmp_path / "fw", msp430)
    elf = build(zig, msp430, folder, tmp_path / "firmware.elf").elf
    before = elf.read_bytes()
    (folder / "model.c").write_text("#error on purpose\n")
    with pytest.raises(ToolchainError, match="on purpose"):
        build(zig, msp430, folder, elf)
    assert elf.read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_building_what_is_not_there(msp430: Board, zig: Toolchain, tmp_path: Path):
    with pytest.raises(ToolchainError, match="no such folder"):
        build(zig, msp430, tmp_path / "missing", tmp_path / "firmware.elf")
    other_board = next(board for board, _ in TOOLCHAINS if board is not msp430)
    with pytest.raises(ToolchainError, match=r"no linker script .*msp430fr5994\.ld"):
        build(zig, msp430, emit_tiny(tmp_path / "fw", other_board), tmp_path / "firmware.elf")


def test_sizes_of_what_is_not_a_firmware(msp430: Board, zig: Toolchain, built: Built, tmp_path: Path):
    elf = built(msp430, zig).elf
    other_board = next(board for board, _ in TOOLCHAINS if board is not msp430)
    with pytest.raises(ToolchainError, match=rf"not a firmware for {other_board.title}"):
        sizes(elf, other_board)
    with pytest.raises(ToolchainError, match="cannot read"):
        sizes(tmp_path / "missing.elf", msp430)
    text = tmp_path / "text.elf"
    text.write_text("no ELF file")
    with pytest.raises(ToolchainError, match="is not an ELF file"):
        sizes(text, msp430)


def test_a_section_outside_the_memories_is_named(msp430: Board, zig: Toolchain, tmp_path: Path):
    folder = emit_tiny(tmp_path / "fw", msp430)
    script = folder / "board" / msp430.linker_script
    script.write_text(script.read_text().replace("ORIGIN = 0x01C00", "ORIGIN = 0x01000"))
    with pytest.raises(ToolchainError, match=r"section \.data at 0x1000, 2 bytes, lies outside .*SRAM 0x1C00-0x3BFF"):
        build(zig, msp430, folder, tmp_path / "firmware.elf")
