"""Sigmoid: small and large inputs, maps and vectors."""

from __future__ import annotations

from ops.harness import Case, checks, node

CASES = (
    Case(name="map", nodes=[node("Sigmoid", "x", "y")]),
    Case(name="vector", nodes=[node("Sigmoid", "x", "y")], inputs={"x": (1, 33)}),
    Case(name="saturated", nodes=[node("Sigmoid", "x", "y")], spread=30.0),
    Case(name="nearly-straight", nodes=[node("Sigmoid", "x", "y")], spread=0.01),
    Case(name="twice", nodes=[node("Sigmoid", "x", "s"), node("Sigmoid", "s", "y")]),
)

test_float, test_integer = checks(CASES)
