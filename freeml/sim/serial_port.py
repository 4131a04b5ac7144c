"""A simulated board's console as a link: the simulator stands in for the board on the desk."""

from __future__ import annotations

from freeml.sim.machine import Machine

SLICE_S = 0.01
"""Simulated time between looks at what the board said."""


class SimulatedLink:
    """Time is the board's: it runs while somebody waits for it to speak, and stands still otherwise."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._halt = machine.image.symbol("fm_board_halt")

    def write(self, data: bytes) -> None:
        """Leave it on the console, to be heard when the board next runs."""
        self._machine.feed(data)

    def read(self, timeout_s: float) -> bytes:
        """What the board says next; nothing when it waits, sleeps for good, or `timeout_s` of its time have passed."""
        machine = self._machine
        clock_hz = machine.board.energy.clock_hz
        # Where cycles are not counted, one instruction stands for one: the limit is for hangs only.
        limit = int(timeout_s * clock_hz)
        step = max(1, int(SLICE_S * clock_hz))
        spent = 0
        while spent < limit:
            said = machine.take_output()
            if said or machine.pc == self._halt:
                return said
            reason = machine.run(stops={self._halt}, max_instructions=step)
            if reason == "input":
                return machine.take_output()
            spent += step
        return machine.take_output()
