"""There is one rounding rule, written once in Python and once in C. Whatever else rounds or drops bits is listed here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import freeml
from freeml.resources import resource_dir

PACKAGE = Path(freeml.__file__).resolve().parent
ROOMS = ("codegen", "fixedpoint", "ir", "ops", "passes", "plan", "quant", "regions", "sim")
ROUNDING = {"round", "rint", "around", "ceil", "floor", "trunc", "fix", "round_"}

PYTHON = {
    ("fixedpoint/rounding.py", "floor"): "the rule, and the exponent of a factor",
    ("fixedpoint/confidence.py", "round"): "the tables of exponentials and logarithms",
    ("plan/others.py", "round"): "an expected number of events",
    ("regions/wear.py", "ceil"): "granules",
    ("sim/regions.py", "round"): "cycles, estimated from instructions",
    ("ops/logsoftmax.py", "ceil"): "bounds, which must not be too small",
    ("ops/onnx_folding.py", "ceil"): "ONNX Ceil, and the length of a Range",
    ("ops/onnx_folding.py", "floor"): "ONNX Floor",
    ("ops/onnx_quantized.py", "rint"): "constants through QuantizeLinear, which ONNX rounds half to even",
    ("ops/onnx_resize.py", "ceil"): "coordinates, as ONNX defines them",
    ("ops/onnx_resize.py", "floor"): "coordinates, as ONNX defines them",
    ("sim/onnx_run.py", "rint"): "what onnxruntime answers, back to the integers it stands for",
}
"""Calls that round, by file and function, and what they do there."""

SHIFTS = {
    "fm_math.h": {
        "typedef char fm_right_shift_is_arithmetic[((int32_t)-1 >> 1) == (int32_t)-1 ? 1 : -1];": "a check",
        "return (int32_t)(((int64_t)a * (int64_t)b) >> 32);": "the high word, rounded by what follows",
        "return (value + ((int32_t)1 << (shift - 1U))) >> shift;": "the rule",
        "return fm_requant((int32_t)(acc >> drop), multiplier, 0U, shift, zero, low, high);": "bits a wide sum can spare",
    },
    "fm_kernels.h": {
        "*to++ = book[pair >> 4];": "a packed weight",
        "*to++ = book[(four >> 2) & 3U];": "a packed weight",
        "*to++ = book[(four >> 4) & 3U];": "a packed weight",
        "*to++ = book[four >> 6];": "a packed weight",
        "for (unsigned rest = count != 0U ? *from : 0U; count != 0U; --count, rest >>= 2) {": "on to the next one",
        "for (; blocks != 0U; --blocks, x += 4, kept >>= 1) { \\": "on to the next block",
        "for (unsigned left = *bits++; left != 0U; left >>= 1, ++next) { \\": "on to the next bit",
    },
    "fm_tables.h": {
        "return (value + ((uint32_t)1 << (shift - 1U))) >> shift;": "the rule, without a sign",
        "return (numerator + denominator / 2U) / denominator;": "the rule, for a quotient",
    },
    "fm_tables.c": {
        "const uint32_t whole = (uint32_t)position >> shift; \\": "an index",
        "distance = (uint16_t)(distance >> 4);": "the next digit",
        "const uint16_t fraction = (uint16_t)(value >> 15);": "the digits behind the leading one",
    },
    "fm_progress.c": {
        "const uint16_t high = (uint16_t)(identity >> 16);": "halves of a number",
        "x ^= x >> 16;": "mixing",
        "x ^= x >> 13;": "mixing",
        "return x ^ (x >> 16);": "mixing",
        "x ^= (x >> 13) ^ (x >> 26);": "mixing undone",
    },
    "fm_exits.c": {
        "#define KEPT_BYTES ((sizeof(fm_policy) + FM_NV_GRANULE - 1U) / FM_NV_GRANULE * FM_NV_GRANULE)": "whole granules",
        "const uint32_t index = (distance * exit->steps) >> 16;": "an index",
        "if (index < sizeof exponentials / sizeof *exponentials) {": "a count",
        "leading >>= 1;": "the leading digits",
        "const uint32_t whole = (uint32_t)doublings * LOG_2 + logarithms[(leading - 0x8000U) >> 9];": "an index",
        "return (uint16_t)(whole + spread * UNITS_PER_STEP / total);": "a quotient, as the reference has it",
        "const unsigned bin = (unsigned)margin(exit, top) >> exit->shift;": "an index",
    },
    "fm_run.c": {"for (unsigned i = 0; i < sizeof fm_arena / sizeof *fm_arena.s32; ++i) {": "a count"},
    "_units.j2": {"/ U": "a row of a map with many"},
    "conv.c.j2": {"for (int group = c0 / ; c < c1; ++group) {": "a group"},
    "_rows.j2": {"whole += e >> 14;": "the upper word of a sum in two words"},
}
"""Lines of the runtime and of the templates that drop bits, and why each may."""


def test_python_rounds_in_one_place() -> None:
    found = set()
    for room in ROOMS:
        for path in (PACKAGE / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, (ast.Attribute, ast.Name)):
                    name = call.attr if isinstance(call, ast.Attribute) else call.id
                    if name in ROUNDING:
                        found.add((path.relative_to(PACKAGE).as_posix(), name))
    assert found == set(PYTHON)


def test_c_drops_bits_where_it_is_listed_and_nowhere_else() -> None:
    templates = resource_dir("codegen_templates")
    paths = [*(resource_dir("firmware") / "common").glob("*.[ch]"), *templates.rglob("*.j2")]
    found: dict[str, set[str]] = {}
    for path in paths:
        text = re.sub(r"/\*.*?\*/|{#.*?#}|{%.*?%}|{{.*?}}", "", path.read_text(encoding="utf-8"), flags=re.S)
        for line in text.splitlines():
            if re.search(r">>|[^/*]/[^/*]", line.partition("//")[0]) and "#include" not in line:
                found.setdefault(path.name, set()).add(re.sub(r"\s+", " ", line.strip()))
    assert found == {name: set(lines) for name, lines in SHIFTS.items()}
