"""A firmware folder in the shape that freeml emits, with a hand-written model of two layers inside."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import pytest

from freeml.resources import resource_dir
from freeml.targets import BOARDS, Board
from freeml.toolchains import BuildResult, Toolchain, build, installed
from freeml.toolchains.objects import Objects

HERE = Path(__file__).parent

Built: TypeAlias = Callable[[Board, Toolchain], BuildResult]

TOOLCHAINS = [(board, toolchain) for board in BOARDS.values() for toolchain in installed(board)]
"""Every board with every compiler that this machine has for it; zig comes with the set-up, so each board is here."""

each_toolchain = pytest.mark.parametrize(
    ("board", "toolchain"), TOOLCHAINS, ids=[f"{board.name}-{toolchain.kind}" for board, toolchain in TOOLCHAINS]
)

each_for_msp430 = pytest.mark.parametrize(
    "toolchain",
    [toolchain for board, toolchain in TOOLCHAINS if board.name == "msp430"],
    ids=lambda toolchain: toolchain.kind,
)


def emit_tiny(folder: Path, board: Board) -> Path:
    """Writes the tiny firmware for a board into a new folder."""
    shutil.copytree(HERE / "tiny", folder)
    firmware = resource_dir("firmware")
    for source, target in (("common", "runtime"), ("device", "device"), ("host", "host"), (board.name, "board")):
        shutil.copytree(firmware / source, folder / target)
    shutil.copy(firmware / "Makefile", folder)
    return folder


@pytest.fixture
def msp430() -> Board:
    return BOARDS["msp430"]


@pytest.fixture
def zig(msp430: Board) -> Toolchain:
    return next(toolchain for board, toolchain in TOOLCHAINS if board is msp430 and toolchain.kind == "zig")


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is compiled, whatever this process has compiled before."""
    monkeypatch.setattr(import_module("freeml.toolchains.build"), "OBJECTS", Objects())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tiny firmware as each toolchain builds it, once."""

    @cache
    def result(board: Board, toolchain: Toolchain) -> BuildResult:
        place = tmp_path_factory.mktemp(f"{board.name}-{toolchain.kind}")
        return build(toolchain, board, emit_tiny(place / "fw", board), place / "firmware.elf")

    return result
