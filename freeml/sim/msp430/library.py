"""The simulator's core as a shared library with typed functions."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from freeml.errors import ToolchainError
from freeml.sim import native
from freeml.sim.msp430.layout import Core

_SOURCES = Path(__file__).with_name("core")


@functools.cache
def load_library() -> ctypes.CDLL:
    """The core with its functions' types, compiled when first needed. Raises ToolchainError."""
    library = native.load_library("msp430", sorted(_SOURCES.glob("*.c")), (_SOURCES,), optimise="-O3")
    unsigned, long, pointer = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "m430_core_bytes": (long, (unsigned,)),
        "m430_memory_bytes": (long, (unsigned,)),
        "m430_state_offset": (long, ()),
        "m430_op_bytes": (long, ()),
        "m430_init": (None, (pointer, unsigned)),
        "m430_reset": (None, (pointer, unsigned)),
        "m430_forget": (None, (pointer, unsigned, unsigned)),
        "m430_forget_changes": (None, (pointer, pointer)),
        "m430_set_break": (None, (pointer, unsigned, unsigned, unsigned)),
        "m430_watch": (None, (pointer, unsigned, unsigned)),
        "m430_fingerprint": (None, (pointer, pointer)),
        "m430_run": (unsigned, (pointer, long, long, unsigned)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    layout = (library.m430_core_bytes(0) - library.m430_memory_bytes(0), library.m430_state_offset())
    if layout != (ctypes.sizeof(Core), Core.state.offset):
        raise ToolchainError(
            f"the MSP430 simulator: expected structures of {ctypes.sizeof(Core)} bytes, found {layout[0]}"
        )
    return library
