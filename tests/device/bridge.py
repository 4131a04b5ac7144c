"""A pseudo-terminal with a simulated board at its other end: what a USB serial port is to a program."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from freeml.sim.board import open_machine
from freeml.sim.image import read_image
from freeml.sim.machine import Machine
from freeml.targets import Board

Spoil = Callable[[bytes], bytes]
SLICE = 100_000
"""Instructions between looks at the line."""


def untouched(data: bytes) -> bytes:
    return data


class Bridge:
    """Runs a machine in a thread of its own for as long as the line is open.

    `to_board` and `from_board` see every piece of the conversation and may spoil it.
    """

    def __init__(self, machine: Machine, to_board: Spoil, from_board: Spoil) -> None:
        self.machine = machine
        self._to_board, self._from_board = to_board, from_board
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.reset = threading.Event()
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        waiting = False
        try:
            while not self._closed.is_set():
                if self.reset.is_set():
                    self.reset.clear()
                    self.machine.power_on()
                    waiting = False
                if select.select([self._master], [], [], 0.01 if waiting else 0)[0]:
                    self.machine.feed(self._to_board(os.read(self._master, 4096)))
                    waiting = False
                if not waiting:
                    waiting = self.machine.run(max_instructions=SLICE) == "input"
                    said = self._from_board(self.machine.take_output())
                    if said:
                        os.write(self._master, said)
        except BaseException as error:
            self._failure = error

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(timeout=10)
        os.close(self._master)
        os.close(self._slave)
        if self._failure is not None:
            raise self._failure


@contextmanager
def board_on_a_port(
    board: Board, elf: Path, *, to_board: Spoil = untouched, from_board: Spoil = untouched
) -> Iterator[Bridge]:
    """A board that was flashed with `elf` and has just been switched on."""
    bridge = Bridge(open_machine(board, read_image(elf, board)), to_board, from_board)
    bridge.open()
    try:
        yield bridge
    finally:
        bridge.close()
