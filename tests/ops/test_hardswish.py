"""HardSwish: inputs inside and far outside of its bend."""

from __future__ import annotations

from ops.harness import Case, checks, node

CASES = (
    Case(name="map", nodes=[node("HardSwish", "x", "y")]),
    Case(name="vector", nodes=[node("HardSwish", "x", "y")], inputs={"x": (1, 17)}, spread=3.0),
    Case(name="wide-inputs", nodes=[node("HardSwish", "x", "y")], spread=100.0),
    Case(name="narrow-inputs", nodes=[node("HardSwish", "x", "y")], spread=0.02),
)

test_float, test_integer = checks(CASES)
