"""The stack estimate on call graphs whose answer is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.toolchains import Toolchain, estimate_stack

CHAIN = """
void _start(void);
void left(void);
void right(void);
void leaf(volatile char *place);
extern void (*const table[2])(void);
extern volatile int which;
void (*const table[2])(void) = {left, right};
void leaf(volatile char *place) { *place = 1; }
void left(void) { volatile char room[100]; leaf(room); room[which] = 2; }
void right(void) { volatile char room[50]; leaf(room); room[which] = 2; }
void _start(void) { table[which](); which = 0; }
"""

OTHER = """
extern volatile int which;
volatile int which;
"""

RETURN_BYTES = 2


def _objects(toolchain: Toolchain, folder: Path, *codes: str, flags: tuple[str, ...] = ()) -> list[Path]:
    objects = []
    for number, code in enumerate(codes):
        source = folder / f"part_{number}.c"
        source.write_text(code)
        command = toolchain.compile_command(source, source.with_suffix(".o"), flags=("-O1", "-fno-inline", *flags))
        subprocess.run(command, check=True, cwd=folder)
        objects.append(source.with_suffix(".o"))
    return objects


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "zig"))


def test_the_heaviest_branch_through_a_table_of_functions(zig: Toolchain, tmp_path: Path):
    estimate = estimate_stack(_objects(zig, tmp_path, CHAIN, OTHER), RETURN_BYTES)
    assert [name for name, _ in estimate.path] == ["_start", "left", "leaf"]
    assert estimate.path[0][1] == RETURN_BYTES
    assert 100 + RETURN_BYTES <= estimate.path[1][1] <= 110
    assert estimate.size_bytes == sum(size for _, size in estimate.path)


def test_a_cycle_is_cut(zig: Toolchain, tmp_path: Path):
    recursive = CHAIN.replace("*place = 1;", "*place = 1; if (which) { left(); }")
    estimate = estimate_stack(_objects(zig, tmp_path, recursive, OTHER), RETURN_BYTES)
    assert [name for name, _ in estimate.path] == ["_start", "left", "leaf"]


def test_frames_from_gcc_listings_with_clones(zig: Toolchain, tmp_path: Path):
    objects = _objects(zig, tmp_path, CHAIN, OTHER, flags=("-fno-stack-size-section",))
    lines = (
        "_start\t4\tstatic",
        "left.constprop\t30\tstatic",
        "left\t10\tstatic",
        "right.isra\t70\tstatic",
        "leaf\t6\tstatic",
    )
    objects[0].with_suffix(".su").write_text("".join(f"{tmp_path}/part_0.c:9:6:{line}\n" for line in lines))
    estimate = estimate_stack(objects, RETURN_BYTES)
    assert estimate.path == (("_start", 6), ("right", 72), ("leaf", 8))


def test_a_program_without_an_entry(zig: Toolchain, tmp_path: Path):
    with pytest.raises(ToolchainError, match="no object file defines the entry '_start'"):
        estimate_stack(_objects(zig, tmp_path, OTHER), RETURN_BYTES)
    with pytest.raises(ToolchainError, match="cannot read the object file"):
        estimate_stack([tmp_path / "part_0.c"], RETURN_BYTES)
