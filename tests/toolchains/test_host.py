"""Libraries and programs for the machine that freeml runs on."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.toolchains import Toolchain, build_host, build_host_sources, find_host, installed_host

each_compiler = pytest.mark.parametrize("toolchain", installed_host(), ids=lambda toolchain: toolchain.kind)

with_libc = pytest.mark.skipif(
    all(toolchain.kind == "zig" for toolchain in installed_host()), reason="needs gcc or clang on the host"
)

DOT = """
#include <stddef.h>
#include <stdint.h>
int32_t dot(const int8_t *x, const int8_t *w, size_t count);
int32_t dot(const int8_t *x, const int8_t *w, size_t count)
{
    int32_t sum = 0;
    for (size_t i = 0; i < count; ++i) {
        sum += (int32_t)x[i] * w[i];
    }
    return sum;
}
"""

READS_PAST_THE_END = """
#include <stdlib.h>
int main(int argc, char **argv)
{
    volatile char *const heap = calloc(8, 1);
    int status = 0;
    (void)argv;
    if (heap != NULL) {
        status = heap[8 * argc] == 0 ? 0 : argc - 1;
        free((void *)heap);
    }
    return status;
}
"""

OVERFLOWS = """
int main(int argc, char **argv)
{
    int large = 0x7FFFFFFF;
    (void)argv;
    large += argc;
    return large & 0;
}
"""


@each_compiler
def test_a_library_computes(toolchain: Toolchain, tmp_path: Path):
    source = tmp_path / "dot.c"
    source.write_text(DOT)
    dot = ctypes.CDLL(str(build_host_sources([source], [], tmp_path / "dot.so", toolchain=toolchain))).dot
    dot.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    dot.restype = ctypes.c_int32
    assert dot(bytes([1, 2, 0xFF]) * 100, bytes([3, 0x80, 5]) * 100, 300) == 100 * (3 - 256 - 5)


@each_compiler
def test_a_folder_becomes_a_library_without_its_program(toolchain: Toolchain, tmp_path: Path):
    _folder(tmp_path / "fw")
    out = build_host(tmp_path / "fw", tmp_path / "model.so", toolchain=toolchain)
    library = ctypes.CDLL(str(out))
    assert library.answer() == 42
    assert not hasattr(library, "main")


@with_libc
def test_a_folder_becomes_a_program(tmp_path: Path):
    _folder(tmp_path / "fw")
    out = build_host(tmp_path / "fw", tmp_path / "model", shared=False)
    assert subprocess.run([out], check=False).returncode == 42


@with_libc
@pytest.mark.parametrize(
    ("code", "message"), [(READS_PAST_THE_END, "heap-buffer-overflow"), (OVERFLOWS, "signed integer overflow")]
)
def test_sanitizers_end_a_wrong_program(code: str, message: str, tmp_path: Path):
    source = tmp_path / "wrong.c"
    source.write_text(code)
    plain = build_host_sources([source], [], tmp_path / "plain", shared=False, optimise="-O0")
    assert subprocess.run([plain], check=False).returncode == 0
    watched = build_host_sources([source], [], tmp_path / "watched", shared=False, sanitize=True, optimise="-O0")
    done = subprocess.run([watched], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr


@each_compiler
def test_a_warning_stops_the_build(toolchain: Toolchain, tmp_path: Path):
    source = tmp_path / "narrow.c"
    source.write_text("signed char narrow(int wide);\nsigned char narrow(int wide)\n{\n    return wide;\n}\n")
    with pytest.raises(ToolchainError, match=r"compiling narrow\.c failed(?s:.*)conversion"):
        build_host_sources([source], [], tmp_path / "narrow.so", toolchain=toolchain)
    assert not (tmp_path / "narrow.so").exists()


def test_zig_is_not_asked_for_what_it_cannot_give(tmp_path: Path):
    _folder(tmp_path / "fw")
    with pytest.raises(ToolchainError, match="use gcc or clang"):
        build_host(tmp_path / "fw", tmp_path / "model", toolchain=find_host("zig"), sanitize=True)


def _folder(folder: Path) -> None:
    """An emitted folder in small: one file of the model, one of the runtime, and a program around them."""
    (folder / "runtime").mkdir(parents=True)
    (folder / "host").mkdir()
    (folder / "answer.h").write_text("int answer(void);\nint half(void);\n")
    (folder / "answer.c").write_text('#include "answer.h"\nint answer(void)\n{\n    return 2 * half();\n}\n')
    (folder / "runtime" / "half.c").write_text('#include "answer.h"\nint half(void)\n{\n    return 21;\n}\n')
    (folder / "host" / "main.c").write_text('#include "answer.h"\nint main(void)\n{\n    return answer();\n}\n')
