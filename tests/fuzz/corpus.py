"""Models to spoil: the examples' real exports, and small nets that together hold most of what freeml reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "models"


def _tensor(name: str, values: Any) -> Any:
    array = np.asarray(values)
    return numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)


def _model(
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    outputs: Sequence[str],
    constants: Mapping[str, Any],
    opset: int = 17,
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [_tensor(name, values) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def _normal(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))


def residual() -> bytes:
    """Convolutions with a batch norm, a residual sum, pools, a dense layer and a softmax."""
    node = helper.make_node
    return _model(
        [
            node("Conv", ["x", "w0", "b0"], ["a"], name="conv0", pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["a", "g", "be", "m", "v"], ["n"], name="norm", epsilon=1e-5),
            node("Relu", ["n"], ["r"], name="relu0"),
            node("Conv", ["r", "w1"], ["c"], name="conv1", auto_pad="SAME_UPPER", kernel_shape=[3, 3]),
            node("Add", ["c", "r"], ["s"], name="sum"),
            node("Clip", ["s", "lo", "hi"], ["k"], name="clip"),
            node("MaxPool", ["k"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            node("GlobalAveragePool", ["p"], ["q"], name="mean"),
            node("Flatten", ["q"], ["f"], name="flatten"),
            node("Gemm", ["f", "w2", "b2"], ["z"], name="dense", transB=1),
            node("Softmax", ["z"], ["y"], name="softmax", axis=-1),
        ],
        ("batch", 2, 7, 6),
        ["y"],
        {
            "w0": _normal(4, 2, 3, 3), "b0": _normal(4), "g": np.ones(4), "be": _normal(4, seed=1), "m": _normal(4),
            "v": np.ones(4), "w1": _normal(4, 4, 3, 3, seed=2), "lo": np.float32(0), "hi": np.float32(6),
            "w2": _normal(3, 4), "b2": _normal(3),
        },
    )  # fmt: skip


def sequence() -> bytes:
    """A 1-D depthwise net with tables, shape arithmetic, a split and two outputs."""
    node = helper.make_node
    return _model(
        [
            node("Conv", ["x", "w0"], ["a"], name="depthwise", group=3, dilations=[2], strides=[2], pads=[1, 1]),
            node("HardSwish", ["a"], ["h"], name="swish"),
            node("Split", ["h"], ["s0", "s1"], name="split", axis=2),
            node("Sigmoid", ["s0"], ["g"], name="gate"),
            node("Mul", ["s1", "g"], ["m"], name="gated"),
            node("Concat", ["m", "s0"], ["c"], name="join", axis=1),
            node("AveragePool", ["c"], ["p"], name="mean", kernel_shape=[2], count_include_pad=1, pads=[1, 0]),
            node("Shape", ["p"], ["sh"], name="shape"),
            node("Gather", ["sh", "zero"], ["n"], name="batch", axis=0),
            node("Unsqueeze", ["n", "axes"], ["n1"], name="wrap"),
            node("Concat", ["n1", "rest"], ["target"], name="target", axis=0),
            node("Reshape", ["p", "target"], ["f"], name="flat"),
            node("MatMul", ["f", "w1"], ["y"], name="project"),
            node("ArgMax", ["y"], ["best"], name="best", axis=1, keepdims=0),
            node("Cast", ["best"], ["label"], name="label", to=TensorProto.FLOAT),
        ],
        (1, 3, 14),
        ["y"],
        {
            "w0": _normal(3, 1, 3), "zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1]),
            "w1": _normal(18, 4),
        },
        opset=14,
    )  # fmt: skip


def quantized() -> bytes:
    """A net in QDQ form and NHWC order, as converters from Keras write it."""
    node = helper.make_node
    return _model(
        [
            node("QuantizeLinear", ["x", "sx", "zx"], ["xq"], name="qx"),
            node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"], name="dqx"),
            node("Transpose", ["xd"], ["t"], name="nchw", perm=[0, 3, 1, 2]),
            node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], name="dqw", axis=0),
            node("Conv", ["t", "wd"], ["c"], name="conv"),
            node("QuantizeLinear", ["c", "sc", "zc"], ["cq"], name="qc"),
            node("DequantizeLinear", ["cq", "sc", "zc"], ["cd"], name="dqc"),
            node("Transpose", ["cd"], ["u"], name="nhwc", perm=[0, 2, 3, 1]),
            node("ReduceMean", ["u"], ["y"], name="mean", axes=[1, 2], keepdims=0),
        ],
        ("n", 6, 6, 2),
        ["y"],
        {
            "sx": np.float32(0.02), "zx": np.int8(-3), "w": np.arange(36, dtype=np.int8).reshape(2, 2, 3, 3) - 18,
            "sw": np.array([0.01, 0.02], np.float32), "zw": np.zeros(2, np.int8), "sc": np.float32(0.05),
            "zc": np.int8(4),
        },
        opset=13,
    )  # fmt: skip


def moved() -> bytes:
    """Operators that move numbers about."""
    node = helper.make_node
    return _model(
        [
            node("Pad", ["x", "pads", "value"], ["p"], name="pad", mode="constant"),
            node("Slice", ["p", "starts", "ends", "axes", "steps"], ["s"], name="slice"),
            node("Resize", ["s", "", "scales"], ["r"], name="resize", mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
            node("PRelu", ["r", "slope"], ["q"], name="prelu"),
            node("Sub", ["q", "shift"], ["d"], name="shift"),
            node("Tanh", ["d"], ["t"], name="tanh"),
            node("Squeeze", ["t", "first"], ["z"], name="squeeze"),
            node("LogSoftmax", ["z"], ["y"], name="logsoftmax", axis=-1),
        ],
        ("b", 2, 1, 5),
        ["y"],
        {
            "pads": np.array([0, 0, 0, 1, 0, 0, 0, 1]), "value": np.float32(0.5), "starts": np.array([6, 0]),
            "ends": np.array([-8, 2]), "axes": np.array([3, 1]), "steps": np.array([-1, 1]),
            "scales": np.array([1.0, 1.0, 1.0, 2.0], np.float32), "slope": _normal(2, 1, 1), "shift": _normal(2, 1, 1),
            "first": np.array([2]),
        },
    )  # fmt: skip


def corpus() -> dict[str, bytes]:
    """Serialized models by name. The small ones come first: failing examples shrink towards them."""
    small = {make.__name__: make() for make in (residual, sequence, quantized, moved)}
    return {**small, **{path.stem: path.read_bytes() for path in sorted(EXAMPLES.glob("*.onnx"))}}
