"""Compilers for the boards and for this machine: finding them, building with them, measuring what they made."""

from __future__ import annotations

from freeml.toolchains.build import BOARD_FOLDER, BuildResult, build, build_host, build_host_sources, build_sources
from freeml.toolchains.flags import OPTIMISE
from freeml.toolchains.sizes import Sizes, sizes
from freeml.toolchains.stack import StackEstimate, estimate_stack
from freeml.toolchains.toolchain import HOST, Toolchain, find, find_host, installed, installed_host

__all__ = [
    "BOARD_FOLDER",
    "HOST",
    "OPTIMISE",
    "BuildResult",
    "Sizes",
    "StackEstimate",
    "Toolchain",
    "build",
    "build_host",
    "build_host_sources",
    "build_sources",
    "estimate_stack",
    "find",
    "find_host",
    "installed",
    "installed_host",
    "sizes",
]
