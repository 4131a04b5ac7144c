"""HardSigmoid: default and other slopes, inputs inside and far outside of the sloped part."""

from __future__ import annotations

from ops.harness import Case, checks, node

CASES = (
    Case(name="default", nodes=[node("HardSigmoid", "x", "y")]),
    Case(name="torch", nodes=[node("HardSigmoid", "x", "y", alpha=1 / 6, beta=0.5)], spread=3.0),
    Case(name="steep", nodes=[node("HardSigmoid", "x", "y", alpha=2.5, beta=-0.25)]),
    Case(name="falling", nodes=[node("HardSigmoid", "x", "y", alpha=-0.3, beta=0.6)], inputs={"x": (1, 17)}),
    Case(name="flat", nodes=[node("HardSigmoid", "x", "y", alpha=0.0, beta=0.6)], inputs={"x": (1, 17)}),
    Case(name="nearly-flat", nodes=[node("HardSigmoid", "x", "y", alpha=1e-4, beta=0.5)], inputs={"x": (1, 17)}),
    Case(name="wide-inputs", nodes=[node("HardSigmoid", "x", "y")], spread=200.0),
)

test_float, test_integer = checks(CASES)
