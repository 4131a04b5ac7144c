"""Resize (nearest): by scales and by sizes, up and down, even and uneven, every way to map coordinates that freeml takes."""

from __future__ import annotations

import numpy as np

from ops.harness import Case, checks, node


def resize(name: str, scales: list[float], *, x: tuple[int, ...] = (1, 3, 6, 5), **attributes: object) -> Case:
    """One Resize by scales."""
    nodes = [node("Resize", "x - s", "y", mode="nearest", **attributes)]
    return Case(name=name, nodes=nodes, inputs={"x": x}, constants={"s": np.array(scales, np.float32)})


CASES = (
    resize("double", [1, 1, 2, 2]),
    resize("double-asymmetric", [1, 1, 2, 2], coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    resize("uneven", [1, 1, 1.5, 2.4], coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    resize("down", [1, 1, 0.5, 0.4]),
    resize("rows-only", [1, 1, 3, 1]),
    resize("corners", [1, 1, 2, 2], coordinate_transformation_mode="align_corners", nearest_mode="ceil"),
    resize("1d", [1, 1, 2], x=(1, 4, 7)),
    Case(
        name="sizes",
        nodes=[node("Resize", "x - - z", "y", mode="nearest")],
        constants={"z": np.array([1, 3, 9, 10])},
    ),
)

test_float, test_integer = checks(CASES)
