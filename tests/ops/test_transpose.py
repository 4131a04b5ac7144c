"""Transpose: every order of four axes, and orders that layout planning cancels."""

from __future__ import annotations

import itertools

from ops.harness import Case, checks, node, normal

ORDERS = tuple((0, *rest) for rest in itertools.permutations((1, 2, 3)) if rest != (1, 2, 3))
CASES = (
    *(Case(name="".join(map(str, perm)), nodes=[node("Transpose", "x", "y", perm=list(perm))]) for perm in ORDERS),
    Case(name="matrix", nodes=[node("Transpose", "x", "y", perm=[0, 2, 1])], inputs={"x": (1, 4, 7)}),
    Case(
        name="batch-moved",
        nodes=[node("Transpose", "x", "t", perm=[1, 0, 2]), node("Relu", "t", "y")],
        inputs={"x": (1, 4, 7)},
    ),
    Case(
        name="extents-of-one",
        nodes=[node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Relu", "t", "y")],
        inputs={"x": (1, 1, 4, 7)},
    ),
    Case(
        name="channels-last-net",
        nodes=[
            node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
            node("Conv", "t w", "h", pads=[1, 1, 1, 1]),
            node("Transpose", "h", "y", perm=[0, 2, 3, 1]),
        ],
        inputs={"x": (1, 5, 4, 3)},
        constants={"w": normal(4, 3, 3, 3)},
        layers=1,
    ),
    Case(
        name="two-outputs-one-tensor",
        nodes=[node("Transpose", "x", "y", perm=[0, 3, 1, 2]), node("Transpose", "x", "z", perm=[0, 3, 1, 2])],
        outputs=("y", "z"),
    ),
    Case(
        name="there-and-back",
        nodes=[
            node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
            node("Relu", "t", "r"),
            node("Transpose", "r", "y", perm=[0, 3, 1, 2]),
        ],
        layers=1,
    ),
    Case(
        name="around-a-reshape",
        nodes=[
            node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
            node("Flatten", "t", "f"),
            node("Gemm", "f w", "y"),
        ],
        constants={"w": normal(90, 4) * 0.1},
    ),
)

test_float, test_integer = checks(CASES)
