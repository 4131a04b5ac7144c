"""Emitted folders build without a warning with every compiler of every board, and as programs for this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from cgates.gate_nets import NETS, gate_net

from freeml.artifact import write_files
from freeml.codegen.emit import firmware_files
from freeml.errors import ToolchainError
from freeml.resources import resource_dir
from freeml.targets import BOARDS, Board
from freeml.toolchains import HOST, OPTIMISE, Toolchain, build, build_host, find, find_host
from freeml.toolchains.flags import WARNINGS

pytestmark = pytest.mark.cgates

PROMISED = (
    "-std=c99 -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wmissing-prototypes -Wundef "
    "-Wdouble-promotion"
).split()
HOST_KINDS = ("gcc", "clang", "zig")
COMPILERS = [(board.name, compiler.kind) for board in BOARDS.values() for compiler in board.compilers]
EVERY_COMPILER = [*COMPILERS, *((HOST, kind) for kind in HOST_KINDS)]

BUGS = {
    "-Wall": "int a(int x); int a(int x) { int unused; return x; }",
    "-Wextra": "int b(int x); int b(int x) { return 1; }",
    "-Wconversion": "short c(long x); short c(long x) { return x; }",
    "-Wsign-conversion": "unsigned long d(long x); unsigned long d(long x) { return x; }",
    "-Wshadow": "int e(int x); int e(int x) { if (x > 1) { int x = 2; return x; } return x; }",
    "-Wmissing-prototypes": "int f(int x) { return x; }",
    "-Wdouble-promotion": "double g(float x, double y); double g(float x, double y) { return x * y; }",
    "-Wundef": "#if BUG_UNDEFINED",
}
"""One line of C for each warning, wrong in no other way."""
CLOSING = "#endif\n"


def toolchain(target: str, kind: str) -> Toolchain:
    """The compiler; what pip does not bring may be missing, and skips the test."""
    try:
        return find_host(kind) if target == HOST else find(BOARDS[target], kind)
    except ToolchainError as error:
        if kind == "zig":
            raise
        pytest.skip(str(error).splitlines()[-1].strip())


def boards_of(name: str) -> tuple[Board, ...]:
    """Far constants exist where a board has memory for them."""
    return tuple(board for board in BOARDS.values() if board.far_nv is not None or not name.startswith("far"))


@pytest.mark.parametrize(
    ("name", "board", "kind"),
    [
        pytest.param(name, board, compiler.kind, id=f"{name}-{board.name}-{compiler.kind}")
        for name in NETS
        for board in boards_of(name)
        for compiler in board.compilers
    ],
)
def test_firmware_builds(name, board, kind, tmp_path):
    chosen = toolchain(board.name, kind)
    folder = gate_net(name).write(board.name, tmp_path / "fw")
    result = build(chosen, board, folder, tmp_path / "firmware.elf", optimise=OPTIMISE)
    assert result.elf.is_file()
    assert result.toolchain == kind
    assert result.sizes.code > 0


@pytest.mark.parametrize("kind", ["gcc", "clang"])
@pytest.mark.parametrize("name", ["operators", "far"])
def test_host_program_builds(name, kind, tmp_path):
    """host/main.c is in no library; test_same_answers builds everything else, for every net."""
    chosen = toolchain(HOST, kind)
    folder = gate_net(name).write("msp430", tmp_path / "fw")
    assert build_host(folder, tmp_path / "model", toolchain=chosen, shared=False, optimise="-O1").is_file()


@pytest.mark.parametrize(("target", "kind"), EVERY_COMPILER)
def test_every_promised_flag_is_given(target, kind):
    command = toolchain(target, kind).compile_command(Path("a.c"), Path("a.o"), (), (OPTIMISE,))
    assert [flag for flag in PROMISED if flag not in command] == []
    assert [flag for flag in command if flag == "-w" or flag.startswith("-Wno-")] == []


def test_the_emitted_makefile_gives_the_same_flags():
    text = (resource_dir("firmware") / "device" / "device.mk").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^WARNINGS := (.*)$", text, re.MULTILINE)
    assert found is not None
    assert found[1].split() == list(WARNINGS)


@pytest.mark.parametrize(("target", "kind"), EVERY_COMPILER)
def test_each_warning_is_an_error(target, kind, tmp_path):
    """One bug for each flag: the compiler names every line, so that no flag is given and ignored."""
    chosen = toolchain(target, kind)
    source = tmp_path / "bugs.c"
    source.write_text("\n".join([*BUGS.values(), CLOSING]), encoding="utf-8")
    command = chosen.compile_command(source, tmp_path / "bugs.o")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    complained = {int(line) for line in re.findall(r"bugs\.c:(\d+):\d+: error", done.stderr)}
    silent = [flag for number, flag in enumerate(BUGS, start=1) if number not in complained]
    assert silent == [], done.stderr


@pytest.mark.parametrize(("target", "kind"), COMPILERS)
@pytest.mark.parametrize("path", ["model.c", "runtime/fm_tables.c", "device/main.c", "board/board.c"])
def test_a_warning_anywhere_stops_the_build(target, kind, path, tmp_path):
    chosen, board = toolchain(target, kind), BOARDS[target]
    folder = gate_net("far" if board.far_nv else "har").write(board.name, tmp_path / "fw")
    spoiled = folder / path
    spoiled.write_text(spoiled.read_text(encoding="utf-8") + "int bug(long x) { return (short)x; }\n", encoding="utf-8")
    with pytest.raises(ToolchainError, match=rf"(?s)compiling {spoiled.name} failed.*bug"):
        build(chosen, board, folder, tmp_path / "firmware.elf", optimise=OPTIMISE)
    assert not (tmp_path / "firmware.elf").exists()


@pytest.mark.parametrize("board", BOARDS)
def test_every_hand_written_source_is_in_the_folder(board, tmp_path):
    """What is not in the emitted folder would pass no gate."""
    write_files(firmware_files(board), tmp_path)
    root = resource_dir("firmware")
    expected = {path.name for part in ("common", "host", "device", board) for path in (root / part).glob("*.[chS]")}
    assert {path.name for path in tmp_path.rglob("*.[chS]")} == expected
