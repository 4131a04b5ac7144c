"""Which form weights take in flash, where that is short: the fewest bytes, and of forms that take hardly more the one
that costs the fewest cycles."""

from __future__ import annotations

from dataclasses import replace

from freeml.ir.graph import Node, QGraph, QOp, Stage
from freeml.ir.types import IntArray
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import Packed, Storage, packings, sparse_forms

ALIKE = 1.05
"""Forms that take so many times the fewest bytes count as alike."""

LARGEST_BYTES = 32_767
"""Of a layer that is not stored as it is: what 16-bit differences of pointers reach."""

DENSE, UNPACK, ENTRY, BIT, ONE = 9.0, 13.0, 27.0, 8.0, 22.0
"""Estimated MSP430 cycles of a weight in a dot product, of unpacking one, of an entry of a delta row, of a bit of a
bitmap and of a bit that is set: rounded from freeml/plan/prices, to tell forms apart, not to predict."""


def pack_weights(graph: QGraph, whole_bytes: int) -> QGraph:
    """The same graph, in the board's layout, with the weights of every layer in the form that suits them.

    A layer that reads its weights more than once, as a convolution does for each window, has packed ones unpacked once
    where they take at most `whole_bytes` of SRAM.
    """

    def packed(node: Node[QOp]) -> Node[QOp]:
        return replace(node, stages=tuple(_stage(graph, stage, whole_bytes) for stage in node.stages))

    return replace(graph, nodes=tuple(packed(node) for node in graph.nodes))


def _stage(graph: QGraph, stage: Stage[QOp], whole_bytes: int) -> Stage[QOp]:
    op = stage.op
    if not isinstance(op, (QConv, QDense)) or graph.types[stage.inputs[1]].dtype != "int8":
        return stage
    weights = graph.constants[stage.inputs[1]]
    rows = weights.reshape(op.weight_rows(weights.shape), -1)
    depthwise = isinstance(op, QConv) and op.depthwise
    uses = graph.types[stage.outputs[0]].size // (weights.shape[-1] if depthwise else len(rows))
    whole = uses > 1 and weights.size <= whole_bytes
    others: list[Storage] = []
    if whole or not depthwise:  # the weights of a depthwise convolution are not read row by row
        others += packings(weights, whole=whole)
    if not depthwise and not op.wide:
        others += sparse_forms(rows)
    forms = [None, *(form for form in others if form.stored_bytes(rows) <= LARGEST_BYTES)]
    fewest = min(stored_bytes(rows, form) for form in forms)
    alike = [form for form in forms if stored_bytes(rows, form) <= fewest * ALIKE]
    best = min(alike, key=lambda form: (_work(rows, form, uses), stored_bytes(rows, form)))
    return stage if best is None else replace(stage, op=replace(op, packed=best))


def stored_bytes(rows: IntArray, form: Storage | None) -> int:
    """Bytes of int8 weights (rows, length) in flash, with what it takes to read them."""
    return rows.size if form is None else form.stored_bytes(rows)


def fewest_bytes(rows: IntArray) -> int:
    """Bytes that int8 weights (rows, length) take, read row by row, in the form that takes the fewest."""
    return min(stored_bytes(rows, form) for form in (None, *packings(rows, whole=False), *sparse_forms(rows)))


def _work(rows: IntArray, form: Storage | None, uses: int) -> float:
    """Estimated cycles of all dot products with the weights."""
    if form is None:
        return uses * DENSE * rows.size
    if isinstance(form, Packed):
        return uses * DENSE * rows.size + (1 if form.whole else uses) * UNPACK * rows.size
    return uses * (ENTRY * form.entries if form.kind == "delta" else BIT * rows.size + ONE * form.entries)
