"""The promotion lint: what freeml emits and ships passes it, and planted bugs do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cgates.gate_nets import NETS, gate_net

from codegen.promotion_lint import lint_files, lint_source, lint_text
from freeml.resources import resource_dir

FIRMWARE = resource_dir("firmware")
TINY = Path(__file__).resolve().parents[1] / "toolchains" / "tiny"
BOARD_FOLDERS = ("msp430", "apollo4")
SOURCES = [
    pytest.param(path, board, id=f"{path.parent.name}/{path.name}-for-{board}")
    for folder, boards in (("common", BOARD_FOLDERS), ("device", BOARD_FOLDERS), *((b, (b,)) for b in BOARD_FOLDERS))
    for board in boards
    for path in sorted((FIRMWARE / folder).glob("*.c"))
]
STDLIB = {
    "stdio.h": "#include <stddef.h>\nstruct file; extern struct file *stdin, *stdout;\n"
    "size_t fread(void *, size_t, size_t, struct file *); size_t fwrite(const void *, size_t, size_t, struct file *);\n"
    "int fflush(struct file *);\n",
    "stdlib.h": "#include <stddef.h>\nvoid *malloc(size_t size); void free(void *);\n",
    "string.h": "#include <stddef.h>\nint strcmp(const char *, const char *);\n"
    "void *memcpy(void *, const void *, size_t);\n",
}
"""The declarations of the C library that host programs use."""

PRELUDE = '#include "fm_kernels.h"\n#include "fm_tables.h"\n'


def spelled(findings):
    return [str(finding) for finding in findings]


def emitted(name, board="msp430"):
    files = gate_net(name).artifacts[board].files
    return {path: text.decode() for path, text in files.items() if path.endswith((".c", ".h"))}


@pytest.mark.parametrize("name", NETS)
def test_emitted_layers_pass(name):
    """Where boards get different layers, both are read."""
    texts = {board: emitted(name, board) for board in gate_net(name).artifacts}
    for files in {files["model.c"]: files for files in texts.values()}.values():
        assert spelled(lint_files(files)) == []


@pytest.mark.parametrize("name", ["operators", "operators-wide", "far"])
@pytest.mark.parametrize("source", ["weights.c", "vectors.c", "host/host_values.c"])
def test_emitted_constants_pass(name, source, tmp_path):
    folder = gate_net(name).write("msp430", tmp_path / "fw")
    assert spelled(lint_source(folder / source, (folder, folder / "runtime", folder / "host"))) == []


@pytest.mark.parametrize(("source", "board"), SOURCES)
def test_firmware_passes(source, board):
    includes = (TINY, FIRMWARE / "common", FIRMWARE / "device", FIRMWARE / board)
    assert spelled(lint_source(source, includes)) == []


@pytest.mark.parametrize("source", sorted((FIRMWARE / "host").glob("*.c")), ids=lambda path: path.name)
def test_host_part_passes(source, tmp_path):
    folder = gate_net("operators").write("msp430", tmp_path / "fw")
    for name, text in STDLIB.items():
        (folder / name).write_text(text, encoding="utf-8")
    assert spelled(lint_source(source, (folder, folder / "runtime", folder / "host"))) == []


def test_every_operator_is_linted():
    """The nets that are there for it use every template of an operator."""
    programs = [gate_net(name).programs["msp430"] for name in ("operators", "operators-wide", "exits")]
    used = {
        kernel.template
        for program in programs
        for layer in program.layers
        for kernel in (layer.head, *(kernel for kernel, _ in layer.elementwise), *((layer.pool,) if layer.pool else ()))
    }
    templates = {path.name.removesuffix(".c.j2") for path in (resource_dir("codegen_templates") / "ops").glob("*.c.j2")}
    assert {name for name in templates if not name.startswith("_")} == used


BUGS = {
    "a product of two shorts": "int32_t f(int16_t a, int16_t b) { return a * b; }",
    "a product of short and char": "int32_t f(int16_t a, int8_t b) { return a * b; }",
    "a product that is widened too late": "int32_t f(int16_t a, int16_t b) { return (int32_t)(a * b); }",
    "a product with a constant": "int32_t f(int16_t a) { return a * 3; }",
    "a product in place": "int16_t f(int16_t a, int16_t b) { a *= b; return a; }",
    "an unsigned product": "uint32_t f(uint16_t a, uint16_t b) { return a * b; }",
    "a product of elements": "int32_t f(const int16_t *x, const int16_t *w, int i) { return x[i] * w[i]; }",
    "a product of fields": "struct s { int16_t a; }; int32_t f(const struct s *p) { return p->a * p->a; }",
    "a short shifted left": "int32_t f(int16_t a) { return a << 9; }",
    "a char shifted too far left": "int32_t f(int8_t a) { return a << 9; }",
    "one shifted by an unknown amount": "int32_t f(int n) { return 1 << n; }",
    "a shift in place": "int16_t f(int16_t a) { a <<= 2; return a; }",
    "a shift by all bits": "int32_t f(int16_t a) { return a >> 16; }",
    "a shift beyond all bits": "uint32_t f(uint16_t a) { return a >> 20; }",
    "a long constant in int arithmetic": "int32_t f(int a) { return a + 40000; }",
    "a long constant in a comparison": "int f(int a) { return a < 70000; }",
    "a long constant stored in an int": "int f(void) { int a = 40000; return a; }",
    "a long constant assigned to an int": "int f(int a) { a = 32768; return a; }",
    "a long constant returned as an int": "int f(void) { return 65536; }",
    "a long constant passed as an int": "int g(int a); int f(void) { return g(100000); }",
    "a long constant in a table": "const int16_t t[2] = {1, 32768};",
    "a long constant in a field": "struct s { int a; }; const struct s v = {.a = 32768};",
    "a sum of constants": "int f(void) { return 30000 + 30000; }",
    "a counter that grows too long": "int32_t f(void) { int32_t s = 0; for (int i = 0; i < 300; ++i) { s += i * 200; } "
    "return s; }",
    "an argument": "int32_t f(int16_t a, int16_t b) { return fm_clamp(a * b, -10L, 10L); }",
    "a branch": "int32_t f(int16_t a, int16_t b) { return a > 0 ? a * b : 0; }",
    "inside a loop": "void f(const int16_t *x, int32_t *y) { for (int i = 0; i < 4; ++i) { y[i] = x[i] << 4; } }",
    "through a typedef": "typedef int16_t q15; int32_t f(q15 a, q15 b) { return a * b; }",
}
FINE = {
    "the product of the runtime": "int32_t f(int16_t a, int16_t b) { return fm_mul16(a, b); }",
    "a product that is widened first": "int32_t f(int16_t a, int16_t b) { return (int32_t)a * b; }",
    "a product of chars": "int32_t f(int8_t a, int8_t b) { return a * b; }",
    "a wide shift": "int32_t f(int16_t a) { return (int32_t)((uint32_t)a << 9); }",
    "a shift of a char that fits": "int32_t f(uint8_t a) { return a << 7; }",
    "a shift right": "int32_t f(int16_t a) { return a >> 15; }",
    "a long constant in long arithmetic": "int32_t f(int32_t a) { return a + 40000L; }",
    "a coordinate": "int f(int oy) { return oy * 2 - 1; }",
    "a counter that stays short": "int32_t f(void) { int32_t s = 0; for (int i = 0; i < 100; ++i) { s += i * 200; } "
    "return s; }",
    "the largest int": "int f(void) { int a = 32767; return a; }",
    "the smallest short": "int16_t f(void) { return INT16_MIN; }",
}


def lint_c(text, folder):
    source = folder / "text.c"
    source.write_text(PRELUDE + text + "\n", encoding="utf-8")
    return spelled(lint_source(source, (FIRMWARE / "common", FIRMWARE / "host")))


@pytest.mark.parametrize("text", BUGS.values(), ids=list(BUGS))
def test_a_planted_bug_is_caught(text, tmp_path):
    findings = lint_c(text, tmp_path)
    assert len(findings) >= 1
    assert all(finding.startswith("text.c:3: ") for finding in findings)


@pytest.mark.parametrize("text", FINE.values(), ids=list(FINE))
def test_right_code_is_left_alone(text, tmp_path):
    assert lint_c(text, tmp_path) == []


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("fm_kernels.h", "sum += fm_mul16(*x++, *w++);", "sum += *x++ * *w++;"),
        ("fm_kernels.h", "sum += fm_mul16(*x, *w);", "sum += *x * *w;"),
        ("fm_math.h", "return (int32_t)a * (int32_t)b;", "return a * b;"),
        ("fm_math.h", "((int32_t)1 << (shift - 1U))", "(1 << (shift - 1U))"),
        ("fm_tables.h", "((uint32_t)1 << (shift - 1U))", "(1U << (shift - 1U))"),
    ],
)
def test_a_bug_in_the_runtime_is_caught(file, right, wrong, tmp_path):
    for header in (FIRMWARE / "common").glob("*.h"):
        (tmp_path / header.name).write_bytes(header.read_bytes())
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert right in text
    (tmp_path / file).write_text(text.replace(right, wrong, 1), encoding="utf-8")
    (tmp_path / "text.c").write_text(PRELUDE, encoding="utf-8")
    findings = spelled(lint_source(tmp_path / "text.c", (tmp_path, FIRMWARE / "host")))
    assert findings
    assert all(finding.startswith(f"{file}:") for finding in findings)


def test_a_bug_in_an_emitted_layer_is_caught():
    """The bodies of the runtime's headers are left out there, those of the layers are not."""
    files = emitted("far")
    loop = "acc = "
    assert loop in files["model.c"]
    spoiled = files["model.c"].replace(loop, "acc = in0[0] * in0[1] * in0[2] + ", 1)
    findings = lint_files({**files, "model.c": spoiled})
    assert len(findings) == 1
    assert "product of promoted operands" in findings[0].problem
    assert findings[0].place.startswith("model.c:")


def test_the_place_and_the_numbers_are_named():
    (finding,) = lint_text("short a;\nint f(short b)\n{\n    return a * b;\n}\n")
    assert finding.place == "text.c:4" or finding.place == ":4"
    assert "-1073709056 to 1073741824" in finding.problem
