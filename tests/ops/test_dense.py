"""Dense: Gemm in all its attribute forms, MatMul on either side, over one row and over many."""

from __future__ import annotations

from ops.harness import WEIGHTS, Case, checks, node, normal

CASES = (
    Case(
        name="gemm",
        nodes=[node("Gemm", "x w b", "y")],
        inputs={"x": (1, 9)},
        constants={"w": normal(9, 5), "b": normal(5, seed=1)},
        precisions=WEIGHTS,
    ),
    Case(
        name="gemm-transposed-scaled",
        nodes=[node("Gemm", "x w b", "y", transB=1, alpha=0.5, beta=2.0)],
        inputs={"x": (1, 7)},
        constants={"w": normal(4, 7), "b": normal(1, seed=1)},
    ),
    Case(
        name="gemm-no-bias",
        nodes=[node("Gemm", "x w", "y")],
        inputs={"x": (1, 6)},
        constants={"w": normal(6, 3)},
    ),
    Case(
        name="matmul-rows",
        nodes=[node("MatMul", "x w", "y")],
        inputs={"x": (1, 4, 6)},
        constants={"w": normal(6, 5)},
        precisions=WEIGHTS,
    ),
    Case(
        name="matmul-bias",
        nodes=[node("MatMul", "x w", "h"), node("Add", "h b", "y")],
        inputs={"x": (1, 8)},
        constants={"w": normal(8, 5), "b": normal(5, seed=1)},
        layers=1,
    ),
    Case(
        name="matmul-constant-left",
        nodes=[node("MatMul", "w x", "y")],
        inputs={"x": (1, 5, 3)},
        constants={"w": normal(4, 5)},
    ),
    Case(
        name="after-a-map",
        nodes=[
            node("Conv", "x k", "h", pads=[1, 1, 1, 1]),
            node("Flatten", "h", "f"),
            node("Gemm", "f w b", "y", transB=1),
        ],
        inputs={"x": (1, 2, 4, 3)},
        constants={"k": normal(3, 2, 3, 3), "w": normal(5, 36, seed=1) * 0.2, "b": normal(5, seed=2)},
        layers=2,
    ),
    Case(
        name="one-output",
        nodes=[node("Gemm", "x w b", "y")],
        inputs={"x": (1, 3)},
        constants={"w": normal(3, 1), "b": normal(1, seed=1)},
    ),
)

test_float, test_integer = checks(CASES)
