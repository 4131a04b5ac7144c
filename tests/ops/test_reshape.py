"""Reshape, Flatten, Squeeze, Unsqueeze, Identity, Dropout: the same bytes, and the copies that channels-last maps need."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal

CASES = (
    Case(
        name="reshape",
        nodes=[node("Relu", "x", "r"), node("Reshape", "r s", "y")],
        constants={"s": np.array([1, 6, -1])},
    ),
    Case(name="flatten", nodes=[node("Relu", "x", "r"), node("Flatten", "r", "y")]),
    Case(
        name="squeeze",
        nodes=[node("Relu", "x", "r"), node("Squeeze", "r a", "y")],
        inputs={"x": (1, 4, 1, 5)},
        constants={"a": np.array([2])},
    ),
    Case(
        name="unsqueeze",
        nodes=[node("Relu", "x", "r"), node("Unsqueeze", "r a", "y")],
        inputs={"x": (1, 4, 5)},
        constants={"a": np.array([2])},
    ),
    Case(
        name="of-a-map",
        nodes=[node("Conv", "x w", "h"), node("Reshape", "h s", "y")],
        constants={"w": normal(4, 3, 2, 2), "s": np.array([1, 8, -1])},
    ),
    Case(
        name="to-a-map",
        nodes=[node("Reshape", "x s", "m"), node("Conv", "m w", "y")],
        inputs={"x": (1, 36)},
        constants={"s": np.array([1, 4, 3, 3]), "w": normal(2, 4, 2, 2)},
    ),
    Case(
        name="only-reshapes",
        nodes=[node("Reshape", "x s", "r"), node("Flatten", "r", "f"), node("Relu", "f", "y")],
        constants={"s": np.array([1, 10, 9])},
        layers=1,
    ),
    Case(
        name="two-readers",
        nodes=[node("Relu", "x", "r"), node("Flatten", "r", "f"), node("Sigmoid", "r", "s"), node("Flatten", "s", "g")],
        outputs=("f", "g"),
    ),
    Case(
        name="flattened-map-read-twice",
        nodes=[
            node("Conv", "x w", "h"),
            node("Flatten", "h", "f"),
            node("Gemm", "f a", "y"),
            node("Gemm", "f b", "z"),
        ],
        outputs=("y", "z"),
        constants={"w": normal(4, 3, 3, 2), "a": normal(64, 3) * 0.1, "b": normal(64, 2) * 0.1},
    ),
    Case(
        name="input-given-back",
        nodes=[node("Identity", "x", "y"), node("Relu", "x", "z")],
        outputs=("y", "z"),
    ),
    Case(name="dropout", nodes=[node("Relu", "x", "r"), node("Dropout", "r", "y")]),
)

test_float, test_integer = checks(CASES)
