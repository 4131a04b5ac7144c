"""Concat: every axis, like and unlike ranges, constants among the inputs, one value twice."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal

SCALE = np.array(7.0, np.float32)
PAIR = {"a": (1, 3, 4, 5), "b": (1, 3, 4, 5)}
CASES = (
    Case(name="channels", nodes=[node("Concat", "a b", "y", axis=1)], inputs=PAIR),
    Case(name="rows", nodes=[node("Concat", "a b", "y", axis=2)], inputs=PAIR),
    Case(name="last-axis", nodes=[node("Concat", "a b", "y", axis=-1)], inputs=PAIR),
    Case(
        name="unlike-shapes",
        nodes=[node("Concat", "a b", "y", axis=1)],
        inputs={"a": (1, 3, 2, 2), "b": (1, 1, 2, 2)},
    ),
    Case(
        name="unlike-ranges",
        nodes=[node("Mul", "a k", "s"), node("Concat", "s b", "y", axis=1)],
        inputs=PAIR,
        constants={"k": SCALE},
    ),
    Case(
        name="with-a-constant",
        nodes=[node("Concat", "x c", "y", axis=1)],
        constants={"c": normal(1, 2, 6, 5)},
    ),
    Case(name="constant-first", nodes=[node("Concat", "c x", "y", axis=1)], constants={"c": normal(1, 2, 6, 5)}),
    Case(name="twice", nodes=[node("Concat", "x x", "y", axis=1)]),
    Case(name="alone", nodes=[node("Concat", "x", "c", axis=1), node("Relu", "c", "y")]),
    Case(
        name="vectors",
        nodes=[node("Concat", "a b c", "y", axis=1)],
        inputs={"a": (1, 4), "b": (1, 1), "c": (1, 6)},
    ),
    Case(
        name="branches-of-convolutions",
        nodes=[
            node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
            node("Conv", "x v", "b"),
            node("Concat", "a b", "y", axis=1),
        ],
        constants={"w": normal(4, 3, 3, 3), "v": normal(2, 3, 1, 1)},
    ),
    Case(
        name="split-and-joined",
        nodes=[node("Split", "x s", "a b", axis=1), node("Concat", "b a", "y", axis=1)],
        constants={"s": np.array([1, 2])},
    ),
)

test_float, test_integer = checks(CASES)
