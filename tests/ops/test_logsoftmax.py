"""LogSoftmax: along every axis, short and long, flat and peaked; the flattening of opset 11."""

from __future__ import annotations

from ops.harness import Case, checks, node

CASES = (
    Case(name="vector", nodes=[node("LogSoftmax", "x", "y")], inputs={"x": (1, 10)}),
    Case(name="channels", nodes=[node("LogSoftmax", "x", "y", axis=1)]),
    Case(name="rows", nodes=[node("LogSoftmax", "x", "y", axis=2)]),
    Case(name="last", nodes=[node("LogSoftmax", "x", "y", axis=-1)]),
    Case(name="one", nodes=[node("LogSoftmax", "x", "y", axis=0)]),
    Case(name="long", nodes=[node("LogSoftmax", "x", "y")], inputs={"x": (1, 300)}),
    Case(name="peaked", nodes=[node("LogSoftmax", "x", "y")], inputs={"x": (1, 10)}, spread=40.0),
    Case(name="flat", nodes=[node("LogSoftmax", "x", "y")], inputs={"x": (1, 10)}, spread=0.01),
    Case(name="opset-11", nodes=[node("LogSoftmax", "x", "y", axis=1)], opset=11),
)

test_float, test_integer = checks(CASES)
