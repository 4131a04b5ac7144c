"""Pad: every mode, any axis, constants inside and outside of the input's range; zero pads before a convolution."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal


def pad(
    name: str, pads: list[int], x: tuple[int, ...] = (1, 3, 6, 5), *, value: float | None = None, mode: str = "constant"
) -> Case:
    """One Pad."""
    constants = {"p": np.array(pads)} | ({"v": np.array(value, np.float32)} if value is not None else {})
    names = "x p" if value is None else "x p v"
    return Case(name=name, nodes=[node("Pad", names, "y", mode=mode)], inputs={"x": x}, constants=constants, opset=19)


CASES = (
    pad("zeros", [0, 0, 1, 2, 0, 0, 2, 1]),
    pad("one-side", [0, 0, 0, 0, 0, 0, 0, 3]),
    pad("channels", [0, 1, 0, 0, 0, 2, 0, 0]),
    pad("a-value", [0, 0, 1, 1, 0, 0, 1, 1], value=0.7),
    pad("a-value-out-of-range", [0, 0, 1, 1, 0, 0, 1, 1], value=-25.0),
    pad("edge", [0, 0, 1, 2, 0, 0, 2, 1], mode="edge"),
    pad("reflect", [0, 0, 2, 1, 0, 0, 1, 3], mode="reflect"),
    pad("wrap", [0, 0, 2, 1, 0, 0, 1, 3], mode="wrap"),
    pad("vector", [0, 2, 0, 3], (1, 4), value=1.0),
    Case(
        name="folded-into-conv",
        nodes=[node("Pad", "x p", "h"), node("Conv", "h w", "y", pads=[1, 0, 0, 1])],
        constants={"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w": normal(4, 3, 3, 3)},
        layers=1,
    ),
    Case(
        name="kept-before-conv",
        nodes=[node("Pad", "x p v", "h"), node("Conv", "h w", "y")],
        constants={
            "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "v": np.array(0.5, np.float32),
            "w": normal(4, 3, 3, 3),
        },
        layers=2,
    ),
)

test_float, test_integer = checks(CASES)
