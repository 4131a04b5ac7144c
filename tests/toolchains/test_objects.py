"""An object that was compiled before is taken again where nothing that it is made of has changed, and only there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.targets import Board
from freeml.toolchains import Toolchain, build, build_host_sources, find_host
from freeml.toolchains import objects as module
from freeml.toolchains.objects import Compiled, Objects

from .conftest import each_for_msp430, emit_tiny

BUILD = import_module("freeml.toolchains.build")


@pytest.fixture
def compiling(nothing_kept: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled, as it is compiled; nothing of what earlier tests compiled is kept."""
    seen: list[str] = []
    run: Callable[..., None] = BUILD._run

    def noted(command: Sequence[str], work: Path, what: str) -> None:
        seen.extend([what.removeprefix("compiling ")] if what.startswith("compiling") else [])
        run(command, work, what)

    monkeypatch.setattr(BUILD, "_run", noted)
    return seen


def write(folder: Path, **more: str) -> Path:
    """Two sources; one of them takes its answer from a header behind a header."""
    texts = {
        "answer.c": '#include "near.h"\nint fm_answer(void);\nint fm_answer(void) { return ANSWER; }\n',
        "other.c": "int fm_other(void);\nint fm_other(void) { return 7; }\n",
        "near.h": "  #  include <far.h>\n",
        "far.h": "#define ANSWER 42\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(more.get(name.replace(".", "_"), text))
    return folder


def library(folder: Path, *before: Path, optimise: str = "-O1") -> bytes:
    sources = [folder / "answer.c", folder / "other.c"]
    built = build_host_sources(sources, [*before, folder], folder / "out.so", optimise=optimise)
    return built.read_bytes()


def test_what_is_the_same_is_not_compiled_again(compiling: list[str], tmp_path: Path) -> None:
    first = library(write(tmp_path / "a"))
    assert sorted(compiling) == ["answer.c", "other.c"]
    assert library(write(tmp_path / "b")) == first
    assert len(compiling) == 2


@pytest.mark.parametrize("change", ["source", "near_h", "far_h"])
def test_what_has_changed_is(compiling: list[str], tmp_path: Path, change: str) -> None:
    texts = {
        "source": {"answer_c": "int fm_answer(void);\nint fm_answer(void) { return 43; }\n"},
        "near_h": {"near_h": "#define ANSWER 43\n"},
        "far_h": {"far_h": "#define ANSWER 43\n"},
    }
    first = library(write(tmp_path / "a"))
    changed = library(write(tmp_path / "b", **texts[change]))
    assert compiling[2:] == ["answer.c"]
    assert changed != first


def test_a_header_that_is_found_before_another(compiling: list[str], tmp_path: Path) -> None:
    first = library(write(tmp_path / "a"))
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "far.h").write_text("#define ANSWER 43\n")
    assert library(write(tmp_path / "b"), tmp_path / "before") != first
    assert compiling[2:] == ["answer.c"]


def test_other_flags(compiling: list[str], tmp_path: Path) -> None:
    library(write(tmp_path / "a"))
    library(write(tmp_path / "b"), optimise="-O2")
    assert len(compiling) == 4


@pytest.mark.parametrize(
    "line", ["#define NEAR <far.h>\n#include NEAR\n", "#if __has_include(<x.h>)\n#endif\n#define ANSWER 1\n"]
)
def test_what_the_texts_do_not_tell_is_not_kept(compiling: list[str], tmp_path: Path, line: str) -> None:
    for name in "ab":
        library(write(tmp_path / name, near_h=line))
    assert sorted(compiling) == ["answer.c", "answer.c", "other.c"]


def test_a_compiler_that_was_replaced(compiling: list[str], tmp_path: Path) -> None:
    program, folder = tmp_path / "compiler", write(tmp_path / "a")
    found = find_host()
    for comment in ("", "", "another"):
        text = f'#!/bin/sh\n# {comment}\nexec {shlex.join(found.compiler)} "$@"\n'
        if not program.exists() or program.read_text() != text:
            program.write_text(text)
            program.chmod(0o755)
        mine = replace(found, compiler=(str(program),), linker=(str(program),))
        build_host_sources([folder / "other.c"], [folder], tmp_path / "out.so", toolchain=mine)
    assert compiling == ["other.c", "other.c"]


def test_nothing_is_kept_of_what_failed(compiling: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ToolchainError, match=r"compiling answer\.c failed"):
            library(write(tmp_path / "a", near_h="#error no\n"))
    assert compiling.count("answer.c") == 2
    assert not BUILD.OBJECTS.kept


@each_for_msp430
def test_a_firmware_again(compiling: list[str], msp430: Board, toolchain: Toolchain, tmp_path: Path) -> None:
    """Frames too, which GCC writes beside its objects."""
    first, again = (
        build(toolchain, msp430, emit_tiny(tmp_path / name, msp430), tmp_path / f"{name}.elf") for name in "ab"
    )
    assert len(compiling) == len(set(compiling)) > 5
    assert again.elf.read_bytes() == first.elf.read_bytes()
    assert (again.stack, again.sizes) == (first.stack, first.sizes)


def test_what_was_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 30)
    objects = Objects()
    for key in "abc":
        objects.put(key, Compiled(key.encode() * 10, None))
    assert objects.get("a") is not None
    objects.put("d", Compiled(b"d" * 10, None))
    assert [key for key in "abcd" if objects.get(key)] == ["a", "c", "d"]
    assert objects.size_bytes == 30
    assert objects.get(None) is None
