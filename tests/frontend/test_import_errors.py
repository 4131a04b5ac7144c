"""Whatever is wrong with a model ends in one clear error that names it; broken files never end in a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import build, compare, ints, kinds, node, normal

from freeml.errors import ModelFileError, UnsupportedModelError
from freeml.frontend import external
from freeml.frontend.onnx_reader import import_model, import_onnx


def small() -> onnx.ModelProto:
    """A dense layer and a Relu."""
    nodes = [node("MatMul", "x w", "m", name="fc"), node("Relu", "m", "y", name="act")]
    return build(nodes, {"x": ("N", 4)}, ["y"], {"w": normal(4, 3)})


def save(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


# --- files --------------------------------------------------------------------------------------------------------


def test_a_file_is_imported(tmp_path: Path) -> None:
    assert kinds(import_onnx(save(tmp_path, small()))) == ["Dense", "Clip"]


def test_the_graph_is_named_after_the_file_when_it_has_no_name(tmp_path: Path) -> None:
    model = small()
    model.graph.name = ""
    assert import_onnx(save(tmp_path, model)).name == "net"
    model.graph.name = "wake_word"
    assert import_onnx(save(tmp_path, model)).name == "wake_word"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"\x7fELF" + bytes(200), "not an ONNX model"),
        (b"this is plain text, no model at all", "not an ONNX model"),
        (b'{"irVersion": "8"}', "not an ONNX model"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as caught:
        import_onnx(path)
    assert str(path) in str(caught.value)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="found a folder"):
        import_onnx(tmp_path)


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    """Cut anywhere, the file never imports as the whole net."""
    path = tmp_path / "net.onnx"
    data = small().SerializeToString()
    for length in range(1, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises((ModelFileError, UnsupportedModelError)):
            import_onnx(path)


def test_a_file_too_large_to_be_a_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freeml.frontend.loading.MAX_FILE_BYTES", 100)
    with pytest.raises(ModelFileError, match="bytes are over the limit of 100"):
        import_onnx(save(tmp_path, small()))


# --- external data ------------------------------------------------------------------------------------------------


def externalize(model: onnx.ModelProto, location: str, **entries: str) -> bytes:
    """Move the data of the first initializer out of the model; returns it."""
    tensor = model.graph.initializer[0]
    data = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return data


def test_external_data_is_read(tmp_path: Path) -> None:
    model = small()
    data = externalize(model, "weights.bin", offset="8", length="48")
    (tmp_path / "weights.bin").write_bytes(bytes(8) + data + bytes(8))
    graph = import_onnx(save(tmp_path, model))
    np.testing.assert_array_equal(graph.constants["w"], normal(4, 3))


def test_external_data_of_a_constant_node(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(normal(4, 3), "inner")
    model = build([node("Constant", "", "w", value=tensor), node("MatMul", "x w", "y")], {"x": ("N", 4)}, ["y"])
    attribute = model.graph.node[0].attribute[0].t
    data = attribute.raw_data
    attribute.ClearField("raw_data")
    attribute.data_location = TensorProto.EXTERNAL
    attribute.external_data.add(key="location", value="weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)
    graph = import_onnx(save(tmp_path, model))
    np.testing.assert_array_equal(graph.constants["w"], normal(4, 3))


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("absent.bin", {}, "is missing"),
        ("../outside.bin", {}, "is outside the model's folder"),
        ("folder/../../outside.bin", {}, "is outside the model's folder"),
        ("link.bin", {}, "is outside the model's folder"),
        ("linked/outside.bin", {}, "is outside the model's folder"),
        ("", {}, "is outside the model's folder"),
        (".", {}, "is missing"),
        ("bad\0name", {}, "not a usable path"),
        ("short.bin", {}, "is too small|does not fit"),
        ("short.bin", {"length": "48"}, "expected 48 bytes at offset 0 of 'short.bin', found 40"),
        ("short.bin", {"offset": "100"}, "found 0"),
        ("short.bin", {"offset": "-1"}, "expected a number of bytes for offset, found '-1'"),
        ("short.bin", {"length": "1e3"}, "expected a number of bytes for length"),
        ("short.bin", {"length": "9" * 17}, "found 40"),
    ],
)
def test_external_data_out_of_reach(tmp_path: Path, location: str, entries: dict[str, str], message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(48))
    (folder / "short.bin").write_bytes(bytes(40))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    (folder / "linked").symlink_to(tmp_path)
    model = small()
    externalize(model, location, **entries)
    with pytest.raises(ModelFileError, match=message) as caught:
        import_onnx(save(folder, model))
    assert re.search("tensor (name: )?w", str(caught.value))


def test_external_data_at_an_absolute_path(tmp_path: Path) -> None:
    model = small()
    data = externalize(model, str(tmp_path / "weights.bin"))
    (tmp_path / "weights.bin").write_bytes(data)
    with pytest.raises(ModelFileError, match="is outside the model's folder"):
        import_onnx(save(tmp_path, model))


def test_external_data_of_a_model_in_memory() -> None:
    model = small()
    externalize(model, "weights.bin")
    with pytest.raises(ModelFileError, match="a model in memory has no folder"):
        import_model(model, None)


def test_too_much_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "MAX_EXTERNAL_BYTES", 40)
    model = small()
    (tmp_path / "weights.bin").write_bytes(externalize(model, "weights.bin"))
    with pytest.raises(ModelFileError, match="tensor w: external data of 48 bytes"):
        import_onnx(save(tmp_path, model))


# --- versions and structure ---------------------------------------------------------------------------------------


def test_opsets_out_of_reach() -> None:
    model = build([node("Relu", "x", "y")], {"x": ("N", 4)}, ["y"], opset=10)
    with pytest.raises(UnsupportedModelError, match="opset 10 is too old: expected 11 or newer; export again"):
        import_model(model, None)
    model.opset_import[0].version = 9999
    with pytest.raises(UnsupportedModelError, match="opset 9999 is newer than the installed onnx"):
        import_model(model, None)
    del model.opset_import[:]
    with pytest.raises(ModelFileError, match="does not say which ONNX operator set"):
        import_model(model, None)


def test_a_file_format_from_the_future() -> None:
    model = small()
    model.ir_version = 99
    with pytest.raises(ModelFileError, match=r"IR version 99.*upgrade onnx"):
        import_model(model, None)


def test_broken_structure_is_named() -> None:
    model = small()
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(ModelFileError, match=r"not valid ONNX.*nowhere"):
        import_model(model, None)


def test_a_graph_without_outputs() -> None:
    model = small()
    del model.graph.output[:]
    with pytest.raises(ModelFileError, match="has no outputs"):
        import_model(model, None)


def test_required_inputs_left_out() -> None:
    model = build([node("Add", "x -", "y", name="sum")], {"x": ("N", 4)}, ["y"])
    with pytest.raises((UnsupportedModelError, ModelFileError), match="sum"):
        import_model(model, None)


# --- what is not supported ----------------------------------------------------------------------------------------


def test_everything_unsupported_is_listed_at_once() -> None:
    nodes = [
        node("LSTM", "x r s", "a", name="memory", hidden_size=4),
        node("Relu", "a", "b", name="after"),
        node("Einsum", "x", "c", name="sum", equation="ijk->ikj"),
        node("Resize", "x - scales", "d", name="up", mode="cubic"),
        node("NoSuchOperator", "x", "e", name="typo"),
        helper.make_node("Fancy", ["x"], ["f"], name="custom", domain="com.example"),
        node("Softmax", "c", "g", name="later"),
    ]
    constants = {"r": normal(1, 16, 3), "s": normal(1, 16, 4), "scales": np.float32([1, 1, 2])}
    model = build(nodes, {"x": ("N", 2, 3)}, list("bdefg"), constants)
    model.opset_import.add(domain="com.example", version=1)
    with pytest.raises(UnsupportedModelError) as caught:
        import_model(model, None)
    assert len(caught.value.problems) == 5
    for expected in (
        "node memory (LSTM): the operator is not supported",
        "node sum (Einsum): the operator is not supported",
        "node up (Resize): attribute mode: only nearest is supported, found cubic",
        "node typo (NoSuchOperator): the operator is not supported",
        "node custom (Fancy): operators of domain com.example are not supported",
    ):
        assert any(problem.startswith(expected) for problem in caught.value.problems), expected
    assert "after" not in str(caught.value)
    assert "later" not in str(caught.value)


def test_unsupported_nodes_behind_unsupported_ones_are_listed_too() -> None:
    nodes = [node("Gelu", "x", "a", name="first"), node("Erf", "a", "y", name="second")]
    with pytest.raises(UnsupportedModelError) as caught:
        import_model(build(nodes, {"x": ("N", 3)}, ["y"], opset=20), None)
    assert len(caught.value.problems) == 2


def test_control_flow() -> None:
    branch = helper.make_graph([node("Relu", "x", "r")], "then", [], [helper.make_tensor_value_info("r", 1, None)])
    flow = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch, else_branch=branch)
    model = build([flow], {"x": ("N", 3)}, ["y"], {"c": np.array(True)})
    with pytest.raises(UnsupportedModelError, match=r"node choice \(If\).*control flow is not supported"):
        import_model(model, None)


def test_sparse_weights() -> None:
    model = build([node("MatMul", "x w", "y")], {"x": ("N", 4)}, ["y"])
    values = numpy_helper.from_array(np.float32([1, 2]), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(ints(0, 5), "i"), [4, 3])
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(UnsupportedModelError, match="tensor w: sparse tensors are not supported"):
        import_model(model, None)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("N", 3, "width"), r'input x: axis 2 is dynamic \("width"\); export the model with that axis fixed'),
        (("N", None), "input x: axis 1 is dynamic; export"),
        ((8, 3), "input x: axis 0, the batch, is fixed at 8; export the model with batch 1 or a dynamic batch"),
        ((0, 3), "input x: axis 0 has extent 0"),
        ((), "input x: it is a scalar"),
        (("N", 2**20, 2**10), "has more than|is too large"),
        (None, "input x: its shape is not declared"),
    ],
)
def test_shapes_that_are_not_static(shape: tuple[int | str, ...] | None, message: str) -> None:
    model = build([node("Relu", "x", "y")], {"x": ("N", 3)}, ["y"])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    with pytest.raises(UnsupportedModelError, match=message):
        import_model(model, None)


def test_a_fixed_batch_can_be_kept_and_a_nameless_one_becomes_1() -> None:
    model = build([node("Relu", "x", "y")], {"x": (8, 3)}, ["y"])
    assert import_model(model, None, keep_batch=True).types["y"].shape == (8, 3)
    model = build([node("Relu", "x", "y")], {"x": (None, 3)}, ["y"])
    assert import_model(model, None).types["y"].shape == (1, 3)


def test_integer_inputs() -> None:
    model = build([node("Cast", "x", "f", to=TensorProto.FLOAT), node("Relu", "f", "y")], {"x": ("N", 3)}, ["y"])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(UnsupportedModelError, match=r"input x: expected floats, found uint8.*float input"):
        import_model(model, None)


def test_inputs_that_are_no_tensors() -> None:
    model = small()
    model.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None))
    with pytest.raises((UnsupportedModelError, ModelFileError), match=r"input x: expected a tensor|not valid ONNX"):
        import_model(model, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bad: float) -> None:
    model = small()
    weights = normal(4, 3).copy()
    weights[2, 1] = bad
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    with pytest.raises(UnsupportedModelError, match=rf"node fc \(MatMul\): tensor w holds {bad} at index \[2, 1\]"):
        import_model(model, None)


def test_products_that_are_not_finite() -> None:
    """alpha * w beyond float32: found although no tensor of the file is to blame."""
    constants = {"w": np.full((2, 2), 1e30, dtype=np.float32)}
    model = build([node("Gemm", "x w", "y", alpha=1e30)], {"x": ("N", 2)}, ["y"], constants)
    with pytest.raises(UnsupportedModelError, match=r"tensor y.weights holds inf at index \[0, 0\]"):
        import_model(model, None)


def test_attributes_that_are_not_finite() -> None:
    model = build([node("LeakyRelu", "x", "y", alpha=float("nan"))], {"x": ("N", 2)}, ["y"])
    with pytest.raises(UnsupportedModelError, match="attribute alpha is nan, expected a finite number"):
        import_model(model, None)


@pytest.mark.parametrize("last", [[], [node("Identity", "y", "z")], [node("Reshape", "y whole", "z")]])
def test_an_output_that_is_listed_twice(last: list[onnx.NodeProto]) -> None:
    """By its own name, or by another name of a value."""
    name = last[0].output[0] if last else "y"
    model = build([node("Relu", "x", "y"), *last], {"x": ("N", 3)}, [name, name], {"whole": np.int64([0, -1])})
    with pytest.raises(UnsupportedModelError, match=f"output {name} is listed twice; remove it"):
        import_model(model, None)


def test_outputs_that_need_no_net() -> None:
    nodes = [node("Shape", "x", "s"), node("Relu", "x", "y")]
    with pytest.raises(UnsupportedModelError, match="output s does not depend on any input; remove it"):
        import_model(build(nodes, {"x": ("N", 3)}, ["y", "s"]), None)


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("Conv", "x x", "y")], {}, r"input 1 \(weights\) must be a constant"),
        ([node("Conv", "x w", "y", strides=[0, 1])], {"w": normal(2, 3, 1, 1)}, "expected 2 positive integers"),
        ([node("Conv", "x w", "y", pads=[-1, 0, 0, 0])], {"w": normal(2, 3, 1, 1)}, "expected pads of 0 or more"),
        ([node("Conv", "x w", "y", pads=[2**30, 0, 0, 0])], {"w": normal(2, 3, 1, 1)}, "make the input larger"),
        ([node("Conv", "x w", "y", auto_pad="SAME")], {"w": normal(2, 3, 1, 1)}, "auto_pad SAME"),
        ([node("Conv", "x w", "y")], {"w": normal(2, 5, 1, 1)}, "Conv with 1 groups expected weights for 3"),
        ([node("Conv", "x w b", "y")], {"w": normal(2, 3, 1, 1), "b": normal(3)}, r"expected a bias of shape \(2,\)"),
        ([node("Conv", "x w", "y", kernel_shape=[3, 3])], {"w": normal(2, 3, 1, 1)}, "kernel_shape"),
        ([node("MaxPool", "x", "y", kernel_shape=[9, 9])], {}, "expected a kernel within"),
        ([node("MaxPool", "x", "y i", kernel_shape=[2, 2])], {}, "second output"),
        ([node("MatMul", "x x", "y")], {}, "both factors are computed at run time"),
        ([node("Gemm", "x w", "y")], {"w": normal(2, 2)}, "expected matrices"),
        ([node("Div", "w x", "y")], {"w": normal(1)}, r"input 1 \(divisor\) must be a constant"),
        ([node("Div", "x w", "y")], {"w": np.float32([1, 0])}, "has zeros"),
        ([node("PRelu", "x w", "y")], {"w": normal(7)}, r"slope of shape \(7,\) does not broadcast"),
        ([node("Dropout", "x r t", "y")], {"r": np.float32(0.5), "t": np.array(True)}, "evaluation mode"),
        ([node("Softmax", "x", "y", axis=4)], {}, "axis 4 is outside a tensor of rank 4"),
        ([node("Pad", "x p", "y", mode="nearest")], {"p": ints(*[0] * 8)}, "attribute mode"),
        ([node("Pad", "x p", "y")], {"p": ints(1, 2)}, "expected 8 pads"),
        ([node("Split", "x s", "y z", axis=1)], {"s": ints(1, 1)}, "do not make up the 3"),
        ([node("Squeeze", "x s", "y")], {"s": ints(1)}, "do not all have extent 1"),
        ([node("Cast", "x", "y", to=TensorProto.INT8)], {}, "cast from float32 to int8"),
        ([node("Add", "x w", "y")], {"w": normal(1, 3, 5, 4)}, "expected shapes that broadcast"),
        ([node("Add", "x w", "y")], {"w": ints(3)}, "it reads w, which holds int64; expected floats"),
    ],
)  # fmt: skip
def test_nodes_that_cannot_be_honoured(nodes: list[onnx.NodeProto], constants: dict[str, object], message: str) -> None:
    outputs = list(nodes[-1].output)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        import_model(build(nodes, {"x": ("N", 3, 4, 4)}, outputs, constants), None)  # type: ignore[arg-type]
    assert f"{nodes[0].op_type}_0" in str(caught.value)


def test_a_model_that_would_take_all_memory_to_import() -> None:
    """Constants that shape arithmetic would blow up are refused before they are made."""
    for op_type, constants in (
        ("ConstantOfShape", {"s": ints(2**40)}),
        ("Expand", {"v": np.float32(0), "s": ints(2**20, 2**20)}),
        ("Range", {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)}),
    ):
        nodes = [node(op_type, " ".join(constants), "big"), node("Add", "x big", "y")]
        with pytest.raises(UnsupportedModelError, match="too large"):
            import_model(build(nodes, {"x": ("N", 3)}, ["y"], constants), None)
    nodes = [node("Resize", "x - s", "y")]
    with pytest.raises(UnsupportedModelError, match="expected axes of 1 to 65536 entries"):
        import_model(build(nodes, {"x": ("N", 3)}, ["y"], {"s": np.float32([1, 3e38])}), None)
    nodes = [node("Pad", "x p", "y")]
    with pytest.raises(UnsupportedModelError, match="expected 1 to 16777216 elements"):
        import_model(build(nodes, {"x": ("N", 3)}, ["y"], {"p": ints(0, 2**40, 0, 0)}), None)


# --- model-local functions ----------------------------------------------------------------------------------------


def function(name: str, nodes: list[onnx.NodeProto]) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], nodes, opsets)


def with_functions(functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    call = helper.make_node(functions[0].name, ["x"], ["y"], domain="local", name="call")
    model = build([call], {"x": ("N", 3)}, ["y"])
    model.opset_import.add(domain="local", version=1)
    model.functions.extend(functions)
    return model


def test_functions_are_inlined() -> None:
    inner = function("Inner", [node("Tanh", "a", "t"), node("Mul", "t t", "b")])
    outer = function("Outer", [helper.make_node("Inner", ["a"], ["c"], domain="local"), node("Relu", "c", "b")])
    assert kinds(compare(with_functions([outer, inner]))) == ["Tanh", "Mul", "Clip"]


def test_functions_that_call_themselves_or_explode() -> None:
    again = function("Again", [helper.make_node("Again", ["a"], ["b"], domain="local")])
    with pytest.raises(ModelFileError, match="local function Again calls itself"):
        import_model(with_functions([again]), None)
    levels = []
    for level in range(20):
        names = ["a", *(f"v{i}" for i in range(9)), "b"]
        op_type, domain = (f"F{level + 1}", "local") if level < 19 else ("Relu", "")
        calls = [helper.make_node(op_type, [names[i]], [names[i + 1]], domain=domain) for i in range(10)]
        levels.append(function(f"F{level}", calls))
    with pytest.raises(ModelFileError, match="expand to 100000000000000000000 nodes"):
        import_model(with_functions(levels), None)


# --- oddities that are fine ---------------------------------------------------------------------------------------


def test_weights_listed_as_inputs_are_constants() -> None:
    """Files before IR version 4 list every initializer as an input."""
    model = small()
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3]))
    graph = import_model(model, None)
    assert graph.inputs == ("x",)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_half_and_double_precision_become_single(dtype: type) -> None:
    model = build([node("MatMul", "x w", "y")], {"x": ("N", 4)}, ["y"], {"w": normal(4, 3).astype(dtype)})
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.input[0].type.tensor_type.elem_type = element
    model.graph.output[0].type.tensor_type.elem_type = element
    graph = import_model(model, None)
    assert graph.constants["w"].dtype == np.float32
    np.testing.assert_array_equal(graph.constants["w"], normal(4, 3).astype(dtype).astype(np.float32))


def test_the_given_model_is_left_as_it_was() -> None:
    model = small()
    before = model.SerializeToString(deterministic=True)
    import_model(model, None)
    assert model.SerializeToString(deterministic=True) == before
