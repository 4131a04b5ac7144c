"""Cross-layer equalization: channels between two layers are rescaled so that none dwarfs the others.

After Nagel et al., ICCV 2019, section 4.1. For y = W2 f(W1 x) with f positively homogeneous (Relu, pools), dividing
row c
of W1 (and its bias) by s_c and multiplying column c of W2 by s_c changes nothing. Weights here have a scale per output
channel already, so what there is to gain lies in the shared scale of the activations between: s_c is chosen as the
geometric middle between the reach of activation channel c and that of column c of W2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from freeml.ir.graph import Graph, Node, Op
from freeml.ir.rewrite import Editor
from freeml.ir.types import FloatArray, TensorType
from freeml.ops.averagepool import AveragePool
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.maxpool import MaxPool
from freeml.ops.reshape import Reshape
from freeml.quant.ranges import Observations

HOMOGENEOUS_CLAMPS = ((0.0, float("inf")), (float("-inf"), float("inf")))
LARGEST_FACTOR = 16.0


def equalize(graph: Graph, observations: Observations) -> Graph:
    """The graph with every eligible pair of neighbouring layers equalized, in order of execution."""
    edit: Editor[Op, TensorType] = Editor.of(graph)
    for node in graph.nodes:
        found = _pair(graph, node)
        if found is not None:
            _rescale(edit, node.name, found[0].name, found[1], observations.values[node.outputs[0]].channel_reach)
    return cast(Graph, edit.finish())


def _linear(graph: Graph, node: Node[Op]) -> bool:
    inputs = node.stages[0].inputs
    return isinstance(node.op, (Conv, Dense)) and len(inputs) == 3 and not any(v in graph.brought for v in inputs)


def _pair(graph: Graph, first: Node[Op]) -> tuple[Node[Op], int] | None:
    """The layer that alone reads `first` through pools and flattening, and how many of its inputs share a channel."""
    if not _linear(graph, first) or not isinstance(first.op, (Conv, Dense)):
        return None
    if first.op.clamp not in HOMOGENEOUS_CLAMPS:
        return None
    channels = graph.types[first.outputs[0]].shape[1 if isinstance(first.op, Conv) else -1]
    value = first.outputs[0]
    while True:
        readers = graph.consumers(value)
        if len(readers) != 1 or value in graph.outputs or value in graph.brought:
            return None
        reader = readers[0]
        if isinstance(reader.op, MaxPool) or (
            isinstance(reader.op, AveragePool) and reader.op.clamp in HOMOGENEOUS_CLAMPS
        ):
            value = reader.outputs[0]
            continue
        if isinstance(reader.op, Reshape):
            before, after = graph.types[value].shape, graph.types[reader.outputs[0]].shape
            if len(before) < 2 or before[1] != channels or after != (1, graph.types[value].size):
                return None
            value = reader.outputs[0]
            continue
        break
    if not _linear(graph, reader) or reader.stages[0].inputs[0] != value:
        return None
    if isinstance(reader.op, Dense):
        inputs = graph.types[reader.stages[0].inputs[1]].shape[0]
        shape = graph.types[value].shape
        return (reader, inputs // channels) if len(shape) == 2 and inputs % channels == 0 else None
    return reader, 1


def _rescale(edit: Editor[Op, TensorType], first: str, second: str, repeat: int, reach: FloatArray) -> None:
    one = next(n for n in edit.nodes if n.name == first)
    two = next(n for n in edit.nodes if n.name == second)
    w1, b1 = (np.asarray(edit.constants[v], dtype=np.float64) for v in one.stages[0].inputs[1:])
    w2 = np.asarray(edit.constants[two.stages[0].inputs[1]], dtype=np.float64)
    depthwise = isinstance(two.op, Conv) and two.op.group > 1
    if isinstance(two.op, Conv) and depthwise and w2.shape[1] != 1:
        return  # grouped: leave it
    channels = reach.size
    if isinstance(two.op, Dense):
        columns = np.abs(w2).reshape(channels, repeat, -1).max(axis=(1, 2))
    elif depthwise:
        columns = np.abs(w2).reshape(channels, -1).max(axis=1)
    else:
        columns = np.abs(w2).max(axis=(0, *range(2, w2.ndim)))
    usable = (reach > 0) & (columns > 0)
    factor = np.ones(channels)
    factor[usable] = np.sqrt(reach[usable] / columns[usable])
    if usable.any():
        factor[usable] /= np.exp(np.mean(np.log(factor[usable])))
    factor = np.clip(factor, 1.0 / LARGEST_FACTOR, LARGEST_FACTOR)
    if isinstance(one.op, Conv):
        w1 = w1 / factor.reshape(-1, *(1,) * (w1.ndim - 1))
    else:
        w1 = w1 / factor
    if isinstance(two.op, Dense):
        w2 = w2 * np.repeat(factor, repeat)[:, np.newaxis]
    elif depthwise:
        w2 = w2 * np.repeat(factor, w2.shape[0] // channels).reshape(-1, *(1,) * (w2.ndim - 1))
    else:
        w2 = w2 * factor.reshape(1, -1, *(1,) * (w2.ndim - 2))
    _set(edit, one, {1: w1, 2: b1 / factor})
    _set(edit, next(n for n in edit.nodes if n.name == second), {1: w2})


def _set(edit: Editor[Op, TensorType], node: Node[Op], arrays: dict[int, FloatArray]) -> None:
    stage = node.stages[0]
    names = list(stage.inputs)
    for index, array in arrays.items():
        names[index] = edit.add_constant(
            f"{names[index]}_equalized", array.astype(np.float32), TensorType(shape=array.shape)
        )
    edit.replace(node, replace(node, stages=(replace(stage, inputs=tuple(names)),)))
