"""Four kinds of noisy images, and a net with far more channels than telling them apart takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES, IMAGE = 4, (1, 8, 8)


def images(count: int, seed: int, noise: float = 0.7) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(count, 1, 8, 8) and their classes: a fixed pattern each, under noise."""
    patterns = np.random.default_rng(99).normal(size=(CLASSES, *IMAGE))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, size=count)
    return (patterns[y] + noise * rng.normal(size=(count, *IMAGE))).astype(np.float32), y


def arrays(train: int = 240, noise: float = 0.7) -> dict[str, NDArray[np.generic]]:
    """A data set in three parts."""
    found: dict[str, NDArray[np.generic]] = {}
    for seed, (part, count) in enumerate((("train", train), ("val", 200), ("test", 200))):
        found[f"x_{part}"], found[f"y_{part}"] = images(count, seed, noise)
    return found


def _rectified(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(x, 0.0)


def save_model(path: Path, channels: int = 12, hidden: int = 24, *, seed: int = 0, end: str = "") -> Path:
    """Convolution, pool, two dense layers: random features under a last layer that least squares found.

    `end` is an operator behind the logits.
    """
    rng = np.random.default_rng(seed)
    conv, bias = rng.normal(size=(channels, 1, 3, 3)) / 3, rng.normal(size=channels) / 3
    first, offset = rng.normal(size=(hidden, channels * 16)) / (2 * channels**0.5), rng.normal(size=hidden) / 3
    x, y = images(600, 7)
    padded = np.pad(x[:, 0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    maps = _rectified(np.einsum("nijkl,okl->noij", windows, conv[:, 0]) + bias[:, None, None])
    pooled = maps.reshape(len(x), channels, 4, 2, 4, 2).max(axis=(3, 5)).reshape(len(x), -1)
    features = np.hstack([_rectified(pooled @ first.T + offset), np.ones((len(x), 1))])
    last = np.linalg.lstsq(features, np.eye(CLASSES)[y] * 8 - 4, rcond=None)[0]
    constants = {"w": conv, "b": bias, "w1": first, "b1": offset, "w2": last[:-1].T, "b2": last[-1]}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w1", "b1"], ["h"], name="hidden", transB=1),
        helper.make_node("Relu", ["h"], ["a"], name="rectify"),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["logits"], name="logits", transB=1),
    ]
    if end:
        nodes.append(helper.make_node(end, ["logits"], ["answer"], name="end", axis=1))
    kind = TensorProto.INT64 if end == "ArgMax" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "blobs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", *IMAGE))],
        [helper.make_tensor_value_info("answer" if end else "logits", kind, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path
