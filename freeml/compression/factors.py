"""Low rank as moves of a float graph: one layer becomes two or three of the same function, or nearly.

Nothing stands between the layers of a factorization, so its rank is a number of channels like any other: what removes
channels (`channels.py`) lowers it further, and `rejoined` takes back a pair that no longer saves.

Each move is a pure function of a graph after the passes and the name of a node; the bias and the clamp stay with the
last layer. As with channels, formats and statistics that the model brought do not outlive it. A node or a rank that a
move cannot take is a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from freeml.arranging import LAYER_BYTES
from freeml.compression.allocate import Need
from freeml.ir.graph import Graph, Node, Op, Stage, execute, single, verify
from freeml.ir.rewrite import Editor
from freeml.ir.types import Array, FloatArray, TensorType
from freeml.ops.base import NO_CLAMP
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.passes.merge import merged_pair

SWEEPS = 10
"""Rounds of alternating least squares of a Tucker-2 decomposition."""

SAMPLES, CHUNK = 512, 64
LOST = 0.02
"""Share of a layer's variance that `factorized` may take from it at once."""


def split_dense(graph: Graph, name: str, rank: int) -> Graph:
    """Dense K -> M as K -> rank -> M by truncated singular value decomposition."""
    stage = _layer(graph, name, Dense)
    weights = _weights(graph, stage)
    _check("rank", rank, min(weights.shape))
    *_, rows = np.linalg.svd(weights, full_matrices=False)
    return project(graph, name, rows[:rank].T)


def project(graph: Graph, name: str, basis: FloatArray, mean: FloatArray | None = None) -> Graph:
    """A dense layer, or a convolution in one group, of M outputs brought to the span of `basis` (M, rank).

    The layer computes the `rank` coordinates, a dense layer or 1x1 convolution behind it the outputs. The columns of
    `basis` are orthonormal. With `mean` (M,), of the outputs before the bias, only what differs from it is projected.
    Each coordinate is scaled so that its weights are equally long in both layers.
    """
    stage = _layer(graph, name, (Dense, Conv))
    weights = _weights(graph, stage)
    dense = isinstance(stage.op, Dense)
    flat = weights.T if dense else weights.reshape(len(weights), -1)  # (M, what one output reads)
    _check("rank", basis.shape[1], len(flat))
    first = basis.T @ flat
    lengths = np.linalg.norm(first, axis=1)
    scale = np.sqrt(np.where(lengths > 0, lengths, 1.0))
    first, second = first / scale[:, None], basis * scale
    if dense:
        parts: list[tuple[Dense | Conv, FloatArray]] = [(Dense(), first.T), (Dense(), second.T)]
    else:
        rank, spatial = basis.shape[1], weights.shape[2:]
        parts = [
            (cast(Conv, stage.op), first.reshape(rank, *weights.shape[1:])),
            (_pointwise(len(spatial)), second.reshape(*second.shape, *(1 for _ in spatial))),
        ]
    shift = None if mean is None else mean - basis @ (basis.T @ mean)
    return _replaced(graph, name, parts, shift)


def tucker(graph: Graph, name: str, rank_in: int, rank_out: int) -> Graph:
    """A convolution C -> O in one group as 1x1 (C -> rank_in), k x k (rank_in -> rank_out), 1x1 (-> O).

    Tucker-2 (Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
    applications", 2016) by HOSVD and sweeps of HOOI. A factor whose rank is full is left out.
    """
    stage = _layer(graph, name, Conv)
    weights = _weights(graph, stage)
    outputs, channels, *spatial = weights.shape
    _check("rank_in", rank_in, channels)
    _check("rank_out", rank_out, outputs)
    taps = weights.reshape(outputs, channels, -1)
    into, out = np.eye(channels), _leading(taps.reshape(outputs, -1), rank_out)
    for _ in range(SWEEPS if rank_in < channels or rank_out < outputs else 0):
        narrowed = np.einsum("ock,or->crk", taps, out)
        into = _leading(narrowed.reshape(channels, -1), rank_in)
        narrowed = np.einsum("ock,cr->ork", taps, into)
        out = _leading(narrowed.reshape(outputs, -1), rank_out)
    into = into if rank_in < channels else np.eye(channels)
    out = out if rank_out < outputs else np.eye(outputs)
    core = np.einsum("ock,or,cs->rsk", taps, out, into).reshape(rank_out, rank_in, *spatial)
    ones = tuple(1 for _ in spatial)
    parts: list[tuple[Dense | Conv, FloatArray]] = [(cast(Conv, stage.op), core)]
    if rank_in < channels:
        parts.insert(0, (_pointwise(len(spatial)), into.T.reshape(rank_in, channels, *ones)))
    if rank_out < outputs:
        parts.append((_pointwise(len(spatial)), out.reshape(outputs, rank_out, *ones)))
    return _replaced(graph, name, parts)


def separate(graph: Graph, name: str, multiplier: int = 1) -> Graph:
    """A convolution C -> O in one group as depthwise (C -> C * multiplier) and 1x1 (-> O).

    The best rank-`multiplier` approximation of each input channel's (O, taps) by itself; exact at min(O, taps).
    """
    stage = _layer(graph, name, Conv)
    weights = _weights(graph, stage)
    outputs, channels, *spatial = weights.shape
    _check("multiplier", multiplier, min(outputs, int(np.prod(spatial))))
    by_channel = weights.reshape(outputs, channels, -1).transpose(1, 0, 2)
    left, lengths, right = np.linalg.svd(by_channel, full_matrices=False)
    share = np.sqrt(lengths[:, :multiplier])
    depthwise = (share[:, :, None] * right[:, :multiplier]).reshape(channels * multiplier, 1, *spatial)
    mixed = (left[:, :, :multiplier] * share[:, None]).transpose(1, 0, 2).reshape(outputs, channels * multiplier)
    ones = tuple(1 for _ in spatial)
    op = replace(cast(Conv, stage.op), group=channels)
    return _replaced(graph, name, [(op, depthwise), (_pointwise(len(spatial)), mixed.reshape(*mixed.shape, *ones))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a layer's outputs before bias and clamp spread on data: their mean (M,), and the principal axes (M, M), one
    a column, with their variances (M,), the largest first."""

    mean: FloatArray
    axes: FloatArray
    variances: FloatArray

    def rank(self, lost: float) -> int:
        """The least number of axes (at least 1) that hold all but a share `lost` of the variance."""
        held = np.cumsum(self.variances)
        return min(len(held), 1 + int(np.searchsorted(held, (1 - lost) * held[-1])))


def spreads(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Spread]:
    """By node name, for every dense layer and convolution in one group. `inputs` have a leading sample axis."""
    count = next(iter(inputs.values())).shape[0]
    layers = [node for node in graph.nodes if _splits(graph, node)]
    sums: dict[str, FloatArray] = {}
    products: dict[str, FloatArray] = {}
    seen: dict[str, int] = {}
    for start in range(0, count, CHUNK):
        values = execute(graph, {name: array[start : start + CHUNK] for name, array in inputs.items()})
        for node in layers:
            stage = node.stages[0]
            op = replace(cast(Conv | Dense, stage.op), clamp=NO_CLAMP)
            (y,) = op.run((values[stage.inputs[0]], graph.constants[stage.inputs[1]][np.newaxis]))
            rows = np.moveaxis(y, -1 if isinstance(op, Dense) else 2, -1)
            rows = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
            sums[node.name] = sums.get(node.name, 0.0) + rows.sum(axis=0)
            products[node.name] = products.get(node.name, 0.0) + rows.T @ rows
            seen[node.name] = seen.get(node.name, 0) + len(rows)
    found = {}
    for name, total in sums.items():
        mean = total / seen[name]
        variances, axes = np.linalg.eigh(products[name] / seen[name] - np.outer(mean, mean))
        found[name] = Spread(mean=mean, axes=axes[:, ::-1], variances=np.maximum(variances[::-1], 0.0))
    return found


def factorized(
    graph: Graph, inputs: Mapping[str, Array], need: Callable[[Graph], Need], *, lost: float = LOST
) -> Graph:
    """The graph with every layer split whose outputs on data lie near a space of few dimensions, where that saves.

    A layer is projected to the principal axes of its own outputs, which is the truncated decomposition of its weights
    for inputs as they are and not for white ones, at the least rank that loses a share `lost` of the variance. It stays
    split where that has fewer weights and `need` (the plan) says less flash, code included, and no more RAM.
    """
    found = spreads(graph, {name: array[:SAMPLES] for name, array in inputs.items()})
    now = need(graph)
    for name, spread in found.items():
        weights = graph.constants[_layer(graph, name, (Dense, Conv)).inputs[1]]
        outputs = len(spread.mean)
        rank = spread.rank(lost)
        if rank * (weights.size // outputs + outputs) >= weights.size:
            continue
        split = project(graph, name, spread.axes[:, :rank], spread.mean)
        then = need(split)
        if then.flash + LAYER_BYTES < now.flash and then.ram <= now.ram:
            graph, now = split, then
    return graph


def rejoined(graph: Graph, need: Callable[[Graph], Need]) -> Graph:
    """The graph with every two layers as one that have nothing between and, code included, save no flash any more.

    Where the two take less RAM than the one they stay two.
    """
    now = need(graph)
    for name in [node.name for node in graph.nodes if _splits(graph, node)]:
        merged = merged_pair(graph, name)  # the name of a pair is that of its second layer
        if merged is None:
            continue
        then = need(merged)
        if then.flash <= now.flash + LAYER_BYTES and then.ram <= now.ram:
            graph, now = merged, then
    return graph


def _splits(graph: Graph, node: Node[Op]) -> bool:
    """Whether `project` can take the node."""
    op, stage = node.op, node.stages[0]
    return (isinstance(op, Dense) or (isinstance(op, Conv) and op.group == 1)) and all(
        v in graph.constants for v in stage.inputs[1:]
    )


def _layer(graph: Graph, name: str, kinds: type | tuple[type, ...]) -> Stage[Op]:
    node = next((n for n in graph.nodes if n.name == name), None)
    if node is None or not isinstance(node.op, kinds) or not _splits(graph, node):
        raise ValueError(f"expected {name} to be a layer in one group with constant weights")
    return node.stages[0]


def _weights(graph: Graph, stage: Stage[Op]) -> FloatArray:
    return np.asarray(graph.constants[stage.inputs[1]], dtype=np.float64)


def _check(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"expected {what} from 1 to {most}, found {value}")


def _pointwise(rank: int) -> Conv:
    return Conv(strides=(1,) * rank, dilations=(1,) * rank, pads=((0, 0),) * rank)


def _leading(matrix: FloatArray, count: int) -> FloatArray:
    """The left singular vectors of the largest singular values, completed to `count` columns."""
    left: FloatArray = np.linalg.svd(matrix, full_matrices=matrix.shape[1] < count)[0][:, :count]
    return left


def _replaced(
    graph: Graph, name: str, parts: Sequence[tuple[Dense | Conv, FloatArray]], shift: FloatArray | None = None
) -> Graph:
    """The node replaced by layers with these weights; the last has its name, bias (plus `shift`), clamp and output."""
    edit: Editor[Op, TensorType] = Editor.of(graph)
    node = next(n for n in graph.nodes if n.name == name)
    stage, taken = node.stages[0], {n.name for n in graph.nodes}
    clamp = cast(Dense | Conv, stage.op).clamp
    value, nodes = stage.inputs[0], []
    for index, (op, weights) in enumerate(parts):
        last = index == len(parts) - 1
        inputs = [value, _constant(edit, f"{stage.inputs[1]}_factor", weights)]
        if last and shift is not None:
            bias = np.asarray(edit.constants[stage.inputs[2]], dtype=np.float64) if len(stage.inputs) > 2 else 0.0
            inputs.append(_constant(edit, f"{stage.outputs[0]}_bias", bias + shift))
        elif last:
            inputs.extend(stage.inputs[2:])
        made = replace(op, clamp=clamp if last else NO_CLAMP)
        value = stage.outputs[0] if last else edit.fresh(f"{stage.outputs[0]}_inner")
        (edit.types[value],) = made.infer(tuple(edit.types[v] for v in inputs))
        called = name
        while not last and called in taken:
            called = f"{called}_factor"
        taken.add(called)
        nodes.append(single(called, made, tuple(inputs), (value,), node.source))
    edit.replace(node, *nodes)
    changed = replace(cast(Graph, edit.finish()), brought={}, statistics={})
    verify(changed)
    return changed


def _constant(edit: Editor[Op, TensorType], base: str, array: FloatArray) -> str:
    return edit.add_constant(base, array.astype(np.float32), TensorType(shape=array.shape))
