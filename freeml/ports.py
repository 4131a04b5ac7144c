"""Ways to a board's console: a serial port, standard input."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Any, Protocol

from freeml.errors import FreemlError
from freeml.targets import Console


class DeviceError(FreemlError):
    """A board does not answer, answers something else, or cannot be reached."""


class Link(Protocol):
    """Bytes to a board and back."""

    def write(self, data: bytes) -> None:
        """Send. Raises DeviceError where nothing can be sent."""

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, or none when the time is over or the other side has gone."""


class SerialLink:
    """A serial port: 8 data bits, no parity, 1 stop bit, no flow control."""

    def __init__(self, port: str, baud: int, console: Console) -> None:
        """Open it. Raises DeviceError: pyserial is missing, or there is no such port, or somebody else has it."""
        try:
            import serial
        except ImportError as error:
            raise DeviceError(
                "a serial port takes the package pyserial, which is not installed: pip install pyserial"
            ) from error
        self._failures = (serial.SerialException, OSError)
        self._name = port
        try:
            self._port: Any = serial.Serial(port, baud, timeout=0, exclusive=True)
        except (*self._failures, ValueError) as error:
            raise DeviceError(f"{port}: cannot be opened: {_reason(error)}; {console.where}") from error
        self._port.reset_input_buffer()

    def write(self, data: bytes) -> None:
        """Send and wait until it is sent."""
        try:
            self._port.write(data)
            self._port.flush()
        except self._failures as error:
            raise DeviceError(f"{self._name}: the connection was lost: {_reason(error)}") from error

    def read(self, timeout_s: float) -> bytes:
        """What has come, or comes first."""
        try:
            self._port.timeout = timeout_s
            first: bytes = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except self._failures as error:
            raise DeviceError(f"{self._name}: the connection was lost: {_reason(error)}") from error


class InputLink:
    """Standard input, into which somebody pipes what the board says."""

    def write(self, data: bytes) -> None:
        """Nothing can be sent."""
        raise DeviceError("standard input brings the board's console only: nothing can be asked of the board")

    def read(self, timeout_s: float) -> bytes:
        """What has come, or comes first."""
        source = sys.stdin.fileno()
        ready, _, _ = select.select([source], [], [], timeout_s)
        return os.read(source, 4096) if ready else b""


def open_link(port: str, baud: int | None, console: Console) -> Link:
    """The link behind what a user calls a port: `-` is standard input. Raises DeviceError."""
    if port == "-":
        return InputLink()
    speed = baud or console.baud
    if speed is None:
        raise DeviceError(f"{Path(port)}: this board's console is no serial port; {console.where}")
    return SerialLink(port, speed, console)


def _reason(error: Exception) -> str:
    """In words, without the numbers and the repeated names of the layers below."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(error)
