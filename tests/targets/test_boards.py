"""Boards are data: what they say must agree with the firmware folders that belong to them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from freeml.errors import FreemlError
from freeml.resources import resource_dir
from freeml.targets import BOARDS, Board, get

REGION = re.compile(r"^\s*(\w+)\s*\(\w+\)\s*:\s*ORIGIN = (0x[0-9A-F]+), LENGTH = (0x[0-9A-F]+)$", re.MULTILINE)

boards = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def _firmware(board: Board, name: str) -> str:
    return (resource_dir("firmware") / board.name / name).read_text()


def test_get_finds_every_board_and_names_them_when_there_is_none():
    assert [get(name).name for name in BOARDS] == list(BOARDS)
    with pytest.raises(FreemlError, match=r"unknown target 'esp32'.*msp430, apollo4"):
        get("esp32")


@boards
def test_linker_script_has_the_memories_of_the_board(board: Board):
    regions = {
        (name, int(start, 16), int(size, 16))
        for name, start, size in REGION.findall(_firmware(board, board.linker_script))
    }
    assert regions == {(m.name, m.start, m.size_bytes) for m in board.memories}


@boards
def test_memories_do_not_overlap(board: Board):
    ordered = sorted(board.memories, key=lambda memory: memory.start)
    assert all(left.end <= right.start for left, right in pairwise(ordered))


@boards
def test_budgets_lie_inside_the_memories(board: Board):
    for kind, budget in (("sram", board.sram_bytes), ("nv", board.nv_bytes)):
        assert 0 < budget <= sum(m.size_bytes for m in board.memories if m.kind == kind)
    assert board.near_nv in board.memories
    assert board.near_nv.end <= 1 << board.pointer_bits
    assert board.near_nv.start % board.alignment_bytes == 0


@boards
def test_sections_the_compiler_fills_are_in_the_linker_script(board: Board):
    script = _firmware(board, board.linker_script)
    assert f"*({board.nv_data_section} {board.nv_data_section}.*)" in script
    assert f"*({board.weights_section} {board.weights_section}.*)" in script


@boards
def test_readme_shows_the_memories(board: Board):
    readme = _firmware(board, "README.md")
    for memory in board.memories:
        if memory.name != "VECTORS":
            assert re.search(rf"\| {memory.name} \| 0x0*{memory.start:X}-0x0*{memory.end - 1:X} \|", readme), (
                memory.name
            )


def test_msp430_register_header_and_linker_script_name_the_same_registers():
    declared = re.findall(r"extern volatile uint(?:8|16)_t (\w+);", _firmware(BOARDS["msp430"], "msp430fr5994.h"))
    placed = re.findall(r"PROVIDE\(([A-Z]\w+) = 0x[0-9A-F]{4}\);", _firmware(BOARDS["msp430"], "msp430fr5994.ld"))
    assert declared == placed
    assert len(set(placed)) == len(placed)
