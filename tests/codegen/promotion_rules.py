"""What the promotion lint knows of arithmetic, loops and the units of emitted layers."""

from __future__ import annotations

import re

from pycparser import c_ast

from codegen.machine16 import Int, Value

UNITS = re.compile(r"\bfm_layer_(\w+),\s*\.units = (\d+)U")


def units_by_layer(text: str) -> dict[str, int]:
    """Units of every emitted layer function, from the table that calls it: its arguments are bounded by them."""
    return {f"fm_layer_{name}": int(units) for name, units in UNITS.findall(text)}


def interval(op: str, left: Value, right: Value, type_: Int) -> tuple[int, int]:
    """Interval of an arithmetic result before it is fitted into `type_`."""
    if op == "+":
        return left.low + right.low, left.high + right.high
    if op == "-":
        return left.low - right.high, left.high - right.low
    if op == "*":
        corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
        return min(corners), max(corners)
    if op == "&" and right.known and right.low >= 0:
        return 0, right.high
    if op == "%" and right.constant and left.low >= 0:
        return 0, min(left.high, right.low - 1)
    if op == "/" and right.constant and left.low >= 0:
        return left.low // right.low, left.high // right.low
    return type_.low, type_.high


def modified(node: c_ast.Node | None) -> set[str]:
    """Names that some statement assigns to, steps, or takes the address of."""
    found: set[str] = set()

    def visit(item: c_ast.Node | None) -> None:
        if item is None:
            return
        target = None
        if isinstance(item, c_ast.Assignment):
            target = item.lvalue
        elif isinstance(item, c_ast.UnaryOp) and item.op in ("++", "--", "p++", "p--", "&"):
            target = item.expr
        if isinstance(target, c_ast.ID):
            found.add(target.name)
        for _, child in item.children():
            visit(child)

    visit(node)
    return found


def comparison(node: c_ast.For) -> c_ast.Node | None:
    """The condition, or the first of those that must all hold."""
    cond = node.cond
    while isinstance(cond, c_ast.BinaryOp) and cond.op == "&&":
        cond = cond.left
    return cond


def counter(node: c_ast.For) -> str | None:
    """The counter of `for (int i = a; i < b; ++i)` and of `i += step`; None for any other loop."""
    cond, step = comparison(node), node.next
    if not (isinstance(cond, c_ast.BinaryOp) and cond.op == "<" and isinstance(cond.left, c_ast.ID)):
        return None
    steps = step.exprs if isinstance(step, c_ast.ExprList) else [step]
    for item in steps:
        moved = item.lvalue if isinstance(item, c_ast.Assignment) and item.op == "+=" else getattr(item, "expr", None)
        if isinstance(moved, c_ast.ID) and moved.name == cond.left.name:
            up = isinstance(item, c_ast.Assignment) or item.op in ("++", "p++")
            return str(moved.name) if up else None
    return None
