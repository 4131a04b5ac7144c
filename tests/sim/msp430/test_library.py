"""The core in C: clean and free-standing under every compiler of this machine."""

from __future__ import annotations

import ctypes

import pytest

from freeml.sim.msp430 import library
from freeml.toolchains import toolchain as toolchains
from freeml.toolchains.build import build_host_sources

SOURCES = sorted(library._SOURCES.glob("*.c"))


@pytest.mark.cgates
@pytest.mark.parametrize("host", toolchains.installed_host(), ids=lambda host: host.kind)
def test_every_host_compiler_builds_it_and_it_needs_no_c_library(host, tmp_path):
    path = build_host_sources(SOURCES, (library._SOURCES,), tmp_path / "core.so", toolchain=host, optimise="-O3")
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        symbols = list(ELFFile(file).get_section_by_name(".dynsym").iter_symbols())
    needed = {
        s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF" and s["st_info"]["bind"] == "STB_GLOBAL" and s.name
    }
    assert needed == set()
    offered = {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["type"] == "STT_FUNC"}
    assert {name for name in offered if not name.startswith("_")} == {
        "m430_core_bytes", "m430_memory_bytes", "m430_state_offset", "m430_op_bytes", "m430_init", "m430_reset",
        "m430_forget", "m430_forget_changes", "m430_set_break", "m430_run", "m430_watch", "m430_fingerprint",
    }  # fmt: skip
    assert ctypes.CDLL(str(path)).m430_op_bytes() == 32


def test_every_file_of_the_core_is_short():
    for path in library._SOURCES.glob("*.[ch]"):
        lines = path.read_text().splitlines()
        assert len(lines) < 400, path.name
        assert max(map(len, lines)) <= 120, path.name
