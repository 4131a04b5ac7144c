"""Slice, Split and Gather: starts, ends, steps of either sign, over every axis."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal


def cut(name: str, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> Case:
    """One Slice of a (1, 3, 6, 5) tensor."""
    constants = {"s": np.array(starts), "e": np.array(ends), "a": np.array(axes), "t": np.array(steps)}
    return Case(name=name, nodes=[node("Slice", "x s e a t", "y")], constants=constants)


CASES = (
    cut("channels", [1], [3], [1], [1]),
    cut("rows", [2], [5], [2], [1]),
    cut("last-axis", [1], [4], [3], [1]),
    cut("steps", [0, 1], [6, 5], [2, 3], [2, 3]),
    cut("backwards", [5], [-7], [2], [-1]),
    cut("backwards-in-steps", [-1, 2], [-7, -4], [2, 1], [-2, -1]),
    cut("one-element", [1, 2, 3], [2, 3, 4], [1, 2, 3], [1, 1, 1]),
    Case(
        name="everything",
        nodes=[node("Slice", "x s e", "c"), node("Relu", "c", "y")],
        constants={"s": np.array([0]), "e": np.array([100])},
    ),
    Case(
        name="split",
        nodes=[node("Split", "x s", "a b", axis=2)],
        outputs=("a", "b"),
        constants={"s": np.array([2, 4])},
    ),
    Case(
        name="vector",
        nodes=[node("Slice", "x s e a", "y")],
        inputs={"x": (1, 9)},
        constants={"s": np.array([2]), "e": np.array([7]), "a": np.array([1])},
    ),
    *(
        Case(
            name=f"gather-{name}",
            nodes=[node("Gather", "x i", "y", axis=axis)],
            constants={"i": np.array(indices)},
        )
        for name, axis, indices in (
            ("one", 1, 2),
            ("even", 2, [5, 3, 1]),
            ("uneven", 2, [0, 5, 1, 1]),
            ("matrix", 3, [[0, 1], [4, 2]]),
        )
    ),
    Case(
        name="after-conv",
        nodes=[node("Conv", "x w", "h"), node("Slice", "h s e a", "y")],
        constants={"w": normal(4, 3, 2, 2), "s": np.array([1]), "e": np.array([3]), "a": np.array([1])},
    ),
)

test_float, test_integer = checks(CASES)
