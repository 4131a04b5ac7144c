"""The boards freeml compiles for.

Adding a board is one file here, one line in `BOARDS`, and one folder below `firmware/`.
"""

from __future__ import annotations

from freeml.errors import FreemlError
from freeml.targets.apollo4 import APOLLO4
from freeml.targets.board import (
    Board,
    Compiler,
    CompilerKind,
    Console,
    Energy,
    ImageFormat,
    Memory,
    MemoryKind,
    Programmer,
    ProgrammerName,
)
from freeml.targets.msp430 import MSP430

BOARDS: dict[str, Board] = {board.name: board for board in (MSP430, APOLLO4)}

__all__ = [
    "BOARDS",
    "Board",
    "Compiler",
    "CompilerKind",
    "Console",
    "Energy",
    "ImageFormat",
    "Memory",
    "MemoryKind",
    "Programmer",
    "ProgrammerName",
    "get",
]


def get(name: str) -> Board:
    """The board of that name; `FreemlError` lists the known ones when there is none."""
    board = BOARDS.get(name)
    if board is None:
        raise FreemlError(f"unknown target {name!r}: expected one of {', '.join(BOARDS)}")
    return board
