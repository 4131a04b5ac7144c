"""Which form weights take in flash, where that is short: the fewest bytes, and of forms that take hardly more the one
that costs the fewest cycles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from freeml.ir.graph import QGraph, QOp, Stage
from freeml.ir.types import IntArray
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import BLOCK, Packed, Storage, packings, sparse_forms
from freeml.plan.memory import MemoryPlan
from freeml.plan.placement import CODE_RESERVE_BYTES
from freeml.targets import Board

ALIKE = 1.05
"""Forms that take so many times the fewest bytes count as alike."""

FEW_BYTES = 16
"""So do forms that differ by so few bytes: the code that reads one takes several times as many, and time."""

LARGEST_BYTES = 32_767
"""Of a layer that is not stored as it is: what 16-bit differences of pointers reach."""

DENSE, UNPACK, ENTRY, BIT, ONE, SKIP, KEEP = 8.4, 13.6, 77.0, 4.0, 79.4, 10.6, 31.1
"""Cycles of a weight in a dot product, of unpacking one of 4 bits, of an entry of a delta row, of a bit of a bitmap and
of a bit that is set, of a block and, besides, of one that is kept: those of the MSP430 with zig (freeml/plan/prices),
to tell forms apart on any board, not to predict."""


def pack_weights(graph: QGraph, whole_bytes: int, near_bytes: int | None = None, plain: Collection[str] = ()) -> QGraph:
    """The same graph, in the board's layout, with the weights of every layer in the form that suits them.

    A layer that reads its weights more than once, as a convolution does for each window, has packed ones unpacked once
    where they take at most `whole_bytes` of SRAM. Only plain weights can lie beyond the reach of pointers: where the
    weights take more than `near_bytes` all the same, the largest stay plain. So do those of layers in `plain`, named by
    the value of their first stage.
    """
    found = {
        stage.outputs[0]: stage if stage.outputs[0] in plain else _stage(graph, stage, whole_bytes)
        for stage in graph.stages()
    }
    sizes = {value: _near_bytes(graph, stage) for value, stage in found.items()}
    near = sum(sizes.values())
    for stage in sorted(graph.stages(), key=lambda stage: -sizes[stage.outputs[0]]):
        if near_bytes is None or near <= near_bytes:
            break
        near -= sizes[stage.outputs[0]]
        found[stage.outputs[0]] = stage
    return replace(
        graph,
        nodes=tuple(replace(n, stages=tuple(found[s.outputs[0]] for s in n.stages)) for n in graph.nodes),
    )


def reachable_bytes(board: Board, memory: MemoryPlan) -> int | None:
    """What the board has for weights within the reach of pointers; None where everything is."""
    if board.far_nv is None:
        return None
    arena = memory.arena_bytes if board.activations == "nv" else 0
    return board.near_nv.size_bytes - CODE_RESERVE_BYTES - arena


def _near_bytes(graph: QGraph, stage: Stage[QOp]) -> int:
    """Bytes of a layer's weights."""
    if not isinstance(stage.op, (QConv, QDense)):
        return 0
    weights = graph.constants[stage.inputs[1]]
    if stage.op.packed is None:
        return graph.types[stage.inputs[1]].size_bytes
    return stage.op.packed.stored_bytes(weights.reshape(stage.op.weight_rows(weights.shape), -1))


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
    most = min(LARGEST_BYTES, rows.size)  # a form that takes more than plain weights is none, however fast
    forms = [None, *(form for form in others if form.stored_bytes(rows) <= most)]
    fewest = min(stored_bytes(rows, form) for form in forms)
    alike = [form for form in forms if stored_bytes(rows, form) <= max(fewest * ALIKE, fewest + FEW_BYTES)]
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
    if form.kind == "block":
        return uses * (SKIP * rows.size / BLOCK + KEEP * form.entries)
    return uses * (ENTRY * form.entries if form.kind == "delta" else BIT * rows.size + ONE * form.entries)
