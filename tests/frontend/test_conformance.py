"""ONNX's own node test cases, through the import and the float path.

Every case made of operators that freeml takes is run: activations stay inputs, while parameters that freeml wants as
constants (weights, shapes, axes, bounds) are bound to the values that the case gives. A case whose inputs are all bound
goes through constant folding. What cannot pass is in EXCLUDED with the reason; an excluded case must fail with the
message given there, so nothing is excluded silently or for longer than needed.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase as NodeCase

from freeml.errors import FreemlError
from freeml.frontend.loading import DEFAULT_DOMAINS, OLDEST_OPSET, prepare
from freeml.frontend.onnx_reader import import_model
from freeml.frontend.walk import OPERATORS, walk
from freeml.ir.graph import execute
from freeml.ops.onnx_map import IMPORTERS

# Inputs (by position) that freeml takes as constants only. Inputs that are not floats are always bound.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "Conv": (1, 2),
    "DequantizeLinear": (0, 1, 2),
    "Div": (1,),
    "Dropout": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (1,),
    "Pad": (1, 2, 3),
    "PRelu": (1,),
    "QuantizeLinear": (0, 1, 2),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Where": (0, 1, 2),
}


OTHERS = "other operators"


@dataclass(frozen=True)
class Excluded:
    """Cases left out: a name pattern, the reason, and a part of the message they must fail with."""

    pattern: str
    reason: str
    message: str


EXCLUDED: tuple[Excluded, ...] = ()


@functools.cache
def cases() -> dict[str, NodeCase]:
    """Every case of the installed onnx by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in collect_testcases(None)}


def operators(case: NodeCase) -> set[str]:
    """Operators of a case, with a domain in front where it is not ONNX's own."""
    return {n.op_type if n.domain in DEFAULT_DOMAINS else f"{n.domain}.{n.op_type}" for n in case.model.graph.node}


def subject(name: str) -> str:
    """Operator that a case is about; for a decomposed one ("..._expanded") the operator it decomposes."""
    base = name.split("_expanded")[0]
    return cases().get(base, cases()[name]).model.graph.node[0].op_type


@functools.cache
def by_operator() -> dict[str, tuple[str, ...]]:
    """Names of the cases to run by the operator they are about; OTHERS are decomposed into operators freeml takes."""
    groups: dict[str, list[str]] = {}
    for name, case in cases().items():
        if operators(case) <= OPERATORS:
            about = subject(name)
            groups.setdefault(about if about in OPERATORS else OTHERS, []).append(name)
    return {operator: tuple(sorted(names)) for operator, names in sorted(groups.items())}


def bound_model(case: NodeCase) -> onnx.ModelProto:
    """The case's model with its parameters as initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    raise_opset(model)
    model.ir_version = max(model.ir_version, 4)  # before version 4 an initializer had to be an input too
    graph = model.graph
    given = dict(zip((value.name for value in graph.input), case.data_sets[0][0], strict=True))
    floats = [v.name for v in graph.input if getattr(given[v.name], "dtype", np.dtype(bool)).kind == "f"]
    names = {v.name for v in graph.input if v.type.HasField("tensor_type")} - set(floats)
    if len(graph.node) == 1 and graph.node[0].op_type not in IMPORTERS:
        names |= set(floats)
    elif len(graph.node) == 1:
        node = graph.node[0]
        names |= {node.input[i] for i in PARAMETERS.get(node.op_type, ()) if i < len(node.input) and node.input[i]}
    elif subject(case.name) in PARAMETERS:
        names |= set(floats[1:])
    kept = [value for value in graph.input if value.name not in names]
    for name in sorted(names):
        value = given[name]
        tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value))
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = name
    del graph.input[:]
    graph.input.extend(kept)
    return model


def raise_opset(model: onnx.ModelProto) -> None:
    """Give a model of an older opset the oldest that freeml takes, where that changes none of its operators."""
    for entry in model.opset_import:
        if entry.domain in DEFAULT_DOMAINS and entry.version < OLDEST_OPSET:
            versions = [
                {onnx.defs.get_schema(n.op_type, opset, "").since_version for opset in (entry.version, OLDEST_OPSET)}
                for n in model.graph.node
            ]
            if all(len(found) == 1 for found in versions):
                entry.version = OLDEST_OPSET


def outputs_of(case: NodeCase) -> list[np.ndarray]:
    """What freeml computes for a case. Raises FreemlError."""
    model = bound_model(case)
    names = [value.name for value in model.graph.output]
    if not model.graph.input:
        state = walk(prepare(model, None), keep_batch=True)
        if state.problems:
            raise FreemlError("; ".join(state.problems))
        return [np.asarray(state.builder.value(name)) for name in names]
    given = dict(zip((value.name for value in case.model.graph.input), case.data_sets[0][0], strict=True))
    graph = import_model(model, None, keep_batch=True)
    values = execute(graph, {name: np.asarray(given[name])[np.newaxis] for name in graph.inputs})
    return [values[name][0] for name in graph.outputs]


def failure(case: NodeCase) -> str | None:
    """Why a case does not pass, None when it does."""
    try:
        found = outputs_of(case)
    except FreemlError as error:
        return str(error)
    for array, expected in zip(found, case.data_sets[0][1], strict=True):
        wanted = np.asarray(expected)
        if array.shape != wanted.shape:
            return f"shapes differ: {array.shape} instead of {wanted.shape}"
        if wanted.dtype.kind == "f" and not np.allclose(array, wanted, rtol=1e-3, atol=1e-5, equal_nan=True):
            return "values differ"
        if wanted.dtype.kind != "f" and not np.array_equal(array, wanted):
            return "values differ"
    return None


def exclusion(name: str) -> Excluded | None:
    """The entry that leaves a case out."""
    return next((entry for entry in EXCLUDED if fnmatchcase(name, entry.pattern)), None)


@pytest.mark.parametrize("operator", [*sorted(OPERATORS), OTHERS])
def test_node_cases(operator: str) -> None:
    wrong, passed, excluded = [], 0, 0
    assert by_operator().get(operator), f"the installed onnx has no case of {operator}"
    for name in by_operator()[operator]:
        entry, problem = exclusion(name), failure(cases()[name])
        if entry is None and problem is not None:
            wrong.append(f"{name}: {problem}")
        elif entry is not None and problem is None:
            wrong.append(f"{name}: excluded ({entry.reason}), but it passes")
        elif entry is not None and entry.message not in str(problem):
            wrong.append(f"{name}: excluded ({entry.reason}), but it fails with: {problem}")
        passed += entry is None
        excluded += entry is not None
    print(f"{operator}: {passed} cases pass, {excluded} are excluded")
    assert not wrong, "\n".join(wrong)


def test_every_exclusion_is_needed() -> None:
    names = [name for group in by_operator().values() for name in group]
    idle = [entry.pattern for entry in EXCLUDED if not any(exclusion(name) is entry for name in names)]
    assert idle == []


def test_enough_cases_pass() -> None:
    names = [name for group in by_operator().values() for name in group]
    excluded = sum(exclusion(name) is not None for name in names)
    print(f"{len(names)} cases of {len(by_operator())} operators, {excluded} excluded")
    assert len(names) - excluded > 400
