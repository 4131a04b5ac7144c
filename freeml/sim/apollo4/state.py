"""The memory that the simulator's C part shares: a mirror of hooks.h, field by field and name by name."""

from __future__ import annotations

import ctypes

MRAM_START, MRAM_END = 0x0001_8000, 0x0020_0000
TCM_START, TCM_END = 0x1000_0000, 0x1006_0000
SSRAM_START, SSRAM_END = 0x1006_0000, 0x1016_0000
ROM_START, ROM_END = 0x0800_0000, 0x0800_1000
ROM_PROGRAM = ROM_START + 0x6C
ROM_GRANULE = ROM_START + 0x100
ITM_START, SCS_START = 0xE000_0000, 0xE000_E000
PAGE_BYTES = 0x1000
GRANULE_BYTES = 16

MARK_ROM = (MRAM_END - MRAM_START) // 2
MARKS = MARK_ROM + (ROM_END - ROM_START) // 2
STOP, DECODED = 1, 2

RUNNING, BREAKPOINT, LIMIT, DRAIN, FAULT = range(5)

OUTPUT_CAPACITY = 4096
LOG_CAPACITY = 1024


class CountsStruct(ctypes.Structure):
    """a4_counts."""

    _fields_ = (("instructions", ctypes.c_uint64), ("nv_writes", ctypes.c_uint64))


class NvWriteStruct(ctypes.Structure):
    """a4_nv_write."""

    _fields_ = (
        ("time", ctypes.c_uint64),
        ("pc", ctypes.c_uint32),
        ("address", ctypes.c_uint32),
        ("data", ctypes.c_uint8 * GRANULE_BYTES),
    )


class MachineStruct(ctypes.Structure):
    """a4_machine."""

    _fields_ = (
        ("total", CountsStruct),
        *((name, ctypes.c_uint64) for name in ("first", "limit")),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "stop", "read_register", "write_register", "register_ids", "mram", "tcm", "marks", "functions",
                "by_function", "dirty", "output", "log",
            )
        ),
        *(
            (name, ctypes.c_uint32)
            for name in (
                "output_capacity", "log_capacity", "stack_limit", "nv_start", "nv_end",
                "output_size", "log_size", "logging",
                "pc", "it_next", "it_end", "check_stack",
                "vtor", "scr", "cpacr", "itm_tcr", "itm_ter",
                "outcome", "fault", "fault_detail", "fault_address", "fault_size",
            )
        ),
    )  # fmt: skip
