"""A small net with three places for exits, quantized, and data that teach it; and nets without any place."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from freeml.data import Dataset, load_dataset
from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import Graph, execute
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.quant.choose import Choice, choose
from freeml.quant.quantize import Precision
from frontend.onnx_models import build, node, normal

CLASSES, IMAGE = 4, (2, 9, 9)


def samples(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(count, 2, 9, 9) and their classes: a fixed pattern each, under noise."""
    patterns = np.random.default_rng(99).normal(size=(CLASSES, *IMAGE))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, size=count)
    return (patterns[y] + 1.6 * rng.normal(size=(count, *IMAGE))).astype(np.float32), y


def dataset(**changes: NDArray[np.generic]) -> Dataset:
    arrays: dict[str, NDArray[np.generic]] = {}
    for seed, (part, count) in enumerate((("train", 400), ("val", 40), ("test", 300))):
        arrays[f"x_{part}"], arrays[f"y_{part}"] = samples(count, seed)
    return load_dataset({**arrays, **changes}, (1, *IMAGE))


ENDS = {
    "": (),
    **{kind: (node(kind, "logits", "answer", name="end"),) for kind in ("Softmax", "ArgMax", "Sigmoid")},
    "Reshape": (node("Reshape", "logits column", "answer", name="end"),),
    "SoftmaxReshape": (
        node("Softmax", "logits", "shares", name="shares"), node("Reshape", "shares column", "answer", name="end")
    ),
}  # fmt: skip
"""Operators behind the logits, by name."""


def _graph(end: str, last: NDArray[np.float64], bias: NDArray[np.float64]) -> Graph:
    nodes = [
        node("Conv", "x w1", "c1", name="first", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1", name="first_relu"),
        node("Conv", "r1 w2", "c2", name="second", strides=[2, 2]),
        node("Relu", "c2", "r2", name="second_relu"),
        node("Flatten", "r2", "f", name="flatten"),
        node("Gemm", "f w3", "h", name="hidden"),
        node("Relu", "h", "a", name="hidden_relu"),
        node("Gemm", "a w4 b4", "logits", name="logits"),
        *ENDS[end],
    ]
    constants = {
        "w1": normal(6, 2, 3, 3) / 4, "w2": normal(8, 6, 3, 3, seed=1) / 7, "w3": normal(128, 20, seed=2) / 8,
        "w4": last.astype(np.float32), "b4": bias.astype(np.float32), "column": np.array([CLASSES, 1]),
    }  # fmt: skip
    kind = TensorProto.INT64 if end == "ArgMax" else TensorProto.FLOAT
    used = {k: v for k, v in constants.items() if any(k in n.input for n in nodes)}
    model = build(nodes, {"x": (1, *IMAGE)}, ["answer" if end else "logits"], used, output_type=kind)
    return run_passes(import_model(model, None), PASSES)


@lru_cache(maxsize=4)
def net(end: str = "", classes: int = CLASSES) -> Choice:
    """Two convolutions and two dense layers, random but for the last, which least squares found. `end` is what stands
    behind the logits (`ENDS`); other than CLASSES `classes` leave the last layer random."""
    last, bias = normal(20, classes, seed=3).astype(np.float64), np.zeros(classes)
    if classes == CLASSES:
        x, y = samples(800, 7)
        hidden = execute(_graph("", last, bias), {"x": x[:, np.newaxis]})
        found = next(array for array in hidden.values() if array.shape[1:] == (1, 20)).reshape(len(x), 20)
        solved = np.linalg.lstsq(np.hstack([found, np.ones((len(x), 1))]), np.eye(CLASSES)[y] * 6 - 3, rcond=None)[0]
        last, bias = solved[:-1], solved[-1]
    inputs = {"x": samples(64, 11)[0][:, np.newaxis]}
    return choose(_graph(end, last, bias), inputs, precision=Precision(), method="minmax")


def dense_net() -> Choice:
    """One layer: nothing is stored before the end."""
    model = build(
        [node("Flatten", "x", "f"), node("Gemm", "f w", "y")], {"x": (1, *IMAGE)}, ["y"], {"w": normal(162, 4)}
    )
    graph = run_passes(import_model(model, None), PASSES)
    return choose(graph, {"x": samples(32, 11)[0][:, np.newaxis]}, precision=Precision(), method="minmax")


def heads_net() -> Choice:
    """One number as its first output, scores of classes as its second, both of one layer."""
    nodes = [
        node("Conv", "x w1", "m", name="first"),
        node("Flatten", "m", "f"),
        node("Gemm", "f w2", "number", name="number"),
        node("Gemm", "f w3", "scores", name="scores"),
    ]
    constants = {"w1": normal(3, 2, 3, 3) / 4, "w2": normal(147, 1) / 9, "w3": normal(147, CLASSES, seed=1) / 9}
    graph = run_passes(import_model(build(nodes, {"x": (1, *IMAGE)}, ["number", "scores"], constants), None), PASSES)
    return choose(graph, {"x": samples(32, 11)[0][:, np.newaxis]}, precision=Precision(), method="minmax")


def level_net() -> Choice:
    """Two classes, told by whether the first channel is brighter than the second: mirrored and moved it is the same."""
    nodes = [
        node("Conv", "x w1", "m", name="first"),
        node("GlobalAveragePool", "m", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w2", "logits", name="logits"),
    ]
    plain = np.eye(2, dtype=np.float32)
    graph = run_passes(
        import_model(
            build(nodes, {"x": (1, *IMAGE)}, ["logits"], {"w1": plain.reshape(2, 2, 1, 1), "w2": plain}), None
        ),
        PASSES,
    )
    return choose(graph, {"x": samples(32, 11)[0][:, np.newaxis]}, precision=Precision(), method="minmax")


def levels(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(count, 2, 9, 9) and their classes for `level_net`."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, size=count)
    x = rng.normal(size=(count, *IMAGE)).astype(np.float32)
    x[np.arange(count), y] += 1
    return x, y
