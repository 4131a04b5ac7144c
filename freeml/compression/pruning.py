"""Weights set to zero, alone or in blocks of neighbours as the board reads them, so that they need not be stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

import numpy as np

from freeml.compression.channels import Channels
from freeml.compression.coarse import coarse_bits, weight_axes, with_all_bits
from freeml.ir.graph import Graph, QGraph, QOp, Stage
from freeml.ir.types import Array, FloatArray, IntArray
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import BLOCK, sparse_forms
from freeml.plan.layout import to_channels_last
from freeml.plan.storage import LARGEST_BYTES

SHARES: dict[int, tuple[float, ...]] = {1: (1 / 4, 1 / 8, 1 / 16), BLOCK: (1 / 2, 1 / 4, 1 / 8)}
"""What may be left of what there is in one step, by how many neighbours go together. Half of single weights takes more
bytes than all of them in 4 bits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zeros:
    """A way to set weights of a layer to zero: its constant's name, which may still differ from zero (bool, like the
    weights), and about how many bytes of flash it saves."""

    name: str
    mask: Array
    saved_bytes: int

    def apply(self, graph: Graph) -> Graph:
        """The graph with these zeros. A layer of few bits has all eight again: zeros are left out of those only."""
        graph = with_all_bits(graph, self.name)
        weights = np.where(self.mask, graph.constants[self.name], np.float32(0.0))
        return replace(graph, constants={**graph.constants, self.name: weights})


def board_rows(graph: Graph, integers: QGraph) -> dict[str, IntArray]:
    """The weights that can be read without their zeros, by constant name: for each dot product of the board its
    weights, in its order, as places in the flattened float array; int64 (rows, length).

    `integers` is the same net, quantized.
    """
    makers, trained = {stage.outputs[0]: stage for stage in graph.stages()}, weight_axes(graph)
    names: dict[tuple[str, int], str] = {}
    constants = dict(integers.constants)
    for key, op, stage in _linear(integers):
        name = makers[stage.outputs[0]].inputs[1]
        depthwise = isinstance(op, QConv) and op.depthwise
        if name not in trained or depthwise or op.wide or integers.types[stage.inputs[1]].dtype != "int8":
            continue
        names[key] = name
        places = np.arange(graph.constants[name].size).reshape(graph.constants[name].shape)
        constants[stage.inputs[1]] = places.T if isinstance(op, QDense) else np.moveaxis(places, 1, -1)
    planned = to_channels_last(replace(integers, constants=constants))  # it moves places as it moves weights
    found = {names[key]: planned.constants[stage.inputs[1]] for key, _, stage in _linear(planned) if key in names}
    return {name: array.reshape(len(array), -1) for name, array in found.items()}


def _linear(graph: QGraph) -> Iterator[tuple[tuple[str, int], QConv | QDense, Stage[QOp]]]:
    """Convolutions and dense layers, each with its node's name and its place there, which a change of layout keeps."""
    for node in graph.nodes:
        for place, stage in enumerate(node.stages):
            if isinstance(stage.op, (QConv, QDense)):
                yield (node.name, place), stage.op, stage


def ways_to_zero(
    graph: Graph, rows: Mapping[str, IntArray], masks: Mapping[str, Array], salience: Mapping[str, FloatArray]
) -> list[Zeros]:
    """Ways that save bytes: of each layer the least salient weights or blocks of what its mask leaves.

    `rows` are those of `board_rows`; `salience` (like the weights) says what each weight matters within its layer.
    """
    bits, found = coarse_bits(graph), []
    for name, places in rows.items():
        weights = graph.constants[name]
        left = masks.get(name, np.ones(weights.shape, dtype=bool)).ravel()[places]
        now = _bytes(left) if name in masks else weights.size * bits.get(name, 8) // 8
        matters = np.where(left, salience[name].ravel()[places], 0.0)
        for joined, shares in SHARES.items():
            for share in shares:
                kept = _most_salient(matters, left, joined, share)
                saved = now - _bytes(kept)
                if saved <= 0:
                    continue
                mask = np.zeros(weights.size, dtype=bool)
                mask[places] = kept
                found.append(Zeros(name=name, mask=mask.reshape(weights.shape), saved_bytes=saved))
    return found


def cut_masks(masks: Mapping[str, Array], channels: Channels, units: Set[int]) -> dict[str, Array]:
    """The masks of what is left of their weights when units of channels are removed."""
    gone, found = np.array(sorted(units), dtype=np.int64), dict(masks)
    for name in found:
        for cut in channels.cuts.get(name, ()):
            found[name] = np.compress(~np.isin(cut.ids, gone), found[name], axis=cut.axis)
    return found


def _most_salient(matters: FloatArray, left: Array, joined: int, share: float) -> Array:
    """Which weights stay, bool (rows, length), of those that are left; what fills no group at a row's end stays."""
    rows, length = left.shape
    whole = length // joined * joined
    kept: Array = left.copy()
    groups = matters[:, :whole].reshape(rows, -1, joined).sum(axis=2)
    live = left[:, :whole].reshape(rows, -1, joined).any(axis=2)
    order = np.argsort(np.where(live, -groups, np.inf), axis=None, kind="stable")
    stays = np.zeros(groups.size, dtype=bool)
    stays[order[: int(share * np.count_nonzero(live))]] = True
    kept[:, :whole] &= np.repeat(stays.reshape(groups.shape), joined, axis=1)
    return kept


def _bytes(kept: Array) -> int:
    """Flash that a layer takes without the zeros of a mask, bool (rows, length)."""
    sizes = [int(form.stored_bytes(kept)) for form in sparse_forms(kept)]
    return min((size for size in sizes if size <= LARGEST_BYTES), default=kept.size)
