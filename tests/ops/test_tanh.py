"""Tanh: small and large inputs, maps and vectors."""

from __future__ import annotations

from ops.harness import Case, checks, node

CASES = (
    Case(name="map", nodes=[node("Tanh", "x", "y")]),
    Case(name="vector", nodes=[node("Tanh", "x", "y")], inputs={"x": (1, 33)}),
    Case(name="saturated", nodes=[node("Tanh", "x", "y")], spread=30.0),
    Case(name="nearly-straight", nodes=[node("Tanh", "x", "y")], spread=0.01),
)

test_float, test_integer = checks(CASES)
