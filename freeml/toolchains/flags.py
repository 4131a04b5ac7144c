"""Compiler flags that every build of freeml's C uses. What is particular to a board is in `freeml.targets`."""

from __future__ import annotations

from freeml.targets import CompilerKind

OPTIMISE = "-Os"
"""For boards. The emitted Makefile has the same, so that it makes what reports measure."""

WARNINGS = (
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wmissing-prototypes",
    "-Wundef",
    "-Wdouble-promotion",
)
"""Emitted and firmware C is clean under these; assembly is given them too, where they mean nothing."""

FREESTANDING = (
    "-g0",
    "-ffreestanding",
    "-fno-builtin",
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
)
"""No C library, no unwinding, one section per function and object, so that the linker drops what nothing uses."""

# GCC turns the loop inside memcpy into a call of memcpy unless told not to, even when freestanding.
_GCC_FRAMES = ("-fstack-usage", "-fno-tree-loop-distribute-patterns")

FRAME_SIZES: dict[CompilerKind, tuple[str, ...]] = {
    "zig": ("-fstack-size-section",),
    "clang": ("-fstack-size-section",),
    "gcc": _GCC_FRAMES,
    "gcc-large": _GCC_FRAMES,
}
"""How each compiler is asked for the size of every function's frame, and what else it needs to be freestanding."""

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g")
"""For host builds: any report ends the program with a failure."""
