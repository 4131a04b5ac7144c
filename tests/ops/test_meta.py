"""An operator is whole: its file, its template, its cases, its row in the README. Whoever adds one is told what lacks."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import freeml.ops
from freeml.ir.graph import QOp
from freeml.ops.base import FloatOp, LoweredOp
from freeml.ops.onnx_map import FOLDERS, IMPORTERS
from freeml.ops.reshape import QReshape
from freeml.resources import resource_dir
from ops.compiled import optimised
from ops.harness import Case

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
PARTS = {
    "": "shape arithmetic and aliases: they leave no operator behind",
    "formats": "they leave number formats behind",
}
NO_NODE = {
    "Cast": PARTS[""],
    "CastLike": PARTS[""],
    "Constant": PARTS[""],
    "Shape": PARTS[""],
    "Size": PARTS[""],
    "QuantizeLinear": PARTS["formats"],
    "DequantizeLinear": PARTS["formats"],
}
"""ONNX operators that need no case here, and why."""


def classes(base: type) -> dict[str, type]:
    """Concrete dataclasses derived from `base` in freeml/ops, by name."""
    found = {}
    for module in pkgutil.iter_modules(freeml.ops.__path__):
        for item in vars(importlib.import_module(f"freeml.ops.{module.name}")).values():
            if isinstance(item, type) and issubclass(item, base) and dataclasses.is_dataclass(item):
                found[item.__name__] = item
    return found


def cases() -> Iterator[tuple[str, Case]]:
    """(test module, case) of every file here."""
    for path in sorted(HERE.glob("test_*.py")):
        for case in getattr(importlib.import_module(f"ops.{path.stem}"), "CASES", ()):
            yield path.stem, case


OPERATORS = classes(FloatOp)
INTEGER_OPERATORS = classes(QOp)
ALL_CASES = tuple(cases())


@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_every_operator_has_its_file_and_its_test_file(kind: str) -> None:
    name = kind.lower()
    assert inspect.getmodule(OPERATORS[kind]).__name__ == f"freeml.ops.{name}"
    found = {s.op.kind for module, case in ALL_CASES if module == f"test_{name}" for s in case.graph().stages()}
    assert kind in found, f"tests/ops/test_{name}.py must declare a case whose graph has {kind}"


def test_every_operator_left_by_the_passes_has_an_integer_form() -> None:
    left = {type(s.op) for _, case in ALL_CASES for s in optimised(case.graph()).stages()}
    for op in left:
        assert issubclass(op, FloatOp)
        assert "quantize" in {name for base in op.__mro__[:-1] for name in vars(base) if base is not FloatOp}
    assert {op.__name__ for op in left} == set(OPERATORS) - {"BatchNorm"}  # folded away, wherever it stands


@pytest.mark.parametrize("kind", sorted(INTEGER_OPERATORS))
def test_every_integer_operator_can_be_written_as_c(kind: str) -> None:
    assert INTEGER_OPERATORS[kind] is QReshape or issubclass(INTEGER_OPERATORS[kind], LoweredOp)


def test_every_template_is_used_and_every_used_template_is_there() -> None:
    used = set()
    for path in (Path(freeml.ops.__path__[0])).glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            named = [k.value for k in call.keywords if k.arg == "template"] if call.func.id == "Kernel" else []
            if call.func.id == "lower_binary":
                named = call.args[1:2]
            used |= {n.value for n in named if isinstance(n, ast.Constant)}
    there = {p.name.removesuffix(".c.j2") for p in (resource_dir("codegen_templates") / "ops").glob("[!_]*.c.j2")}
    assert used == there


def test_every_importer_has_a_case() -> None:
    covered = {n.op_type for _, case in ALL_CASES for n in case.nodes}
    assert set(IMPORTERS) - covered == set(NO_NODE)


def test_the_readme_names_every_operator_and_no_other() -> None:
    table = README.read_text(encoding="utf-8").split("<!-- operators -->")[1].split("<!-- /operators -->")[0]
    rows = [row.split("|")[1:4] for row in table.splitlines() if row.startswith("|") and "---" not in row][1:]
    named = set(re.findall(r"[A-Z][A-Za-z]+", " ".join(f"{onnx} {notes}" for onnx, _, notes in rows)))
    assert set(IMPORTERS) - named == set()
    first_column = {name for onnx, _, _ in rows for name in re.findall(r"[A-Z][A-Za-z]+", onnx)}
    assert first_column <= set(IMPORTERS) | set(FOLDERS)
    becomes = {name for _, kind, _ in rows for name in re.findall(r"[A-Z][A-Za-z]+", kind)}
    assert becomes == set(OPERATORS) - {"BatchNorm"}
