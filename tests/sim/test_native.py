"""The C parts of the simulators: built once, taken from the cache afterwards, anew after a change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.sim.native import cache_folder, load_library

SOURCE = '#include "number.h"\nint number(void);\nint number(void) { return NUMBER; }\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREEML_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "number.h").write_text("#define NUMBER 41\n")
    (folder / "number.c").write_text(SOURCE)
    return folder / "number.c"


def number(source: Path) -> int:
    return int(load_library("number", [source], [source.parent]).number())


def cached() -> list[Path]:
    return sorted(cache_folder().iterdir())


def test_built_once_and_again_after_any_change(source):
    assert number(source) == 41
    (first,) = cached()
    stamp = first.stat().st_mtime_ns
    assert number(source) == 41
    assert first.stat().st_mtime_ns == stamp
    (source.parent / "number.h").write_text("#define NUMBER 42\n")
    assert number(source) == 42
    assert len(cached()) == 2
    source.write_text(SOURCE.replace("NUMBER; }", "NUMBER + 1; }"))
    assert number(source) == 43
    assert first in cached()
    assert len(cached()) == 3


def test_a_damaged_library_is_built_anew(source):
    # Elsewhere: this process would find the library that it has loaded under the same name.
    script = f"""from pathlib import Path
from freeml.sim.native import load_library
source = Path({str(source)!r})
print(load_library("number", [source], [source.parent]).number())
"""

    def elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert elsewhere() == "41\n"
    (library,) = cached()
    good = library.read_bytes()
    library.write_bytes(good[:100])
    assert elsewhere() == "41\n"
    assert library.read_bytes()[:4] == good[:4]
    assert library.stat().st_size == len(good)


def test_where_nothing_can_be_written(source, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("FREEML_CACHE", str(blocked))
    assert number(source) == 41
    assert blocked.read_text() == "a file where a folder should be"


def test_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FREEML_CACHE", "/one")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("FREEML_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/two/freeml")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "freeml"


def test_zig_alone_is_enough(source, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert number(source) == 41


def test_no_compiler_at_all(source, tmp_path, monkeypatch):
    monkeypatch.setattr("freeml.toolchains.toolchain._locate", lambda compiler: None)
    with pytest.raises(ToolchainError, match=r"number has a part in C, .* no C compiler for this machine"):
        number(source)


def test_faulty_and_missing_sources(source):
    source.write_text("int number(void) { return 1; }\n")
    with pytest.raises(ToolchainError, match=r"compiling number\.c failed"):
        number(source)
    assert cached() == []
    source.unlink()
    with pytest.raises(ToolchainError, match=r"cannot read .*number\.c"):
        number(source)


def test_a_library_that_others_may_write_is_not_run(source):
    assert number(source) == 41
    (library,) = cached()
    library.chmod(0o777)
    stamp = library.stat().st_mtime_ns
    assert number(source) == 41
    assert library.stat().st_mtime_ns != stamp
    assert library.stat().st_mode & 0o022 == 0


def test_both_simulators_are_built_ahead(tmp_path):
    command = [sys.executable, "-m", "freeml.sim"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"simulators: {cache_folder()}\n")
    assert {path.name.partition("-")[0] for path in cached()} >= {"msp430", "apollo4"}
