"""Mutated models, byte by byte and node by node: they import, or they end in one of freeml's own errors."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_models import build, ints, node, normal

from freeml.errors import FreemlError, ModelFileError
from freeml.frontend.loading import read_model
from freeml.frontend.onnx_reader import import_model, import_onnx
from freeml.frontend.problems import survey_model

INTEGERS = (0, 1, -1, 2, 3, -2, 7, 100, 2**16, 2**20, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1)
FLOATS = (0.0, -1.0, 0.5, 1e38, 1e-45, float("nan"), float("inf"))


@functools.cache
def seeds() -> tuple[onnx.ModelProto, ...]:
    """Small valid models that between them touch every importer with arguments."""
    quantized = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "xd"),
        node("DequantizeLinear", "w ws wz", "wd", axis=0),
        node("Conv", "xd wd", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Resize", "c - sc", "r", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("LeakyRelu", "r", "l", alpha=0.1),
        node("AveragePool", "l", "a", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
        node("ArgMax", "a", "top", axis=1),
        node("Gather", "l gi", "g", axis=1),
        node("BatchNormalization", "l b b b b", "n"),
        node("HardSwish", "n", "y"),
    ]
    constants = {
        "s": np.float32(0.1), "z": np.uint8(3), "w": np.ones((3, 2, 3, 3), dtype=np.int8), "gi": ints(0, 2),
        "ws": np.float32([0.1, 0.2, 0.3]), "wz": np.zeros(3, dtype=np.int8), "sc": np.float32([1, 1, 2, 2]),
        "b": np.float32([1, 2, 3]),
    }  # fmt: skip
    layers = [
        node("Pad", "x p", "padded"),
        node("MaxPool", "padded", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Split", "m", "left right", axis=1),
        node("Concat", "right left", "cat", axis=1),
        node("Slice", "cat from to over", "part"),
        node("Transpose", "part", "t", perm=[0, 2, 3, 1]),
        node("ReduceMean", "t", "mean", axes=[1], keepdims=0),
        node("Reshape", "mean flat", "f"),
        node("Gemm", "f g b", "h", transB=1, alpha=0.5),
        node("Clip", "h low", "k"),
        node("Softmax", "k", "y", axis=1),
        node("Shape", "x", "shape"),
        node("ConstantOfShape", "shape", "zeros"),
        node("Range", "n0 n8 n2", "range"),
        node("Cast", "range", "ranged", to=1),
        node("Expand", "ranged shape", "wide"),
        node("Where", "yes wide zeros", "chosen"),
        node("Div", "x chosen1", "quotient"),
        node("Add", "chosen quotient", "z"),
    ]
    arguments = {
        "p": ints(0, 0, 1, 1, 0, 0, 1, 1), "from": ints(0), "to": ints(2), "over": ints(2), "flat": ints(0, -1),
        "g": normal(5, 10), "b": normal(5), "low": np.float32(0), "n0": np.array(0), "n8": np.array(8),
        "n2": np.array(1), "yes": np.array(True), "chosen1": np.float32([2]),
    }  # fmt: skip
    return (
        build(quantized, {"x": ("N", 2, 6, 6)}, ["y", "top", "g"], constants, opset=14),
        build(layers, {"x": ("N", 2, 8, 8)}, ["y", "z"], arguments, opset=13),
    )


def outcome(model: onnx.ModelProto) -> bool:
    """Whether it imports; raises whatever is not a clean error."""
    try:
        survey_model(model, None)
        import_model(model, None)
    except FreemlError as error:
        assert str(error)
        assert error.exit_code == 2
        return False
    return True


def test_the_seeds_import() -> None:
    assert all(outcome(model) for model in seeds())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_bytes(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(data.draw(st.sampled_from(seeds())).SerializeToString(deterministic=True))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["replace", "replace", "drop", "insert"]))
        if kind == "replace":
            content[place] = data.draw(st.integers(0, 255))
        elif kind == "drop":
            del content[place : place + data.draw(st.integers(1, 8))]
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
    path = tmp_path / "mutated.onnx"
    path.write_bytes(content)
    try:
        import_onnx(path)
    except FreemlError as error:
        assert str(error)


@settings(max_examples=400)
@given(data=st.data())
def test_nodes(data: st.DataObject) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(data.draw(st.sampled_from(seeds())))
    for _ in range(data.draw(st.integers(1, 3))):
        if model.graph.node:
            mutate(model, data)
    outcome(model)


def mutate(model: onnx.ModelProto, data: st.DataObject) -> None:
    """Change one thing of a graph."""
    graph = model.graph
    chosen = data.draw(st.sampled_from(list(graph.node)))
    kind = data.draw(
        st.sampled_from(["input", "attribute", "number", "tensor", "operator", "delete", "forget", "extent", "opset"])
    )
    if kind == "input" and chosen.input:
        names = ["x", "", *(t.name for t in graph.initializer), *(name for n in graph.node for name in n.output)]
        chosen.input[data.draw(st.integers(0, len(chosen.input) - 1))] = data.draw(st.sampled_from(names))
    elif kind == "attribute" and chosen.attribute:
        mutate_attribute(data.draw(st.sampled_from(list(chosen.attribute))), data)
    elif kind in ("number", "tensor"):
        tensor = data.draw(st.sampled_from(list(graph.initializer)))
        array = numpy_helper.to_array(tensor).copy()
        array = mutate_number(array, data) if kind == "number" else mutate_array(array, data)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif kind == "operator":
        others = ["Relu", "If", "MatMul", "Dropout", "Max", "Not", "Flatten", "Size", *(n.op_type for n in graph.node)]
        chosen.op_type = data.draw(st.sampled_from(others))
    elif kind == "delete":
        graph.node.remove(chosen)
    elif kind == "forget" and chosen.attribute:
        del chosen.attribute[data.draw(st.integers(0, len(chosen.attribute) - 1))]
    elif kind == "extent":
        dims = graph.input[0].type.tensor_type.shape.dim
        data.draw(st.sampled_from(list(dims))).dim_value = data.draw(st.sampled_from(INTEGERS))
    elif kind == "opset":
        model.opset_import[0].version = data.draw(st.integers(9, 40))


def mutate_attribute(attribute: onnx.AttributeProto, data: st.DataObject) -> None:
    """Another value of the same kind."""
    if attribute.type == onnx.AttributeProto.INT:
        attribute.i = data.draw(st.sampled_from(INTEGERS))
    elif attribute.type == onnx.AttributeProto.INTS and attribute.ints:
        attribute.ints[data.draw(st.integers(0, len(attribute.ints) - 1))] = data.draw(st.sampled_from(INTEGERS))
        if data.draw(st.booleans()):
            attribute.ints.pop()
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = data.draw(st.sampled_from(FLOATS))
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = data.draw(st.sampled_from([b"SAME_UPPER", b"linear", b"", b"align_corners", b"\xff", b"ceil"]))


def mutate_number(array: Any, data: st.DataObject) -> Any:
    """One entry becomes another number of its type."""
    if array.size:
        place = data.draw(st.integers(0, array.size - 1))
        number = data.draw(st.sampled_from(FLOATS if array.dtype.kind == "f" else INTEGERS))
        with np.errstate(all="ignore"):
            array.reshape(-1)[place] = np.array(number).astype(array.dtype)
    return array


def mutate_array(array: Any, data: st.DataObject) -> Any:
    """Another shape, length or type."""
    kind = data.draw(st.sampled_from(["flat", "deeper", "shorter", "type"]))
    if kind == "flat":
        return array.reshape(-1)
    if kind == "deeper":
        return array[np.newaxis]
    if kind == "shorter":
        return np.ascontiguousarray(array[: data.draw(st.integers(0, array.shape[0]))]) if array.ndim else array
    types = (np.float32, np.float16, np.float64, np.int64, np.int32, np.uint8, np.bool_)
    with np.errstate(all="ignore"):
        return array.astype(data.draw(st.sampled_from(types)))


@pytest.mark.parametrize("field", ["op_type", "name", "domain"])
def test_names_that_are_not_text(field: str, tmp_path: Path) -> None:
    """Protobuf hands out bytes for a string that is not UTF-8."""
    model = build([node("Relu", "x", "y")], {"x": ("N", 4)}, ["y"])
    setattr(model.graph.node[0], field, "QQQQQQQQ")
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString().replace(b"QQQQQQQQ", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe"))
    with pytest.raises(ModelFileError, match="its names are not text"):
        read_model(path)


def test_an_operator_that_the_opset_does_not_define() -> None:
    """HardSwish came with opset 14: the import knows it, the model's opset does not."""
    model = build([node("HardSwish", "x", "y", name="act")], {"x": ("N", 4)}, ["y"], opset=13)
    with pytest.raises(FreemlError, match=r"node act \(HardSwish\): opset 13.*does not define the operator"):
        import_model(model, None)


def test_a_layer_of_constants_that_reads_one_of_them_twice() -> None:
    model = build(
        [node("BatchNormalization", "c v v v v", "n"), node("Add", "x n", "y")],
        {"x": ("N", 3, 4)}, ["y"], {"c": normal(1, 3, 4), "v": np.float32([1, 2, 3])},
    )  # fmt: skip
    assert outcome(model)
