"""Compilers are found where they are, and their absence is told in a way that helps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.targets import BOARDS, Board
from freeml.toolchains import find, find_host, installed
from freeml.toolchains.flags import WARNINGS


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No compiler anywhere; returns the only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("FREEML_MSP430_GCC", "FREEML_ARM_GCC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return tmp_path


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_zig_is_the_default_and_comes_from_the_package(board: Board):
    toolchain = find(board)
    assert toolchain.kind == "zig"
    assert Path(toolchain.compiler[0]).parent.name == "ziglang"
    assert toolchain == find(board, "zig")


def test_an_unknown_name_lists_the_known_ones(msp430: Board):
    with pytest.raises(
        ToolchainError, match=r"no toolchain 'iar' for TI MSP430FR5994: expected one of zig, clang, gcc"
    ):
        find(msp430, "iar")
    with pytest.raises(ToolchainError, match=r"no toolchain 'msvc' for this machine: expected one of gcc, clang, zig"):
        find_host("msvc")


def test_nothing_installed_says_where_it_looked_and_how_to_get_it(msp430: Board, bare_machine: Path):
    with pytest.raises(ToolchainError) as caught:
        find(msp430)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert "zig: looked for the Python package ziglang, zig on PATH; install it with `pip install ziglang`" in text
    assert "clang: looked for clang, and ld.lld on PATH; install clang and lld" in text
    assert "gcc: looked for $FREEML_MSP430_GCC (not set), msp430-elf-gcc on PATH; build it with" in text
    assert installed(msp430) == ()
    with pytest.raises(ToolchainError, match="no C compiler for this machine was found"):
        find_host()


def test_a_missing_compiler_asked_for_by_name_speaks_of_that_one_only(msp430: Board, bare_machine: Path):
    with pytest.raises(ToolchainError) as caught:
        find(msp430, "gcc")
    assert "msp430-elf-gcc" in str(caught.value)
    assert "ziglang" not in str(caught.value)


def test_gcc_is_found_through_its_variable_and_on_the_path(msp430: Board, bare_machine: Path, monkeypatch):
    inside = _program(bare_machine / "prefix" / "bin" / "msp430-elf-gcc")
    for value in (inside, inside.parent, inside.parent.parent):
        monkeypatch.setenv("FREEML_MSP430_GCC", str(value))
        assert Path(find(msp430, "gcc").compiler[0]).resolve() == inside
    monkeypatch.setenv("FREEML_MSP430_GCC", str(bare_machine / "elsewhere"))
    with pytest.raises(ToolchainError, match=r"\$FREEML_MSP430_GCC \(.*elsewhere\)"):
        find(msp430, "gcc")
    monkeypatch.delenv("FREEML_MSP430_GCC")
    on_path = _program(bare_machine / "msp430-elf-gcc")
    assert find(msp430).compiler == (str(on_path),), "and it is the default when it is the only one"


def test_clang_needs_its_linker(msp430: Board, bare_machine: Path):
    _program(bare_machine / "clang")
    with pytest.raises(ToolchainError, match=r"ld\.lld"):
        find(msp430, "clang")
    linker = _program(bare_machine / "ld.lld")
    assert find(msp430, "clang").linker == (str(linker),)


def test_host_compilers_in_order_of_speed(bare_machine: Path):
    expected = []
    for kind in ("zig", "clang", "gcc"):
        _program(bare_machine / kind)
        expected.insert(0, kind)
        assert find_host().kind == expected[0]
    assert find_host("zig").compiler == (str(bare_machine / "zig"), "cc")


def test_zig_is_no_choice_where_a_c_library_is_needed(bare_machine: Path):
    _program(bare_machine / "zig")
    with pytest.raises(ToolchainError, match="no C compiler"):
        find_host(needs_libc=True)
    _program(bare_machine / "cc")
    assert find_host(needs_libc=True).compiler == (str(bare_machine / "cc"),)


def test_every_warning_of_the_house_is_on(msp430: Board):
    flags = find(msp430).compile_command(Path("a.c"), Path("a.o"))
    assert set(WARNINGS) <= set(flags)
    assert "-Werror" in WARNINGS
    assert not [flag for flag in flags if flag.startswith("-Wno-")]
