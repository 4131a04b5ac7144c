"""The core's structures (core/machine.h) as ctypes sees them. `library.py` compares sizes."""

from __future__ import annotations

from ctypes import Structure, c_uint32, c_uint64, c_void_p

NOT_YET = 2**64 - 1
"""No limit, or an event that never comes."""

STOPS = ("running", "breakpoint", "instructions", "cycles", "input", "ended", "fault", "drain")
"""`enum stop`, by number."""

BREAK_STOP, BREAK_INPUT = 1, 2
"""Flags of breakpoints."""


class _Mpy(Structure):
    _fields_ = (
        ("result", c_uint64),
        ("base", c_uint64),
        ("ready", c_uint64 * 4),
        ("low_written", c_uint64),
        ("op1", c_uint32),
        ("op2", c_uint32),
        ("control", c_uint32),
        ("sumext", c_uint32),
    )


class _DmaChannel(Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("control", "source", "target", "size", "now_source", "now_target")),
        *((name, c_uint32) for name in ("size_again", "active", "started", "burst")),
        ("resume_at", c_uint64),
    )


class _Timer(Structure):
    _fields_ = (
        ("since", c_uint64),
        ("fraction", c_uint64),
        ("count", c_uint32),
        ("control", c_uint32),
        ("expansion", c_uint32),
        ("cctl", c_uint32 * 3),
        ("ccr", c_uint32 * 3),
        ("reserved", c_uint32),
    )


class _Uart(Structure):
    _fields_ = (
        ("buffer_free_at", c_uint64),
        ("idle_at", c_uint64),
        ("received", c_uint32),
        ("flags", c_uint32),
        ("enabled", c_uint32),
        ("rx_position", c_uint32),
    )


class _Clock(Structure):
    _fields_ = (
        ("mclk_hz", c_uint32),
        ("smclk_hz", c_uint32),
        ("aclk_hz", c_uint32),
        ("unlocked", c_uint32),
        ("watchdog_since", c_uint64),
        ("watchdog_at", c_uint64),
    )


class State(Structure):
    """What a snapshot holds, but for the memory that follows it."""

    _fields_ = (
        ("r", c_uint32 * 16),
        ("cycles", c_uint64),
        ("instructions", c_uint64),
        ("nv_writes", c_uint64),
        ("nv_reads", c_uint64),
        ("event_at", c_uint64),
        ("attention", c_uint32),
        ("waits", c_uint32),
        ("cache", c_uint32 * 4),
        ("output_used", c_uint32),
        ("log_used", c_uint32),
        ("clock", _Clock),
        ("mpy", _Mpy),
        ("dma", _DmaChannel * 6),
        ("timer", _Timer),
        ("uart", _Uart),
    )


class Core(Structure):
    """One machine. The memory begins right behind it."""

    _fields_ = (
        *((name, c_void_p) for name in ("ops", "code", "breaks", "function_of", "profile", "log", "watched")),
        *((name, c_void_p) for name in ("output", "input")),
        ("input_bytes", c_uint64),
        *((name, c_uint32) for name in ("log_capacity", "output_capacity", "memory_bytes", "ram_start", "ram_bytes")),
        *((name, c_uint32) for name in ("nv_bytes", "plain_nv_bytes", "watch_start", "watch_bytes", "hazards")),
        *((name, c_uint32) for name in ("hazard_pc", "hazard_address")),
        *((name, c_uint32) for name in ("stack_limit", "fault", "fault_address", "fault_detail")),
        *((name, c_uint32) for name in ("fault_bytes", "fault_channel", "pc", "profiling")),
        ("memory", c_void_p),
        ("state", State),
    )


class LogEntry(Structure):
    """One write to non-volatile memory."""

    _fields_ = (
        ("cycle", c_uint64),
        ("pc", c_uint32),
        ("address", c_uint32),
        ("value", c_uint32),
        ("bytes", c_uint32),
    )


class ProfileEntry(Structure):
    """What one function cost."""

    _fields_ = tuple((name, c_uint64) for name in ("instructions", "cycles", "nv_writes", "nv_reads"))
