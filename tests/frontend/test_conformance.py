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
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase as NodeCase

from freeml.errors import FreemlError, UnsupportedModelError
from freeml.frontend.loading import DEFAULT_DOMAINS, OLDEST_OPSET, prepare
from freeml.frontend.onnx_reader import import_model
from freeml.frontend.tensors import FLOAT_TYPES
from freeml.frontend.walk import OPERATORS, walk
from freeml.ir.graph import execute
from freeml.ops.onnx_map import IMPORTERS

Numbers: TypeAlias = NDArray[Any]

# Inputs (by position) that freeml takes as constants only. Inputs that are not floats are always bound.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "CastLike": (1,),
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


@dataclass(frozen=True)
class Excluded:
    """Cases left out: a name pattern, the reason, and a part of the message they must fail with."""

    pattern: str
    reason: str
    message: str


RUN_TIME = "decomposed into comparisons of activations"
NARROW = "integers below 8 bits and floats below 16 bits are no number formats of the boards"
TRAINING = "batch statistics and masks exist in training only"

EXCLUDED: tuple[Excluded, ...] = (
    Excluded("test_*pool_3d_*", "maps have one or two spatial axes", "1 or 2 spatial axes"),
    Excluded("test_maxpool_with_argmax_*", "the positions of the maxima are not computed", "(Indices) is read"),
    Excluded("test_batchnorm_*_training_mode", TRAINING, "training_mode is 1"),
    Excluded("test_dropout_*_mask*", TRAINING, "mask is read"),
    Excluded("test_training_dropout*_mask", TRAINING, "mask is read"),
    Excluded("test_training_dropout*", TRAINING, "training_mode is set"),
    Excluded("test_clip_default_int8_m??", "activations are floats", "expected a single float"),
    Excluded("test_clip_default_m??_expanded", RUN_TIME, "(Less): it is supported on constants only"),
    Excluded("test_clip_expanded", RUN_TIME, "(Less): it is supported on constants only"),
    Excluded("test_clip_[!d]*_expanded", RUN_TIME, "(Less): it is supported on constants only"),
    Excluded("test_leakyrelu*_expanded", RUN_TIME, "(Less): it is supported on constants only"),
    Excluded("test_prelu*_expanded", RUN_TIME, "(Less): it is supported on constants only"),
    Excluded("test_m[ai][nx]_example", "the larger of two activations is not computed", "scalar constants"),
    Excluded("test_m??_two_inputs", "the larger of two activations is not computed", "scalar constants"),
    Excluded("test_m??_float*", "the larger of two activations is not computed", "scalar constants"),
    Excluded("test_matmul_1d_3d", "a stack of matrices is no layer", "a stack of matrices"),
    Excluded("test_matmul_[34]d", "a stack of matrices is no layer", "a stack of matrices"),
    Excluded("test_matmul_bcast", "a stack of matrices is no layer", "a stack of matrices"),
    Excluded("test_equal_string*", "strings are no data of a net", "element type string"),
    Excluded("test_identity_opt", "values are tensors", "expected a tensor"),
    Excluded("test_identity_sequence", "values are tensors", "expected a tensor"),
    Excluded("test_*quantizelinear_blocked*", "formats are per tensor or per channel", "blocked quantization"),
    Excluded("test_*quantizelinear_e[45]m*", NARROW, "element type float8"),
    Excluded("test_*quantizelinear_float4e2m1", NARROW, "element type float4e2m1"),
    Excluded("test_*quantizelinear_*int[24]", NARROW, "element type "),
    Excluded("test_cast*_FLOAT_to_BFLOAT16*", "floats are held as float32, never rounded to bfloat16", "values differ"),
    Excluded("test_cast*_*FLOAT[48]E*", NARROW, "element type "),
    Excluded("test_cast*_*INT[24]_*", NARROW, "element type "),
    Excluded("test_cast*_*INT[24]", NARROW, "element type "),
    Excluded("test_reshape_allowzero_reordered", "empty tensors hold nothing to compute", "has extent 0"),
    Excluded("test_split_zero_size_splits_*", "empty tensors hold nothing to compute", "has extent 0"),
    Excluded("test_reduce_max_empty_set*", "empty tensors hold nothing to compute", "has extent 0"),
    Excluded("test_slice_start_out_of_bounds", "empty tensors hold nothing to compute", "would be empty"),
    Excluded("test_resize_*_linear*", "only nearest is a copy of numbers", "only nearest is supported"),
    Excluded("test_resize_*_cubic*", "only nearest is a copy of numbers", "only nearest is supported"),
    Excluded("test_resize_tf_crop_and_resize*", "only nearest is a copy of numbers", "only nearest is supported"),
)


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
    """Names of the cases to run by the operator they are about."""
    groups: dict[str, list[str]] = {}
    for name, case in cases().items():
        if operators(case) <= OPERATORS and subject(name) in OPERATORS:
            groups.setdefault(subject(name), []).append(name)
    return {operator: tuple(sorted(names)) for operator, names in sorted(groups.items())}


def bound_model(case: NodeCase) -> onnx.ModelProto:
    """The case's model with its parameters as initializers."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    raise_opset(model)
    model.ir_version = max(model.ir_version, 4)  # before version 4 an initializer had to be an input too
    graph = model.graph
    given = dict(zip((value.name for value in graph.input), case.data_sets[0][0], strict=True))
    floats = [v.name for v in graph.input if v.type.tensor_type.elem_type in FLOAT_TYPES]
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


def outputs_of(case: NodeCase) -> list[Numbers]:
    """What freeml computes for a case. Raises FreemlError."""
    model = bound_model(case)
    state = walk(prepare(model, None), keep_batch=True)
    folded = [state.builder.value(value.name) for value in model.graph.output]
    if all(array is not None for array in folded) or not model.graph.input:
        if state.problems:
            raise UnsupportedModelError(state.problems)
        return [np.asarray(array) for array in folded]
    given = dict(zip((value.name for value in case.model.graph.input), case.data_sets[0][0], strict=True))
    graph = import_model(model, None, keep_batch=True)
    values = execute(graph, {name: as_array(given[name])[np.newaxis] for name in graph.inputs})
    return [values[name][0] for name in graph.outputs]


def as_array(value: object) -> Numbers:
    """Data of a case, some of which are protobufs."""
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def failure(case: NodeCase) -> str | None:
    """Why a case does not pass, None when it does."""
    try:
        found = outputs_of(case)
    except FreemlError as error:
        return str(error)
    for array, expected in zip(found, case.data_sets[0][1], strict=True):
        wanted = as_array(expected)
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


@pytest.mark.parametrize("operator", sorted(OPERATORS))
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
    assert len(names) - excluded > 380
