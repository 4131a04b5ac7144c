"""Sub: two values, constants on either side, broadcasting in every direction."""

from __future__ import annotations

from ops.harness import Case, checks, node, normal

SHAPES = {
    "same": ((1, 3, 4, 5), (1, 3, 4, 5)),
    "per-channel": ((1, 3, 4, 5), (3, 1, 1)),
    "last-axis": ((1, 3, 4, 5), (5,)),
    "rows": ((1, 3, 4, 5), (1, 1, 4, 1)),
    "scalar": ((1, 3, 4, 5), ()),
    "smaller-first": ((1, 1, 4, 1), (1, 3, 4, 5)),
    "both-ways": ((1, 3, 1, 5), (1, 1, 4, 1)),
    "vector": ((1, 7), (1, 7)),
}

VALUES = tuple(
    Case(name=f"values-{name}", nodes=[node("Sub", "a b", "y")], inputs={"a": a, "b": b})
    for name, (a, b) in SHAPES.items()
    if len(a) == len(b)
)
CONSTANTS = tuple(
    Case(
        name=f"constant-{side}-{name}",
        nodes=[node("Sub", order, "y")],
        inputs={"x": a},
        constants={"c": normal(*b, seed=5)},
    )
    for name, (a, b) in SHAPES.items()
    for side, order in (("right", "x c"), ("left", "c x"))
)
CASES = (
    *VALUES,
    *CONSTANTS,
    Case(
        name="relu",
        nodes=[node("Sub", "a b", "s"), node("Relu", "s", "y")],
        inputs={"a": (1, 9), "b": (1, 9)},
        layers=1,
    ),
)

test_float, test_integer = checks(CASES)
