"""PRelu and LeakyRelu: one slope and one per channel; slopes above one, below zero, and zero."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node, normal

CASES = (
    Case(name="leaky", nodes=[node("LeakyRelu", "x", "y", alpha=0.1)]),
    Case(name="leaky-vector", nodes=[node("LeakyRelu", "x", "y", alpha=0.3)], inputs={"x": (1, 13)}),
    Case(name="leaky-negative", nodes=[node("LeakyRelu", "x", "y", alpha=-0.5)]),
    Case(name="leaky-steep", nodes=[node("LeakyRelu", "x", "y", alpha=3.0)]),
    Case(name="leaky-zero", nodes=[node("LeakyRelu", "x", "y", alpha=0.0)]),
    Case(
        name="per-channel",
        nodes=[node("PRelu", "x s", "y")],
        constants={"s": np.array([0.1, -0.4, 2.0], np.float32).reshape(3, 1, 1)},
    ),
    Case(
        name="some-zero",
        nodes=[node("PRelu", "x s", "y")],
        constants={"s": np.array([0.0, 0.25, 0.0], np.float32).reshape(3, 1, 1)},
    ),
    Case(
        name="per-channel-1d",
        nodes=[node("PRelu", "x s", "y")],
        inputs={"x": (1, 5, 8)},
        constants={"s": np.abs(normal(5, 1))},
    ),
    Case(
        name="per-channel-vector",
        nodes=[node("PRelu", "x s", "y")],
        inputs={"x": (1, 6)},
        constants={"s": np.abs(normal(6))},
    ),
    Case(name="one-slope", nodes=[node("PRelu", "x s", "y")], constants={"s": np.array([0.2], np.float32)}),
)

test_float, test_integer = checks(CASES)
