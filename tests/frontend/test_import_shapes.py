"""Operators that move numbers, Resize, and shape arithmetic: imported, run in float, compared with onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import build, compare, ints, kinds, node, normal

from freeml.errors import UnsupportedModelError
from freeml.frontend.onnx_reader import import_model
from freeml.ops.reshape import Reshape

MAP = ("N", 3, 4, 6)


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1])
def test_flatten(axis: int) -> None:
    compare(build([node("Flatten", "x", "y", axis=axis)], {"x": MAP}, ["y"]))


@pytest.mark.parametrize("target", [(1, -1), (0, -1), (1, 72), (0, 0, -1), (-1, 6), (0, 3, 2, 2, 0)])
def test_reshape(target: tuple[int, ...]) -> None:
    if len(target) == 5:
        target = (0, 3, 2, 12)
    compare(build([node("Reshape", "x s", "y")], {"x": MAP}, ["y"], {"s": ints(*target)}))


def test_reshape_to_the_same_shape_leaves_nothing() -> None:
    nodes = [node("Reshape", "x s", "r"), node("Relu", "r", "y")]
    graph = compare(build(nodes, {"x": MAP}, ["y"], {"s": ints(1, 3, 4, 6)}))
    assert kinds(graph) == ["Clip"]


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [(2,), (-1, 2), None])
def test_squeeze(opset: int, axes: tuple[int, ...] | None) -> None:
    model = _with_axes("Squeeze", opset, axes, (1, 3, 1, 1))
    compare(model)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axes", [(0,), (3, 1), (-1,), (-2, 0)])
def test_unsqueeze(opset: int, axes: tuple[int, ...]) -> None:
    compare(_with_axes("Unsqueeze", opset, axes, (1, 3, 4)))


def _with_axes(op_type: str, opset: int, axes: tuple[int, ...] | None, shape: tuple[int, ...]) -> Any:
    """A node whose axes are an attribute (before opset 13) or an input."""
    if axes is None:
        nodes, constants = [node(op_type, "x", "y")], {}
    elif opset < 13:
        nodes, constants = [node(op_type, "x", "y", axes=list(axes))], {}
    else:
        nodes, constants = [node(op_type, "x a", "y")], {"a": ints(*axes)}
    return build(nodes, {"x": shape}, ["y"], constants, opset=opset)


@pytest.mark.parametrize("perm", [None, [0, 2, 3, 1], [0, 3, 1, 2], [3, 1, 0, 2], [0, 1, 2, 3]])
def test_transpose(perm: list[int] | None) -> None:
    nodes = [node("Transpose", "x", "t", **({} if perm is None else {"perm": perm})), node("Relu", "t", "y")]
    graph = compare(build(nodes, {"x": MAP}, ["y"]))
    assert ("Transpose" in kinds(graph)) == (perm != [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), (2,), None),
        ((0, 1), (2, 100), (1, 3), None),
        ((-2,), (2**63 - 1,), (-1,), (1,)),
        ((-1,), (-(2**63),), (3,), (-2,)),
        ((4, 5), (0, -100), (2, 3), (-1, -3)),
        ((0, 0, 1, 2), (1, 3, 4, 5), None, (1, 2, 1, 2)),
        ((0,), (100,), (1,), None),
    ],
)
def test_slice(
    starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] | None, steps: tuple[int, ...] | None
) -> None:
    given = {"s": starts, "e": ends, "a": axes, "t": steps}
    inputs = " ".join(name if given[name] is not None else "-" for name in "seat")
    constants = {name: ints(*values) for name, values in given.items() if values is not None}
    nodes = [node("Slice", f"x {inputs}", "c"), node("Relu", "c", "y")]
    compare(build(nodes, {"x": MAP}, ["y"], constants))


@pytest.mark.parametrize(
    ("opset", "inputs", "attributes"),
    [
        (11, "x", {"split": [1, 3, 2]}),
        (11, "x", {}),
        (13, "x s", {}),
        (13, "x", {}),
        (18, "x s", {}),
        (18, "x", {"num_outputs": 3}),
    ],
)
def test_split(opset: int, inputs: str, attributes: dict[str, Any]) -> None:
    nodes = [node("Split", inputs, "a b c", axis=-1, **attributes)]
    constants = {"s": ints(1, 3, 2)} if " s" in inputs else {}
    graph = compare(build(nodes, {"x": MAP}, ["a", "b", "c"], constants, opset=opset))
    assert kinds(graph) == ["Slice"] * 3


def test_uneven_split() -> None:
    nodes = [node("Split", "x", "a b", axis=1, num_outputs=2)]
    graph = compare(build(nodes, {"x": MAP}, ["a", "b"], opset=18))
    assert [graph.types[name].shape[1] for name in "ab"] == [2, 1]


def test_a_part_of_a_split_that_nobody_reads_is_dropped() -> None:
    graph = compare(build([node("Split", "x", "a b c", axis=1)], {"x": MAP}, ["c"]))
    assert kinds(graph) == ["Slice"]


@pytest.mark.parametrize("indices", [2, -1, [0, 2], [2, 1, 0], [1], [0, 2, 1], [2, 2], [[0, 1], [2, 0]], [[1]]])
def test_gather_with_constant_indices(indices: Any) -> None:
    nodes = [node("Gather", "x i", "g", axis=1), node("Relu", "g", "y")]
    compare(build(nodes, {"x": MAP}, ["y"], {"i": np.asarray(indices, dtype=np.int64)}))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("pads", [(0, 0, 1, 2, 0, 0, 2, 1), (0, 0, -1, 0, 0, 0, 0, -2), (0, 0, -1, 1, 0, 0, 2, -1)])
def test_pad(mode: str, pads: tuple[int, ...]) -> None:
    constants = {"p": ints(*pads), "v": np.array(0.5, dtype=np.float32)}
    inputs = "x p v" if mode == "constant" else "x p"
    compare(build([node("Pad", inputs, "y", mode=mode)], {"x": ("N", 3, 5, 6)}, ["y"], constants, opset=11))


def test_pad_of_some_axes_and_wrapped() -> None:
    constants = {"p": ints(1, 2, 0, 1), "a": ints(-1, 2)}
    compare(build([node("Pad", "x p - a", "y", mode="wrap")], {"x": MAP}, ["y"], constants, opset=19))


def test_pad_with_nothing_leaves_nothing() -> None:
    nodes = [node("Pad", "x p", "q"), node("Relu", "q", "y")]
    assert kinds(compare(build(nodes, {"x": ("N", 3)}, ["y"], {"p": ints(0, 0, 0, 0)}))) == ["Clip"]


@pytest.mark.parametrize("axis", [1, -1, 2])
def test_concat(axis: int) -> None:
    nodes = [node("Concat", "a b a", "y", axis=axis)]
    compare(build(nodes, {"a": MAP, "b": MAP}, ["y"]))


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("axes", [(2, 3), (-1,), (1, 2), None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_mean(opset: int, axes: tuple[int, ...] | None, keepdims: int) -> None:
    attributes: dict[str, Any] = {"keepdims": keepdims}
    constants = {}
    inputs = "x"
    if axes is not None and opset < 18:
        attributes["axes"] = list(axes)
    elif axes is not None:
        inputs, constants = "x a", {"a": ints(*axes)}
    compare(build([node("ReduceMean", inputs, "y", **attributes)], {"x": MAP}, ["y"], constants, opset=opset))


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("axes", [(2, 3), (-1,), (1, 2), (0,), None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_max_is_a_pool(opset: int, axes: tuple[int, ...] | None, keepdims: int) -> None:
    attributes: dict[str, Any] = {"keepdims": keepdims}
    constants = {}
    inputs = "x"
    if axes is not None and opset < 18:
        attributes["axes"] = list(axes)
    elif axes is not None:
        inputs, constants = "x a", {"a": ints(*axes)}
    compare(build([node("ReduceMax", inputs, "y", **attributes)], {"x": MAP}, ["y"], constants, opset=opset))


def test_reduce_mean_over_nothing() -> None:
    nodes = [node("ReduceMean", "x", "m", noop_with_empty_axes=1), node("Relu", "m", "y")]
    assert kinds(compare(build(nodes, {"x": MAP}, ["y"], opset=18))) == ["Clip"]


COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@pytest.mark.parametrize(("coordinates", "rounding"), list(itertools.product(COORDINATES, ROUNDINGS)))
def test_resize_to_sizes(coordinates: str, rounding: str) -> None:
    """Every output length from every input length up to 16: the table must be onnxruntime's index for index."""
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    for extent in (1, 2, 3, 5, 7, 12):
        lengths = [n for n in range(1, 17) if n != extent]
        nodes = [node("Resize", f"x - - s{n}", f"y{n}", **attributes) for n in lengths]
        constants = {f"s{n}": ints(1, 1, n) for n in lengths}
        compare(build(nodes, {"x": ("N", 1, extent)}, [f"y{n}" for n in lengths], constants), samples=1)


@pytest.mark.parametrize(("coordinates", "rounding"), list(itertools.product(COORDINATES, ROUNDINGS)))
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_resize_by_scales(coordinates: str, rounding: str, opset: int) -> None:
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    scales = (0.3, 0.5, 0.6, 0.7, 1.5, 2.0, 2.5, 3.0)
    nodes = [node("Resize", f"x r s{i}", f"y{i}", **attributes) for i in range(len(scales))]
    constants = {f"s{i}": np.float32([1, 1, scale, 2]) for i, scale in enumerate(scales)}
    constants["r"] = np.zeros(0, dtype=np.float32)
    outputs = [f"y{i}" for i in range(len(scales))]
    compare(build(nodes, {"x": ("N", 2, 10, 3)}, outputs, constants, opset=opset), samples=1)


def test_resize_axes_and_aspect_ratio() -> None:
    constants = {"s": ints(7, 8)}
    for policy in ("stretch", "not_larger", "not_smaller"):
        nodes = [node("Resize", "x - - s", "y", axes=[3, 2], keep_aspect_ratio_policy=policy)]
        compare(build(nodes, {"x": MAP}, ["y"], constants, opset=18))


def test_resize_of_a_region() -> None:
    constants = {"r": np.float32([0, 0, 0.2, 0.25, 1, 1, 0.8, 0.75]), "s": ints(1, 3, 3, 2)}
    nodes = [node("Resize", "x r - s", "y", coordinate_transformation_mode="tf_crop_and_resize")]
    compare(build(nodes, {"x": MAP}, ["y"], constants))


def test_exported_shape_arithmetic_leaves_one_reshape() -> None:
    """view(x.size(0), -1) and an upsampling to twice the size, as exporters write them."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "batch", axis=0),
        node("Unsqueeze", "batch axis", "batch1"),
        node("Constant", "", "rest", value_ints=[-1]),
        node("Concat", "batch1 rest", "target", axis=0),
        node("Reshape", "x target", "flat"),
        node("MatMul", "flat w", "y"),
        node("Slice", "shape two four", "hw"),
        node("Cast", "hw", "hwf", to=TensorProto.FLOAT),
        node("Constant", "", "factor", value_float=2.0),
        node("Mul", "hwf factor", "twice"),
        node("Floor", "twice", "floored"),
        node("Cast", "floored", "sizes", to=TensorProto.INT64),
        node("Slice", "shape zeros two", "nc"),
        node("Concat", "nc sizes", "whole", axis=0),
        node("Resize", "x - - whole", "z", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    ]
    constants = {"zero": np.array(0), "axis": ints(0), "two": ints(2), "four": ints(4), "zeros": ints(0)}
    graph = compare(build(nodes, {"x": MAP}, ["y", "z"], constants | {"w": normal(72, 5)}))
    assert kinds(graph) == ["Reshape", "Dense", "Resize"]
    assert set(graph.constants) == {"w"}


def test_more_shape_arithmetic() -> None:
    """Expand, ConstantOfShape, Equal, Where, Range, Size and integer division end as a constant operand."""
    nodes = [
        node("Shape", "x", "shape", start=1, end=-1),
        node("ConstantOfShape", "shape", "zeros"),
        node("Equal", "zeros nought", "same"),
        node("Where", "same five nought", "fives"),
        node("Size", "x", "size"),
        node("Div", "size shape", "quotient"),
        node("Neg", "quotient", "negative"),
        node("ReduceProd", "quotient", "product", keepdims=0),
        node("Range", "product zero step", "range"),
        node("Cast", "range", "ranged", to=TensorProto.FLOAT),
        node("Gather", "ranged first", "small"),
        node("Expand", "small target", "expanded"),
        node("Cast", "negative", "negated", to=TensorProto.FLOAT),
        node("Unsqueeze", "negated last", "column"),
        node("Unsqueeze", "fives last", "fives1"),
        node("Add", "column expanded", "t"),
        node("Add", "t fives1", "u"),
        node("Add", "x u", "y"),
    ]
    constants = {
        "nought": np.float32(0), "five": np.float32(5), "zero": np.array(0), "step": np.array(-2), "target": ints(4, 1),
        "first": ints(2), "last": ints(-1),
    }  # fmt: skip
    graph = compare(build(nodes, {"x": ("N", 4, 6)}, ["y"], constants, opset=15))
    assert kinds(graph) == ["Add"]


def test_layers_of_constants_are_evaluated() -> None:
    """A weight that the model computes (here by Clip, Conv and Softmax) is a constant."""
    nodes = [
        node("Conv", "image kernel", "features"),
        node("Softmax", "features", "soft", axis=-1),
        node("Clip", "soft low", "clipped"),
        node("Mul", "x clipped", "y"),
    ]
    constants = {"image": normal(1, 2, 6), "kernel": normal(3, 2, 2), "low": np.float32(0.1)}
    graph = compare(build(nodes, {"x": ("N", 3, 5)}, ["y"], constants))
    assert kinds(graph) == ["Mul"]


def test_aliases_dead_nodes_and_unread_inputs_go() -> None:
    nodes = [
        node("Identity", "x", "i"),
        node("Dropout", "i ratio", "d"),
        node("Cast", "d", "c", to=TensorProto.FLOAT),
        node("Relu", "c", "r"),
        node("Sigmoid", "c", "unread"),
        node("Gelu", "x", "never"),
        node("Identity", "r", "y"),
    ]
    constants = {"ratio": np.float32(0.5), "idle": normal(3)}
    graph = compare(build(nodes, {"x": ("N", 3), "unused": ("N", "W")}, ["y"], constants, opset=20))
    assert kinds(graph) == ["Clip"]
    assert graph.inputs == ("x",)
    assert dict(graph.constants) == {}
    assert graph.nodes[0].outputs == ("y",)


def test_outputs_keep_their_names() -> None:
    """Two names of one value, an output that is an input, and an output that other nodes read."""
    nodes = [
        node("Relu", "x", "r"),
        node("Identity", "r", "first"),
        node("Identity", "r", "second"),
        node("Identity", "x", "third"),
        node("Tanh", "r", "fourth"),
    ]
    graph = compare(build(nodes, {"x": ("N", 3)}, ["first", "second", "r", "third", "fourth"]))
    assert graph.outputs == ("first", "second", "r", "third", "fourth")
    assert sum(isinstance(stage.op, Reshape) for stage in graph.stages()) == 3


def test_nodes_without_names_are_numbered_and_equal_names_told_apart() -> None:
    nodes = [node("Relu", "x", "a"), node("Tanh", "a", "b", name="same"), node("Tanh", "b", "y", name="same")]
    graph = import_model(build(nodes, {"x": ("N", 3)}, ["y"]), None)
    assert [n.name for n in graph.nodes] == ["Relu_0", "same", "same_2"]
    assert [n.source for n in graph.nodes] == ["Relu_0", "same", "same"]


def test_made_up_names_avoid_the_model_s_own() -> None:
    nodes = [node("Gemm", "x w", "y", transB=1), node("Relu", "y", "y.weights"), node("Tanh", "y.weights", "z")]
    graph = compare(build(nodes, {"x": ("N", 3)}, ["z"], {"w": normal(3, 3)}))
    assert list(graph.constants) == ["y.weights_2"]


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([node("Reshape", "x s", "y")], {"s": ints(5, -1)}, r"Reshape_0 \(Reshape\): .*cannot take shape \[5, -1\]"),
        ([node("Slice", "x s e", "y")], {"s": ints(1), "e": ints(1)}, "the result would be empty"),
        ([node("Gather", "x i", "y", axis=1)], {"i": ints(0, 2, 3)}, "within the 3 entries"),
        ([node("Resize", "x - s", "y", mode="linear")], {"s": np.float32([1, 1, 2, 2])}, "found linear"),
        ([node("Transpose", "x", "y", perm=[0, 1, 1, 2])], {}, "attribute perm"),
        ([node("Reshape", "x x", "y")], {}, "the model is not valid ONNX|must be a constant"),
        ([node("Concat", "x s", "y", axis=1)], {"s": normal(1, 2, 5, 6)}, "Concat"),
        ([node("Range", "x x x", "y")], {}, "supported on constants only, but reads x"),
    ],
)
def test_refusals(nodes: list[Any], constants: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        import_model(build(nodes, {"x": MAP}, ["y"], constants), None)
