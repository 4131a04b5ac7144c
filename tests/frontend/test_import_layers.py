"""Layers with weights, activations, arithmetic and pools: imported, run in float, compared with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import build, compare, ints, kinds, node, normal

from freeml.errors import UnsupportedModelError
from freeml.frontend.onnx_reader import import_model
from freeml.ops.clip import Clip


@pytest.mark.parametrize(
    ("shape", "weights", "attributes"),
    [
        (("N", 3, 9), (4, 3, 3), {}),
        (("N", 3, 9), (4, 3, 3), {"strides": [2], "pads": [2, 1], "dilations": [2]}),
        (("N", 3, 9, 8), (4, 3, 3, 2), {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0]}),
        (("N", 4, 9, 8), (4, 1, 3, 3), {"group": 4, "auto_pad": "SAME_UPPER"}),
        (("N", 4, 9, 8), (6, 2, 3, 2), {"group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        (("N", 3, 7, 7), (2, 3, 3, 3), {"auto_pad": "VALID"}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(shape: tuple[int, ...], weights: tuple[int, ...], attributes: dict[str, Any], bias: bool) -> None:
    constants = {"w": normal(*weights)} | ({"b": normal(weights[0], seed=1)} if bias else {})
    model = build([node("Conv", "x w b" if bias else "x w", "y", **attributes)], {"x": shape}, ["y"], constants)
    assert kinds(compare(model)) == ["Conv"]


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, 0.25, 0.0])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("addend", [None, (4,), (1, 4), (1,), (), (1, 1)])
def test_gemm(alpha: float, beta: float, trans_b: int, addend: tuple[int, ...] | None) -> None:
    constants = {"w": normal(4, 6) if trans_b else normal(6, 4)}
    if addend is not None:
        constants["c"] = np.asarray(normal(*addend, seed=1))
    attributes = {"alpha": alpha, "beta": beta, "transB": trans_b}
    inputs = "x w" if addend is None else "x w c"
    graph = compare(build([node("Gemm", inputs, "y", **attributes)], {"x": ("N", 6)}, ["y"], constants))
    assert kinds(graph) == ["Dense"]


def test_gemm_adds_an_activation() -> None:
    nodes = [node("Relu", "x", "r"), node("Gemm", "x w r", "y", beta=0.5, alpha=2.0)]
    graph = compare(build(nodes, {"x": ("N", 5)}, ["y"], {"w": normal(5, 5)}))
    assert kinds(graph) == ["Clip", "Dense", "Mul", "Add"]


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm_with_the_constant_on_the_left(trans_a: int, trans_b: int) -> None:
    constants = {"w": normal(5, 3) if trans_a else normal(3, 5), "c": normal(3, 1, seed=2), "s": ints(5, 2)}
    second = "xr" if not trans_b else "xt"
    nodes = [
        node("Reshape", "x s", "xr"),
        node("Transpose", "xr", "xt", perm=[1, 0]),
        node("Gemm", f"w {second} c", "y", transA=trans_a, transB=trans_b, alpha=0.5),
    ]
    compare(build(nodes, {"x": ("N", 10)}, ["y"], constants))


def test_gemm_transposes_its_activation() -> None:
    nodes = [node("Reshape", "x s", "r"), node("Gemm", "r w", "y", transA=1)]
    compare(build(nodes, {"x": ("N", 8)}, ["y"], {"s": ints(4, 2), "w": normal(4, 3)}))


@pytest.mark.parametrize(
    ("shape", "weights"),
    [
        (("N", 6), (6, 4)),
        (("N", 5, 6), (6, 4)),
        (("N", 2, 5, 6), (6, 4)),
        (("N", 5, 6), (6,)),
        (("N", 5, 6), (1, 6, 4)),
    ],
)
def test_matmul_constant_right(shape: tuple[int, ...], weights: tuple[int, ...]) -> None:
    graph = compare(build([node("MatMul", "x w", "y")], {"x": shape}, ["y"], {"w": normal(*weights)}))
    assert kinds(graph)[0] == "Dense"


@pytest.mark.parametrize(
    ("shape", "weights"),
    [(("N", 5, 6), (3, 5)), (("N", 2, 5, 6), (3, 5)), (("N", 5, 6), (5,)), (("N", 5, 6), (1, 3, 5))],
)
def test_matmul_constant_left(shape: tuple[int, ...], weights: tuple[int, ...]) -> None:
    compare(build([node("MatMul", "w x", "y")], {"x": shape}, ["y"], {"w": normal(*weights)}))


@pytest.mark.parametrize("weights", [(3, 5), (5,)])
def test_matmul_of_a_vector(weights: tuple[int, ...]) -> None:
    nodes = [node("Reshape", "x s", "v"), node("MatMul", "w v", "p"), node("Reshape", "p t", "y")]
    constants = {"w": normal(*weights), "s": ints(5), "t": ints(1, -1)}
    compare(build(nodes, {"x": ("N", 5)}, ["y"], constants))


@pytest.mark.parametrize("shape", [("N", 3), ("N", 3, 4), ("N", 3, 4, 5)])
def test_batch_norm_and_what_it_knows(shape: tuple[int, ...]) -> None:
    mean, variance = normal(3, seed=3), np.abs(normal(3, seed=4))
    constants = {"s": normal(3, seed=1), "b": normal(3, seed=2), "m": mean, "v": variance}
    graph = compare(build([node("BatchNormalization", "x s b m v", "y", epsilon=1e-3)], {"x": shape}, ["y"], constants))
    np.testing.assert_allclose(graph.statistics["y"][0], constants["b"])
    np.testing.assert_allclose(graph.statistics["y"][1], np.abs(constants["s"]))
    np.testing.assert_allclose(graph.statistics["x"][0], mean)
    np.testing.assert_allclose(graph.statistics["x"][1], np.sqrt(variance), rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("LeakyRelu", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSigmoid", {}),
        ("HardSwish", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("Neg", {}),
        ("Identity", {}),
    ],
)
def test_activation(op_type: str, attributes: dict[str, Any]) -> None:
    nodes = [node("Conv", "x w", "c"), node(op_type, "c", "y", **attributes)]
    compare(build(nodes, {"x": ("N", 3, 8)}, ["y"], {"w": 3 * normal(4, 3, 2)}))


@pytest.mark.parametrize(
    ("inputs", "low", "high"),
    [
        ("x l h", 0, 6),
        ("x l", -1, None),
        ("x - h", None, 1),
        ("x l h", 2, 1),
        ("x l h", -np.inf, 0.5),
        ("x", None, None),
    ],
)
def test_clip(inputs: str, low: float | None, high: float | None) -> None:
    bounds = {"l": low, "h": high}
    constants = {k: np.array(v, dtype=np.float32) for k, v in bounds.items() if v is not None and k in inputs}
    constants["w"] = 3 * normal(4, 4)
    nodes = [node("MatMul", "x w", "c"), node("Clip", inputs.replace("x", "c"), "y")]
    compare(build(nodes, {"x": ("N", 4)}, ["y"], constants))


def test_clip_bounds_may_be_computed_from_constants() -> None:
    constant = node("Constant", "", "six", value_float=6.0)
    nodes = [constant, node("Sub", "six six", "zero"), node("Clip", "x zero six", "y")]
    graph = compare(build(nodes, {"x": ("N", 4)}, ["y"]))
    assert [stage.op for stage in graph.stages()] == [Clip(low=0.0, high=6.0)]


@pytest.mark.parametrize("slope", [(3, 1, 1), (1,), (1, 1, 1), (3, 4, 5), (5,)])
def test_prelu(slope: tuple[int, ...]) -> None:
    compare(build([node("PRelu", "x s", "y")], {"x": ("N", 3, 4, 5)}, ["y"], {"s": normal(*slope)}))


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 1, 1), (1, 3, 4, 5)])
def test_arithmetic_with_a_constant(op_type: str, shape: tuple[int, ...]) -> None:
    constants = {"c": np.asarray(normal(*shape))}
    compare(build([node(op_type, "x c", "y")], {"x": ("N", 3, 4, 5)}, ["y"], constants))
    if op_type != "Div":
        compare(build([node(op_type, "c x", "y")], {"x": ("N", 3, 4, 5)}, ["y"], constants))


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Sum"])
def test_arithmetic_of_activations(op_type: str) -> None:
    compare(build([node(op_type, "a b", "y")], {"a": ("N", 3, 4), "b": ("N", 1, 4)}, ["y"]))


def test_sum_of_three_and_of_one() -> None:
    nodes = [node("Sum", "a b c", "s"), node("Sum", "s", "t"), node("Relu", "t", "y")]
    graph = compare(build(nodes, dict.fromkeys("abc", ("N", 3)), ["y"]))
    assert kinds(graph) == ["Add", "Add", "Clip"]


def test_max_and_min_with_scalars_are_clips() -> None:
    nodes = [node("Max", "x a b", "m"), node("Min", "c m", "y")]
    constants = {"a": np.float32(-0.5), "b": np.float32([-0.25]), "c": np.float32(0.75)}
    assert kinds(compare(build(nodes, {"x": ("N", 3)}, ["y"], constants))) == ["Clip", "Clip"]


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2]},
        {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1, "count_include_pad": 1},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "VALID"},
        {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "VALID", "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER", "ceil_mode": 1},
    ],
)
def test_pool(op_type: str, attributes: dict[str, Any]) -> None:
    known = {k: v for k, v in attributes.items() if op_type == "AveragePool" or k != "count_include_pad"}
    compare(build([node(op_type, "x", "y", **known)], {"x": ("N", 3, 7, 8)}, ["y"]))
    compare(
        build([node(op_type, "x", "y", **{k: _first_axis(v) for k, v in known.items()})], {"x": ("N", 3, 7)}, ["y"])
    )


def _first_axis(value: Any) -> Any:
    """An attribute of a 2-D pool cut down to 1-D."""
    return value if not isinstance(value, list) else value[:: len(value) // (len(value) // 2)][: len(value) // 2]


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_dilated_pool(op_type: str) -> None:
    attributes = {"kernel_shape": [2, 3], "dilations": [2, 1]}
    compare(build([node(op_type, "x", "y", **attributes)], {"x": ("N", 2, 7, 8)}, ["y"], opset=19))


@pytest.mark.parametrize("op_type", ["GlobalMaxPool", "GlobalAveragePool"])
@pytest.mark.parametrize("shape", [("N", 3, 7), ("N", 3, 7, 8)])
def test_global_pool(op_type: str, shape: tuple[int, ...]) -> None:
    compare(build([node(op_type, "x", "y")], {"x": shape}, ["y"]))


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": -1}, {"axis": 2}, {"axis": 0}])
@pytest.mark.parametrize("shape", [("N", 5), ("N", 3, 4), ("N", 3, 1), ("N", 1, 4, 2)])
def test_softmax(op_type: str, opset: int, attributes: dict[str, int], shape: tuple[int, ...]) -> None:
    if attributes.get("axis", 0) >= len(shape):
        pytest.skip("no such axis")
    compare(build([node(op_type, "x", "y", **attributes)], {"x": shape}, ["y"], opset=opset))


@pytest.mark.parametrize(
    "attributes", [{"axis": 1}, {"axis": -1, "keepdims": 0}, {}, {"axis": 2, "select_last_index": 1}]
)
def test_argmax(attributes: dict[str, int]) -> None:
    nodes = [node("ArgMax", "x", "y", **attributes)]
    graph = compare(build(nodes, {"x": ("N", 3, 4)}, ["y"], output_type=TensorProto.INT64))
    assert graph.types["y"].dtype == "int64"


def test_index_of_the_class_may_be_moved_but_not_computed_with() -> None:
    nodes = [
        node("ArgMax", "x", "a", axis=1),
        node("Squeeze", "a axes", "s"),
        node("Cast", "s", "y", to=TensorProto.INT32),
    ]
    compare(build(nodes, {"x": ("N", 3)}, ["y"], {"axes": ints(1)}, output_type=TensorProto.INT32))
    nodes = [node("ArgMax", "x", "a", axis=1, name="top"), node("Add", "a a", "y", name="twice")]
    with pytest.raises(UnsupportedModelError, match=r"node twice \(Add\).*integer computed at run time"):
        import_model(build(nodes, {"x": ("N", 3)}, ["y"], output_type=TensorProto.INT64), None)
