"""QuantizeLinear and DequantizeLinear: they become number formats, and the float path stays that of the float net."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx_models import build, kinds, node, normal

from freeml.errors import UnsupportedModelError
from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import Graph, execute
from freeml.ops.clip import Clip


def pair(x: str, y: str, scale: str = "s", zero: str = "z", **attributes: Any) -> list[onnx.NodeProto]:
    """Quantize and dequantize."""
    suffix = f" {zero}" if zero else ""
    return [
        node("QuantizeLinear", f"{x} {scale}{suffix}", f"{y}.q", **attributes),
        node("DequantizeLinear", f"{y}.q {scale}{suffix}", y, **attributes),
    ]


def close_to_onnxruntime(model: onnx.ModelProto, graph: Graph, step: float) -> None:
    """The float path differs from the fake-quantized net by quantization steps only."""
    x = np.random.default_rng(3).normal(size=(20, *graph.types["x"].shape)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = np.stack([session.run(None, {"x": sample})[0] for sample in x])
    found = execute(graph, {"x": x.astype(np.float64)})[graph.outputs[0]]
    assert np.abs(found - expected).max() < step
    assert np.abs(expected).max() > 2 * step


@pytest.mark.parametrize(("dtype", "zero", "shifted"), [(np.uint8, 120, -8), (np.int8, -3, -3), (np.uint16, 32768, 0)])
def test_activation_formats(dtype: Any, zero: int, shifted: int) -> None:
    """The formats of input, middle and output; unsigned ones are shifted; no node is left of them."""
    constants = {"s": np.float32(0.05), "z": dtype(zero), "t": np.float32(0.1), "w": normal(4, 5)}
    nodes = [
        *pair("x", "xd"),
        node("MatMul", "xd w", "m"),
        *pair("m", "md", "t"),
        node("Tanh", "md", "h"),
        *pair("h", "y"),
    ]
    model = build(nodes, {"x": ("N", 4)}, ["y"], constants, opset=21)
    graph = import_model(model, None)
    assert kinds(graph) == ["Dense", "Tanh"]
    assert {name: float(b.scale[0]) for name, b in graph.brought.items()} == {
        "x": pytest.approx(0.05), "m": pytest.approx(0.1), "y": pytest.approx(0.05),
    }  # fmt: skip
    for brought in graph.brought.values():
        assert brought.bits == 8 * np.dtype(dtype).itemsize
        assert brought.zero_point.tolist() == [shifted]
        assert brought.axis is None
    if dtype is not np.uint16:
        close_to_onnxruntime(model, graph, 0.3)


def test_weights_per_channel_and_bias() -> None:
    """int8 weights with a scale per channel and an int32 bias, as the quantizers in use write them."""
    rng = np.random.default_rng(0)
    w = rng.integers(-30, 31, size=(4, 3, 3, 3)).astype(np.int8)
    scales = np.float32([0.01, 0.02, 0.03, 0.04])
    constants = {
        "w": w, "ws": scales, "wz": np.zeros(4, dtype=np.int8), "b": np.int32([10, -20, 30, 40]),
        "bs": np.float32(0.05) * scales, "s": np.float32(0.05), "z": np.uint8(128),
        "bz": np.zeros(4, dtype=np.int32), "t": np.float32(0.2),
    }  # fmt: skip
    nodes = [
        *pair("x", "xd"),
        node("DequantizeLinear", "w ws wz", "wd", axis=0),
        node("DequantizeLinear", "b bs bz", "bd", axis=0),
        node("Conv", "xd wd bd", "c", pads=[1, 1, 1, 1]),
        *pair("c", "y", "t"),
    ]
    model = build(nodes, {"x": ("N", 3, 6, 6)}, ["y"], constants)
    graph = import_model(model, None)
    assert kinds(graph) == ["Conv"]
    np.testing.assert_allclose(graph.constants["wd"], w * scales[:, None, None, None], rtol=1e-6)
    assert graph.brought["wd"].axis == 0
    np.testing.assert_allclose(graph.brought["wd"].scale, scales)
    assert (graph.brought["bd"].bits, graph.brought["bd"].axis) == (32, 0)
    close_to_onnxruntime(model, graph, 1.0)


@pytest.mark.parametrize("through", ["Gemm", "Gemm transB", "Transpose", "Identity", "MatMul"])
@pytest.mark.parametrize("per_axis", [False, True])
def test_formats_follow_weights_that_are_moved(through: str, per_axis: bool) -> None:
    """A weight matrix (4 inputs, 3 outputs) stored in either order: the axis of its scales follows."""
    stored = np.arange(12, dtype=np.uint8).reshape((3, 4) if through in ("Gemm transB", "Transpose") else (4, 3))
    output_axis = stored.shape.index(3)
    scales = np.float32([0.1, 0.2, 0.3]) if per_axis else np.float32(0.1)
    zeros = np.full(scales.shape, 5, dtype=np.uint8)
    nodes = [node("DequantizeLinear", "w s z", "wd", axis=output_axis)]
    if through.startswith("Gemm"):
        nodes.append(node("Gemm", "x wd", "y", transB=int(through.endswith("transB")), alpha=0.5))
    elif through == "MatMul":
        nodes.append(node("MatMul", "x wd", "y"))
    else:
        nodes += [node(through, "wd", "wt"), node("MatMul", "x wt", "y")]
    graph = import_model(build(nodes, {"x": ("N", 4)}, ["y"], {"w": stored, "s": scales, "z": zeros}), None)
    weights = graph.nodes[0].inputs[1]
    gain = 0.5 if through.startswith("Gemm") else 1.0
    brought = graph.brought[weights]
    assert brought.axis == (1 if per_axis else None)
    assert brought.zero_point.tolist() == [5 - 128] * scales.size
    integers = stored.T if stored.shape == (3, 4) else stored
    np.testing.assert_allclose(graph.constants[weights], (integers - 5.0) * scales * gain, rtol=1e-6)
    np.testing.assert_allclose(brought.scale, np.atleast_1d(scales) * gain, rtol=1e-6)


def test_a_float_weight_quantized_in_the_model() -> None:
    """Quantize and dequantize on a float constant: the fake-quantized weight and its format."""
    w = normal(4, 3)
    constants = {"w": w, "s": np.float32([0.02, 0.03, 0.01]), "z": np.zeros(3, dtype=np.int8)}
    nodes = [*pair("w", "wd", axis=1), node("MatMul", "x wd", "y")]
    graph = import_model(build(nodes, {"x": ("N", 4)}, ["y"], constants), None)
    expected = np.clip(np.rint(w / constants["s"]), -128, 127) * constants["s"]
    np.testing.assert_allclose(graph.constants["wd"], expected, rtol=1e-6)
    assert graph.brought["wd"].axis == 1


@pytest.mark.parametrize("op_type", ["MatMul", "Add"])
def test_a_range_that_starts_at_zero_keeps_its_relu(op_type: str) -> None:
    """Quantizers drop a Relu in front of an unsigned format: the clamp is part of the float net all the same."""
    constants = {"s": np.float32(0.02), "z": np.uint8(0), "w": normal(4, 4)}
    nodes = [node(op_type, "x w" if op_type == "MatMul" else "x x", "m"), *pair("m", "y")]
    model = build(nodes, {"x": ("N", 4)}, ["y"], constants)
    graph = import_model(model, None)
    clips = [stage.op for stage in graph.stages() if isinstance(stage.op, Clip)]
    assert clips == [Clip(low=0.0, high=pytest.approx(5.1))]
    assert graph.brought["y"].zero_point.tolist() == [-128]
    close_to_onnxruntime(model, graph, 0.03)


def test_no_clamp_after_what_cannot_be_negative() -> None:
    nodes = [node("MatMul", "x w", "m"), node("Relu", "m", "r"), *pair("r", "y")]
    constants = {"s": np.float32(0.02), "z": np.uint8(0), "w": normal(4, 4)}
    assert kinds(import_model(build(nodes, {"x": ("N", 4)}, ["y"], constants), None)) == ["Dense", "Clip"]


def test_two_formats_of_one_value_are_two_values() -> None:
    """Dequantized and quantized again with another scale: a copy that requantizes."""
    constants = {"s": np.float32(0.05), "t": np.float32(0.1), "z": np.int8(1)}
    nodes = [*pair("x", "a"), *pair("a", "b", "t"), node("Tanh", "b", "y")]
    graph = import_model(build(nodes, {"x": ("N", 4)}, ["y"], constants), None)
    assert kinds(graph) == ["Concat", "Tanh"]
    assert [float(graph.brought[stage.inputs[0]].scale[0]) for stage in graph.stages()] == pytest.approx([0.05, 0.1])


def test_the_same_format_twice_is_one_value() -> None:
    constants = {"s": np.float32(0.05), "z": np.int8(1)}
    nodes = [*pair("x", "a"), *pair("a", "b"), node("Tanh", "b", "y")]
    assert kinds(import_model(build(nodes, {"x": ("N", 4)}, ["y"], constants), None)) == ["Tanh"]


def test_without_zero_points() -> None:
    """Quantize makes uint8 with zero point 0 then."""
    constants = {"s": np.float32(0.05)}
    nodes = [*pair("x", "a", zero=""), node("Tanh", "a", "y")]
    graph = import_model(build(nodes, {"x": ("N", 4)}, ["y"], constants), None)
    assert graph.brought["x"].zero_point.tolist() == [-128]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q t z", "y")], "another format"),
        ([node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z2", "y")], "another format"),
        ([node("QuantizeLinear", "x s4 z4", "q"), node("DequantizeLinear", "q s4 z4", "y")], "per channel"),
        ([node("QuantizeLinear", "x s z", "q"), node("Flatten", "q", "f"), node("DequantizeLinear", "f s z", "y")],
         "it reads q, which is quantized"),
        ([node("QuantizeLinear", "x s z", "y")], "output y holds quantized integers"),
        ([node("QuantizeLinear", "x bad z", "q"), node("DequantizeLinear", "q bad z", "y")], "expected scales above 0"),
        ([node("DequantizeLinear", "w s z", "wd", axis=0), node("MatMul", "x wd", "y")], "expected a zero point"),
        ([node("QLinearMatMul", "x s z w s z s z", "y", name="mm")], r"node mm \(QLinearMatMul\): .*QDQ format"),
    ],
)  # fmt: skip
def test_refusals(nodes: list[onnx.NodeProto], message: str) -> None:
    constants = {
        "s": np.float32(0.05), "t": np.float32(0.06), "z": np.uint8(3), "z2": np.uint8(4), "bad": np.float32(-1),
        "s4": np.full(4, 0.1, dtype=np.float32), "z4": np.zeros(4, dtype=np.uint8), "w": np.ones((4, 4), dtype=np.int8),
    }  # fmt: skip
    model = build(nodes, {"x": ("N", 4)}, ["y"], constants)
    with pytest.raises(UnsupportedModelError, match=message):
        import_model(model, None)


def test_narrow_weights_are_refused_by_name() -> None:
    nodes = [node("DequantizeLinear", "w s", "wd"), node("MatMul", "x wd", "y")]
    model = build(nodes, {"x": ("N", 4)}, ["y"], opset=21)
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [4, 2], [1] * 8)
    model.graph.initializer.extend([weights, numpy_helper.from_array(np.float32(1), "s")])
    with pytest.raises(UnsupportedModelError, match="tensor w: element type int4 is not supported"):
        import_model(model, None)
