"""The core is compiled when it is needed and found again."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from freeml.errors import ToolchainError
from freeml.sim.msp430 import library
from freeml.toolchains import toolchain as toolchains
from freeml.toolchains.build import build_host_sources

SOURCES = sorted(library._SOURCES.glob("*.c"))


def fake_build(monkeypatch):
    """Compiling takes seconds, and it is not what these tests are about."""
    calls = []

    def build(sources, include_dirs, out, **_):
        calls.append(out)
        out.write_bytes(b"library")
        out.chmod(0o755)
        return out

    monkeypatch.setattr(library, "build_host_sources", build)
    return calls


def test_it_is_built_once(monkeypatch, tmp_path):
    calls = fake_build(monkeypatch)
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path / "deep" / "cache"))
    path = library.library_path()
    assert path.parent == tmp_path / "deep" / "cache"
    assert library.library_path() == path
    assert len(calls) == 1
    assert list(path.parent.iterdir()) == [path], "nothing else is left there"


def test_another_compiler_or_source_is_another_library(monkeypatch, tmp_path):
    fake_build(monkeypatch)
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path))
    first = library.library_path()
    zig = toolchains.find_host("zig")
    monkeypatch.setattr(library, "find_host", lambda: zig)
    second = library.library_path()
    copy = tmp_path / "core"
    copy.mkdir()
    for path in library._SOURCES.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "cycles.c").write_bytes(b"/* changed */\n" + (copy / "cycles.c").read_bytes())
    monkeypatch.setattr(library, "_SOURCES", copy)
    assert len({first, second, library.library_path()}) == 3


def test_where_it_is_kept(monkeypatch, tmp_path):
    fake_build(monkeypatch)
    monkeypatch.setattr(library.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.delenv("FREEML_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert library.library_path().parent == tmp_path / "xdg" / "freeml"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert library.library_path().parent == tmp_path / "home" / ".cache" / "freeml"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path / "file"))
    assert library.library_path().parent.parent == tmp_path / "tmp", "what cannot be written is passed over"


def test_a_library_that_others_can_write_is_not_run(monkeypatch, tmp_path):
    calls = fake_build(monkeypatch)
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path))
    path = library.library_path()
    path.chmod(0o777)
    assert library.library_path() == path
    assert len(calls) == 2


def test_a_broken_library_is_named(monkeypatch, tmp_path):
    fake_build(monkeypatch)
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"msp430-\w+\.so: cannot be loaded .* delete it"):
        library.load_library.__wrapped__()


def test_it_can_be_built_ahead():
    done = subprocess.run([sys.executable, "-m", "freeml.sim.msp430"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(library.library_path()))


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
        "m430_forget", "m430_forget_changes", "m430_set_break", "m430_run",
    }  # fmt: skip
    assert ctypes.CDLL(str(path)).m430_op_bytes() == 32


def test_every_file_of_the_core_is_short():
    for path in library._SOURCES.glob("*.[ch]"):
        lines = path.read_text().splitlines()
        assert len(lines) < 400, path.name
        assert max(map(len, lines)) <= 120, path.name
