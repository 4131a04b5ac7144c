"""ArgMax: along every axis, first and last of equals, with the axis kept or dropped."""

from __future__ import annotations

from ops.harness import Case, checks, node, normal


def argmax(name: str, x: tuple[int, ...] = (1, 3, 4, 5), **attributes: object) -> Case:
    """One ArgMax."""
    return Case(name=name, nodes=[node("ArgMax", "x", "y", **attributes)], inputs={"x": x}, index_output=True)


CASES = (
    argmax("vector", (1, 10), axis=1),
    argmax("dropped", (1, 10), axis=1, keepdims=0),
    argmax("channels", axis=1),
    argmax("rows", axis=2, keepdims=0),
    argmax("last-axis", axis=-1),
    argmax("batch", axis=0),
    argmax("last-index", axis=1, select_last_index=1),
    Case(
        name="after-conv",
        nodes=[node("Conv", "x w", "h"), node("ArgMax", "h", "y", axis=1)],
        constants={"w": normal(4, 3, 2, 2)},
        index_output=True,
    ),
    Case(
        name="flattened",
        nodes=[node("ArgMax", "x", "i", axis=1), node("Flatten", "i", "y")],
        index_output=True,
    ),
)

test_float, test_integer = checks(CASES)
