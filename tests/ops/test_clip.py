"""Clip, Relu, Relu6, Min, Max: alone, where no layer before could take the clamp over."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal

LOW, HIGH = np.array(-0.7, np.float32), np.array(0.4, np.float32)
CASES = (
    Case(name="relu", nodes=[node("Relu", "x", "y")]),
    Case(name="relu-vector", nodes=[node("Relu", "x", "y")], inputs={"x": (1, 9)}),
    Case(
        name="relu6",
        nodes=[node("Clip", "x l h", "y")],
        constants={"l": np.array(0, np.float32), "h": np.array(6, np.float32)},
        spread=4.0,
    ),
    Case(name="two-sided", nodes=[node("Clip", "x l h", "y")], constants={"l": LOW, "h": HIGH}),
    Case(name="low-only", nodes=[node("Clip", "x l", "y")], constants={"l": LOW}),
    Case(name="high-only", nodes=[node("Clip", "x - h", "y")], constants={"h": HIGH}),
    Case(name="minimum", nodes=[node("Min", "x h", "y")], constants={"h": HIGH}),
    Case(name="maximum", nodes=[node("Max", "x l", "y")], constants={"l": LOW}),
    Case(
        name="between-copies",
        nodes=[node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Relu", "t", "y")],
    ),
    Case(
        name="after-a-pool",
        nodes=[
            node("Conv", "x w", "h"),
            node("MaxPool", "h", "p", kernel_shape=[2, 2], strides=[1, 1]),
            node("Relu", "p", "y"),
        ],
        constants={"w": normal(4, 3, 2, 2)},
    ),
)

test_float, test_integer = checks(CASES)
