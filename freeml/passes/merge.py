"""Linear layers with nothing between them become one, where that is smaller."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from freeml.ir.graph import Graph, Node, Op, Stage
from freeml.ir.rewrite import Editor
from freeml.ir.types import Array, FloatArray, TensorType
from freeml.ops.base import NO_CLAMP
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class MergeLinear:
    """A dense layer after a dense layer, or a convolution after a convolution of which one is 1x1, as one layer.

    Only where the value between is read once, by that layer, is not clamped, and has no format that the model brings;
    and where the one layer has fewer parameters and fewer multiply-accumulates than the two: a low-rank pair stays.
    Weights are multiplied in float64 and rounded to float32 once, however many layers become one.
    """

    name: str = "merge-linear"

    def apply(self, graph: Graph) -> Graph:
        """Repeat until no two neighbours merge."""
        edit: Editor[Op, TensorType] = Editor.of(graph)
        while any(_merge(edit, graph, node) for node in list(edit.nodes)):
            pass
        return _rounded(edit)


def merged_pair(graph: Graph, name: str) -> Graph | None:
    """The graph with the layer `name` and its reader as one, smaller or not; None where that would not be the same."""
    edit: Editor[Op, TensorType] = Editor.of(graph)
    first = next((node for node in graph.nodes if node.name == name), None)
    return _rounded(edit) if first is not None and _merge(edit, graph, first, smaller=False) else None


def _rounded(edit: Editor[Op, TensorType]) -> Graph:
    """The graph with what was exact so far as float32."""
    edit.constants = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in edit.constants.items()}
    return cast(Graph, edit.finish())


def _merge(edit: Editor[Op, TensorType], graph: Graph, first: Node[Op], smaller: bool = True) -> bool:
    """Merge `first` with its reader; False where they have to stay, or `first` is gone already."""
    value = first.outputs[0]
    second = edit.only_consumer(value)
    if second is None or value in graph.brought or not any(node is first for node in edit.nodes):
        return False
    if not _plain(edit, graph, first) or not _plain(edit, graph, second) or second.stages[0].inputs[0] != value:
        return False
    one, two = first.stages[0], second.stages[0]
    op = _merged_op(edit, one, two)
    if op is None:
        return False
    (w1, b1), (w2, b2) = _parameters(edit, one), _parameters(edit, two)
    weights, bias = _product(one.op, w1, b1, w2, b2)
    if smaller and not _saves(edit, one, two, op, (weights, bias)):
        return False
    if not np.abs(weights).max(initial=0.0) <= LARGEST:
        return False
    names = [_constant(edit, f"{two.inputs[1]}_merged", weights)]
    if bias is not None:
        names.append(_constant(edit, f"{two.outputs[0]}_bias", bias))
    edit.nodes = [node for node in edit.nodes if node is not first]
    merged = replace(two, op=op, inputs=(one.inputs[0], *names))
    edit.replace(second, replace(second, stages=(merged,)))
    return True


def _saves(
    edit: Editor[Op, TensorType],
    one: Stage[Op],
    two: Stage[Op],
    op: Dense | Conv,
    made: tuple[FloatArray, FloatArray | None],
) -> bool:
    """Whether `op` with the parameters `made` has fewer of them, and fewer products, than the two layers."""
    before = sum(edit.constants[v].size for stage in (one, two) for v in stage.inputs[1:])
    macs = sum(stage.op.macs(_types(edit, stage), _outputs(edit, stage)) for stage in (one, two))
    shapes = (edit.types[one.inputs[0]], TensorType(shape=made[0].shape))
    return sum(a.size for a in made if a is not None) < before and op.macs(shapes, _outputs(edit, two)) < macs


def _plain(edit: Editor[Op, TensorType], graph: Graph, node: Node[Op]) -> bool:
    """Whether the node is one dense layer or ungrouped convolution, with constants whose formats nobody prescribes."""
    stage = node.stages[0]
    known = all(v in edit.constants and v not in graph.brought for v in stage.inputs[1:])
    return (
        known
        and len(node.stages) == 1
        and (isinstance(stage.op, Dense) or (isinstance(stage.op, Conv) and stage.op.group == 1))
    )


def _merged_op(edit: Editor[Op, TensorType], one: Stage[Op], two: Stage[Op]) -> Dense | Conv | None:
    """The operator that does both, but for its weights; None where there is none."""
    if isinstance(one.op, Dense) and isinstance(two.op, Dense):
        return two.op if one.op.clamp == NO_CLAMP else None
    if not (isinstance(one.op, Conv) and isinstance(two.op, Conv)) or one.op.clamp != NO_CLAMP:
        return None
    if _pointwise(edit, two):
        return replace(one.op, clamp=two.op.clamp)
    # the second layer's padding is zeros, and a bias of the first would not be in them
    padded = any(n for pair in two.op.pads for n in pair)
    if _pointwise(edit, one) and not (padded and len(one.inputs) > 2 and edit.constants[one.inputs[2]].any()):
        return two.op
    return None


def _pointwise(edit: Editor[Op, TensorType], stage: Stage[Op]) -> bool:
    """Whether a convolution maps every position by itself."""
    op = cast(Conv, stage.op)
    return (
        all(extent == 1 for extent in edit.types[stage.inputs[1]].shape[2:])
        and all(stride == 1 for stride in op.strides)
        and not any(n for pair in op.pads for n in pair)
    )


def _parameters(edit: Editor[Op, TensorType], stage: Stage[Op]) -> tuple[FloatArray, FloatArray | None]:
    weights, *bias = (np.asarray(edit.constants[v], dtype=np.float64) for v in stage.inputs[1:])
    return weights, bias[0] if bias else None


def _product(
    op: Op, w1: FloatArray, b1: FloatArray | None, w2: FloatArray, b2: FloatArray | None
) -> tuple[FloatArray, FloatArray | None]:
    """Weights and bias of both layers in turn; one of two convolutions has a single tap."""
    if isinstance(op, Dense):
        weights, passed = w1 @ w2, None if b1 is None else b1 @ w2
    else:
        taps = w1 if w2[0, 0].size == 1 else w2
        product = np.einsum("omk,mcl->ockl", w2.reshape(*w2.shape[:2], -1), w1.reshape(*w1.shape[:2], -1))
        weights = product.reshape(w2.shape[0], w1.shape[1], *taps.shape[2:])
        passed = None if b1 is None else w2.reshape(*w2.shape[:2], -1).sum(axis=2) @ b1
    if passed is None or b2 is None:
        return weights, b2 if passed is None else passed
    return weights, passed + b2


def _types(edit: Editor[Op, TensorType], stage: Stage[Op]) -> tuple[TensorType, ...]:
    return tuple(edit.types[v] for v in stage.inputs)


def _outputs(edit: Editor[Op, TensorType], stage: Stage[Op]) -> tuple[TensorType, ...]:
    return tuple(edit.types[v] for v in stage.outputs)


def _constant(edit: Editor[Op, TensorType], base: str, array: Array) -> str:
    return edit.add_constant(base, array, TensorType(shape=array.shape))
