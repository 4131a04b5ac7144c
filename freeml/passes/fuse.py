"""Fusion: clamps into the layer that requantizes, and the choice of which layers become one loop nest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from freeml.ir.graph import Graph, Node, Op, Stage
from freeml.ir.rewrite import Editor
from freeml.ir.types import Shape, TensorType
from freeml.ops.add import Add
from freeml.ops.averagepool import AveragePool
from freeml.ops.base import Clamp, SameFormat
from freeml.ops.clip import Clip
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.lut import Pointwise
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pool import window_counts
from freeml.ops.prelu import PRelu
from freeml.ops.reshape import Reshape
from freeml.ops.sub import Sub
from freeml.ops.transpose import Transpose

CLAMPED = (Conv, Dense, Add, Sub, Mul, AveragePool)


def _meet(first: Clamp, second: Clamp) -> Clamp:
    """One clamp after another, as one clamp."""
    low = min(max(first[0], second[0]), second[1])
    high = min(max(first[1], second[0]), second[1])
    return low, high


@dataclass(frozen=True, slots=True)
class FuseClip:
    """Relu and Clip into the clamp of the layer before; through MaxPool and views, with which clamps commute."""

    name: str = "fuse-clip"

    def apply(self, graph: Graph) -> Graph:
        """Repeat until nothing moves."""
        edit: Editor[Op, TensorType] = Editor.of(graph)
        moved = True
        while moved:
            moved = any(self._move(edit, graph, node) for node in list(edit.nodes) if isinstance(node.op, Clip))
        return cast(Graph, edit.finish())

    def _move(self, edit: Editor[Op, TensorType], graph: Graph, node: Node[Op]) -> bool:
        clip = node.op
        assert isinstance(clip, Clip)
        x = node.stages[0].inputs[0]
        maker = next((n for n in edit.nodes if x in n.outputs), None)
        if maker is None or edit.only_consumer(x) is None or x in graph.brought:
            return False
        stage = maker.stages[0]
        if isinstance(stage.op, CLAMPED):
            op = replace(stage.op, clamp=_meet(stage.op.clamp, (clip.low, max(clip.low, clip.high))))
            edit.replace(maker, replace(maker, stages=(replace(stage, op=op, outputs=node.outputs),)))
            edit.nodes.remove(node)
            return True
        if isinstance(stage.op, (MaxPool, Reshape, Transpose)) and node.outputs[0] not in graph.brought:
            before = edit.fresh(f"{node.outputs[0]}_before")
            edit.types[before] = edit.types[stage.inputs[0]]
            clipped = replace(node, stages=(Stage(op=clip, inputs=stage.inputs, outputs=(before,)),))
            rest = replace(maker, stages=(replace(stage, inputs=(before,), outputs=node.outputs),))
            edit.replace(maker, clipped, rest)
            edit.nodes.remove(node)
            return True
        return False


def formats_pushed_back(graph: Graph) -> Graph:
    """A format brought behind an operator that keeps its input's format is the input's too, if it alone reads that."""
    brought = dict(graph.brought)
    for node in reversed(graph.nodes):
        source, out = node.stages[0].inputs[0], node.outputs[0]
        if (
            isinstance(node.op, SameFormat)
            and out in brought
            and source not in brought
            and source not in graph.outputs
            and len(graph.consumers(source)) == 1
        ):
            brought[source] = brought[out]
    return replace(graph, brought=brought)


def fusion_groups(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Chains of nodes, by name, that become one loop nest each: a convolution or dense layer, elementwise operators on
    its outputs, and a pool whose windows do not overlap. Only their last value is stored.

    A two-operand member must find its other operand computed before the chain starts, with the chain's own shape. A
    chain ends where the model brings a format that its last operator cannot give: numbers are rescaled from memory.
    """
    graph = formats_pushed_back(graph)
    groups: list[tuple[str, ...]] = []
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    made_at = {v: order[n.name] for n in graph.nodes for v in n.outputs}
    taken: set[str] = set()
    for node in graph.nodes:
        if not isinstance(node.op, (Conv, Dense)) or node.name in taken:
            continue
        chain = [node]
        while True:
            value = chain[-1].outputs[0]
            readers = graph.consumers(value)
            if len(readers) != 1 or value in graph.outputs or readers[0].name in taken:
                break
            step = readers[0]
            if not _joins(graph, step, value, made_at, node, order[node.name]):
                break
            chain.append(step)
            if isinstance(step.op, (MaxPool, AveragePool)) or _rescales(graph, step):
                break
        if len(chain) > 1:
            groups.append(tuple(n.name for n in chain))
            taken.update(n.name for n in chain)
    return tuple(groups)


def _rescales(graph: Graph, step: Node[Op]) -> bool:
    """Whether the model brings unlike formats before and behind an operator that keeps its input's format."""
    before, behind = (graph.brought.get(v) for v in (step.stages[0].inputs[0], step.outputs[0]))
    if not isinstance(step.op, SameFormat) or before is None or behind is None:
        return False
    return (float(before.scale.flat[0]), int(before.zero_point.flat[0]), before.bits) != (
        float(behind.scale.flat[0]),
        int(behind.zero_point.flat[0]),
        behind.bits,
    )


def _joins(graph: Graph, step: Node[Op], value: str, made_at: dict[str, int], first: Node[Op], head: int) -> bool:
    op, shape = step.op, graph.types[value].shape
    if isinstance(op, (Pointwise, Clip)):
        return True
    if isinstance(op, PRelu):
        return isinstance(first.op, Conv) or len(shape) == 2  # the channel must be the loop's innermost axis
    if isinstance(op, (Add, Sub, Mul)):
        inputs = step.stages[0].inputs
        other = inputs[1] if inputs[0] == value else inputs[0]
        return other != value and graph.types[other].shape == shape and made_at.get(other, -1) < head
    if isinstance(op, (MaxPool, AveragePool)):
        window = op.window
        return (
            isinstance(first.op, Conv)
            and len(shape) in (3, 4)
            and all(
                s >= k or n == 1
                for s, k, n in zip(window.strides, window.kernel, graph.types[step.outputs[0]].shape[2:], strict=True)
            )
            and all(d == 1 for d in window.dilations)
            and (isinstance(op, MaxPool) or _clipped_count(op, shape))
        )
    return False


def _clipped_count(op: AveragePool, shape: Shape) -> bool:
    """Whether every window's divisor is one number, or the count of its positions inside the map."""
    counts = window_counts(op.window, shape[2:], op.count_include_pad)
    return not op.count_include_pad or bool((counts == counts.flat[0]).all())
