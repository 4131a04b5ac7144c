"""BatchNormalization: folded into the layer before it, or a depthwise convolution of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ops.harness import Case, checks, node, normal


def statistics(channels: int) -> dict[str, NDArray[np.float32]]:
    """Scale (one negative), bias, mean, variance."""
    scale = np.abs(normal(channels, seed=3)) + np.float32(0.2)
    scale[0] = -scale[0]
    return {
        "scale": scale,
        "bias": normal(channels, seed=4),
        "mean": normal(channels, seed=5),
        "var": np.abs(normal(channels, seed=6)) + np.float32(0.3),
    }


NORM = node("BatchNormalization", "h scale bias mean var", "y")
ALONE = node("BatchNormalization", "x scale bias mean var", "y", epsilon=1e-3)
CASES = (
    Case(
        name="after-conv",
        nodes=[node("Conv", "x w b", "h", pads=[1, 1, 1, 1]), NORM],
        constants={"w": normal(4, 3, 3, 3), "b": normal(4, seed=1), **statistics(4)},
        layers=1,
    ),
    Case(
        name="after-conv-without-bias",
        nodes=[node("Conv", "x w", "h"), NORM],
        constants={"w": normal(4, 3, 2, 2), **statistics(4)},
    ),
    Case(
        name="after-depthwise",
        nodes=[node("Conv", "x w", "h", group=3, pads=[1, 1, 1, 1]), NORM],
        constants={"w": normal(3, 1, 3, 3), **statistics(3)},
    ),
    Case(
        name="after-dense",
        nodes=[node("Gemm", "x w b", "h"), NORM],
        inputs={"x": (1, 6)},
        constants={"w": normal(6, 5), "b": normal(5, seed=1), **statistics(5)},
        layers=1,
    ),
    Case(name="on-the-input", nodes=[ALONE], constants=statistics(3)),
    Case(name="on-a-1d-input", nodes=[ALONE], inputs={"x": (1, 4, 9)}, constants=statistics(4)),
    Case(name="on-a-vector", nodes=[ALONE], inputs={"x": (1, 6)}, constants=statistics(6)),
    Case(
        name="after-a-pool",
        nodes=[node("MaxPool", "x", "h", kernel_shape=[2, 2]), NORM],
        constants=statistics(3),
    ),
)

test_float, test_integer = checks(CASES)
