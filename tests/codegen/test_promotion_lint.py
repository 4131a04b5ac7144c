"""The promotion lint finds what it is for, leaves sound C alone, and the firmware passes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from codegen.promotion_lint import lint_files, lint_source, lint_text, preprocessed
from ops.compiled import Compiled, compiled
from ops.sketch import Sketch

from freeml.resources import resource_dir
from freeml.toolchains.flags import WARNINGS

PROLOGUE = """
typedef signed char int8_t; typedef unsigned char uint8_t; typedef short int16_t; typedef unsigned short uint16_t;
typedef long int32_t; typedef unsigned long uint32_t; typedef long long int64_t; typedef unsigned int size_t;
struct window { int height; int16_t pad; size_t pixel; };
int fm_min(int a, int b); int fm_max(int a, int b); int16_t get(void); void put(int value); void put32(int32_t value);
int8_t arena[100];
"""

BROKEN = {
    "product of shorts": ("int32_t f(int16_t a, int16_t b) { return a * b; }", "product of promoted"),
    "product, then shift": ("int f(int16_t a, int16_t b) { return (int)((a * b) >> 15); }", "product of promoted"),
    "short times byte": ("int32_t f(const int16_t *a, int8_t b) { return a[3] * b; }", "product of promoted"),
    "unsigned shorts": ("uint32_t f(uint16_t a, uint16_t b) { return a * b; }", "product of promoted"),
    "byte times a large constant": ("int32_t f(int8_t a) { return a * 300; }", "product of promoted"),
    "widened too late": ("int32_t f(int16_t a, int16_t b) { return (int32_t)(a * b); }", "product of promoted"),
    "compound": ("int16_t f(int16_t a, int16_t b) { a *= b; return a; }", "product of promoted"),
    "result of a call": ("int32_t f(int8_t a) { return get() * a; }", "product of promoted"),
    "field": ("int32_t f(struct window *w) { return w->pad * w->height; }", "product of promoted"),
    "initializer": ("void f(int16_t a) { const int32_t b = a * a; put32(b); }", "product of promoted"),
    "through a macro": ("#define SQUARE(x) ((x) * (x))\nint32_t f(int16_t a) { return SQUARE(a); }", "product of promoted"),
    "shift of a short": ("int32_t f(int16_t a) { return a << 4; }", "`<<` is computed in 16 bits"),
    "shift of a byte": ("int32_t f(uint8_t a) { return a << 8; }", "`<<` is computed in 16 bits"),
    "one shifted by anything": ("int32_t f(int n) { return 1 << n; }", "`<<` is computed in 16 bits"),
    "shift by the whole width": ("int32_t f(int16_t a) { return a >> 16; }", "`>>` by 16"),
    "one bit too far": ("int32_t f(void) { return 1 << 15; }", "`<<` is computed in 16 bits"),
    "sum of shorts": ("int32_t f(int16_t a, int16_t b) { return a + b; }", "`+` overflows"),
    "difference of shorts": ("int32_t f(int16_t a, int16_t b) { return a - b; }", "`-` overflows"),
    "constants alone": ("int32_t f(void) { return 200 * 200; }", "`*` overflows"),
    "a counter times a stride": (
        "void f(void) { for (int y = 0; y < 300; ++y) { put(y * 200); } }",
        "`*` overflows",
    ),
    "address of a large map": (
        "void f(void) { for (int y = 0; y < 400; ++y) { arena[(size_t)y * 300U] = 0; } }",
        "`*` overflows",
    ),
    "a counter that never gets there": ("void f(void) { for (int i = 0; i < 40000; ++i) { put(i); } }", "meets a 16-bit"),
    "a size that never gets there": ("void f(size_t n) { while (n < 70000U) { ++n; } }", "meets a 16-bit"),
    "an argument too large": ("void f(void) { put(40000); }", "is passed as a 16-bit"),
    "a variable too small": ("void f(void) { int a = 32768; put(a); }", "initializes a 16-bit"),
    "stored in a byte": ("void f(void) { arena[0] = 128; }", "stored in a 8-bit"),
    "returned": ("int f(void) { return 65536; }", "is returned as a 16-bit"),
}

SOUND = {
    "byte times byte": "int32_t f(int8_t a, int8_t b) { return a * b; }",
    "cast first": "int32_t f(int16_t a, int16_t b) { return (int32_t)a * b; }",
    "in a long": "int32_t f(int32_t a, int16_t b) { a *= b; return a + 100000; }",
    "byte times a small constant": "int32_t f(int8_t a) { return a * 200; }",
    "shift of a long": "uint32_t f(uint32_t a, unsigned n) { return (a << n) + ((uint32_t)1 << 31); }",
    "coordinates": "int f(struct window *w, int x) { return x * w->height - 1; }",
    "counters": "void f(void) { for (int y = 0; y < 28; ++y) { put(y * 2 - 1); } }",
    "counters between counters": (
        "void f(void) { for (int y = 0; y < 9; ++y) { const int a = fm_max(y * 3 - 1, 0); const int b = fm_min(y * 3 + 2, 28);"
        " for (int x = a; x < b; ++x) { put(x * 1000); } } }"
    ),
    "addresses": "void f(struct window *w, int y) { arena[(size_t)y * w->pixel + 3U] = 1; }",
    "a small shift": "int32_t f(int8_t a) { return (a + 1) * 2; }",
    "the largest counter": "void f(void) { for (int i = 0; i < 32767; ++i) { put(i); } }",
    "unsigned wrap": "uint16_t f(uint16_t a) { return (uint16_t)(a >> 4); }",
    "minus one as a size": "void f(size_t n) { size_t m = (size_t)-1; while (n < m) { ++n; } }",
}


def found(text: str, tmp_path: Path) -> list[str]:
    """What the lint says of a snippet, by way of the preprocessor."""
    source = tmp_path / "snippet.c"
    source.write_text(PROLOGUE + text, encoding="utf-8")
    return [str(finding) for finding in lint_source(source, ())]


@pytest.mark.parametrize("name", BROKEN)
def test_planted_bugs_are_found(name: str, tmp_path: Path) -> None:
    text, words = BROKEN[name]
    findings = found(text, tmp_path)
    assert len(findings) == 1
    assert words in findings[0]
    assert findings[0].startswith("snippet.c:")


@pytest.mark.parametrize("name", SOUND)
def test_sound_c_is_left_alone(name: str, tmp_path: Path) -> None:
    assert found(SOUND[name], tmp_path) == []


def test_a_bug_planted_in_an_emitted_file_is_found() -> None:
    files = dict(net().files)
    assert lint_files(files) == []
    text = files["model.c"]
    assert "fm_dot_s8_s8(" in text
    files["model.c"] = text.replace("int32_t v = fm_requant(acc", "int32_t v = fm_requant(acc + in0[0] * (int16_t)acc", 1)
    assert [f.problem.split(" (")[0] for f in lint_files(files)] == [
        "a product of promoted operands is computed in 16 bits"
    ]


def test_only_declarations_of_the_runtime_are_read_with_a_net(tmp_path: Path) -> None:
    """The shortcut of lint_files drops bodies of headers, and nothing else: their own test follows below."""
    from codegen.promotion_lint import _without_header_bodies

    root = resource_dir("firmware")
    for name, text in net().files.items():
        if "/" not in name:
            (tmp_path / name).write_text(text, encoding="utf-8")
    whole = preprocessed(tmp_path / "model.c", (tmp_path, root / "common", root / "host"))
    short = _without_header_bodies(whole, root.as_posix())
    assert "fm_mulhi" in short
    assert "fm_mulhi(fm_shift_left" in whole
    assert "fm_mulhi(fm_shift_left" not in short
    assert short.endswith(whole[whole.index("static void fm_layer_") :].rstrip("\n"))
    assert lint_text(short) == lint_text(whole) == []


def net() -> Compiled:
    """A small net with a window and a table."""
    sketch = Sketch()
    y = sketch.dense(sketch.conv(sketch.input(1, 2, 6, 6), 3, (3, 3), pads=((1, 1), (1, 1))), 4)
    return compiled(sketch.graph(y), sketch.samples())


@pytest.mark.parametrize("board", ["msp430", "apollo4", "host"])
def test_the_firmware_is_sound(board: str, tmp_path: Path) -> None:
    root = resource_dir("firmware")
    for name, text in net().files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shared = [root / "common"] if board == "host" else [root / "common", root / "device"]
    sources = [p for folder in (*shared, root / board) for p in sorted(folder.glob("*.c"))]
    sources += [p for p in sorted(tmp_path.glob("*.c")) if board != "host" or p.stem != "vectors"]
    includes = (tmp_path, *shared, root / board)
    libc = {"main.c"} if board == "host" else set()  # of the programs, only the host's needs a C library
    checked = [p for p in sources if p.name not in libc]
    assert len(checked) >= 4
    assert [str(f) for source in checked for f in lint_source(source, includes)] == []


def test_compilers_do_not_warn_of_what_the_lint_finds(tmp_path: Path) -> None:
    """Why there is a lint at all: a product that overflows a 16-bit int passes every warning of this machine's compiler."""
    import subprocess

    from freeml.toolchains import find_host

    source = tmp_path / "quiet.c"
    source.write_text("int f(short a, short b);\nint f(short a, short b)\n{\n    return (a * b) >> 15;\n}\n", encoding="utf-8")
    command = find_host().compile_command(source, tmp_path / "quiet.o", (), WARNINGS)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(lint_source(source, ())) == 1
