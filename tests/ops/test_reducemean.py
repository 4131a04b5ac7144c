"""ReduceMean: any axes, kept or dropped."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal


def mean(name: str, axes: list[int], keepdims: int, x: tuple[int, ...] = (1, 3, 6, 5)) -> Case:
    """One ReduceMean, axes as an attribute."""
    nodes = [node("ReduceMean", "x", "y", axes=axes, keepdims=keepdims)]
    return Case(name=name, nodes=nodes, inputs={"x": x})


CASES = (
    mean("spatial", [2, 3], 1),
    mean("spatial-dropped", [2, 3], 0),
    mean("channels", [1], 1),
    mean("channels-dropped", [1], 0),
    mean("last-axis", [-1], 0),
    mean("first-and-last", [1, 3], 1),
    mean("everything", [1, 2, 3], 0),
    mean("vector", [1], 1, (1, 17)),
    Case(
        name="axes-as-input",
        nodes=[node("ReduceMean", "x a", "y", keepdims=0)],
        constants={"a": np.array([2, 3])},
        opset=18,
    ),
    Case(
        name="after-conv",
        nodes=[node("Conv", "x w", "h"), node("ReduceMean", "h", "y", axes=[2, 3], keepdims=0)],
        constants={"w": normal(4, 3, 2, 2)},
    ),
)

test_float, test_integer = checks(CASES)
