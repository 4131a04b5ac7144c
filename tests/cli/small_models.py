"""A net of a few hundred weights, data that go with it, and ways to spoil both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = 4
IMAGE = (1, 8, 8)


def initializer(name: str, array: NDArray[Any]) -> onnx.TensorProto:
    """A tensor, floats as float32."""
    return numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[Any]],
    *,
    shape: Sequence[int | str] = ("batch", *IMAGE),
    outputs: Sequence[str] = ("logits",),
    opset: int = 17,
) -> onnx.ModelProto:
    """A model with one input `image`."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [initializer(name, array) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def weights(channels: int = 3, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Seeded weights of `small`."""
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": rng.normal(size=(channels, 1, 3, 3)) / 3,
        "conv.bias": rng.normal(size=channels) / 3,
        "dense.weight": rng.normal(size=(CLASSES, 16 * channels)) / 4,
        "dense.bias": rng.normal(size=CLASSES) / 4,
    }


def nodes() -> list[onnx.NodeProto]:
    """Convolution, rectifier, pool, dense layer."""
    return [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "dense.weight", "dense.bias"], ["logits"], name="dense", transB=1),
    ]


def small(**options: Any) -> onnx.ModelProto:
    """(batch, 1, 8, 8) -> logits (batch, 4)."""
    return model(nodes(), weights(), **options)


def too_large() -> onnx.ModelProto:
    """A dense layer of 64 x 4096 weights: more bytes than an MSP430FR5994 has, no problem for an Apollo4."""
    wide = 4096
    rng = np.random.default_rng(0)
    constants = {
        "wide.weight": rng.normal(size=(wide, 64)) / 8,
        "narrow.weight": rng.normal(size=(CLASSES, wide)) / 64,
    }
    chain = [
        helper.make_node("Flatten", ["image"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "wide.weight"], ["w"], name="wide", transB=1),
        helper.make_node("Relu", ["w"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "narrow.weight"], ["logits"], name="narrow", transB=1),
    ]
    return model(chain, constants)


def save(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a model without looking at it."""
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def arrays(seed: int = 0) -> dict[str, NDArray[Any]]:
    """A data set: 40 training and 20 test images."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.normal(size=(40, *IMAGE)).astype(np.float32),
        "y_train": rng.integers(0, CLASSES, size=40),
        "x_test": rng.normal(size=(20, *IMAGE)).astype(np.float32),
        "y_test": rng.integers(0, CLASSES, size=20),
    }


def save_data(data: Mapping[str, NDArray[Any]], path: Path) -> Path:
    """Write arrays as .npz."""
    np.savez(path, **data)
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
