"""Bias correction: the mean error that rounding the weights adds to each output channel is taken out of the bias.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2:
E[y~ - y] = (W~ - W) E[x], with E[x] observed on the calibration inputs.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from freeml.fixedpoint.rounding import round_half_up
from freeml.ir.graph import Graph, Op
from freeml.ir.rewrite import Editor
from freeml.ir.types import FloatArray, TensorType
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.quant.ranges import Observations


def rounded(weights: FloatArray, limit: int) -> FloatArray:
    """Weights (O, ...) rounded to symmetric integers of at most `limit` per output channel, as real numbers again."""
    scale = np.abs(weights.reshape(weights.shape[0], -1)).max(axis=1) / limit
    scale = np.where(scale > 0, scale, 1.0).reshape(-1, *(1,) * (weights.ndim - 1))
    return np.clip(round_half_up(weights / scale), -limit, limit) * scale


def correct_bias(graph: Graph, observations: Observations, weight_bits: int) -> Graph:
    """The graph with corrected biases. Layers whose weights bring their own format are left alone."""
    edit: Editor[Op, TensorType] = Editor.of(graph)
    limit = 127 if weight_bits == 8 else 32767
    for node in graph.nodes:
        stage = node.stages[0]
        if not isinstance(stage.op, (Conv, Dense)) or len(stage.inputs) < 3 or stage.inputs[1] in graph.brought:
            continue
        mean = observations.values[stage.inputs[0]].channel_mean
        weights = np.asarray(graph.constants[stage.inputs[1]], dtype=np.float64)
        if isinstance(stage.op, Dense):
            if weights.shape[0] != mean.size:
                continue  # the channel axis is not the one that is summed over
            error = (rounded(weights.T, limit) - weights.T) @ mean
        else:
            taps = (rounded(weights, limit) - weights).reshape(*weights.shape[:2], -1).sum(axis=2)
            outputs = weights.shape[0] // stage.op.group
            group = np.arange(weights.shape[0]) // outputs
            columns = group[:, np.newaxis] * weights.shape[1] + np.arange(weights.shape[1])
            error = (taps * mean[columns]).sum(axis=1)
        bias = np.asarray(graph.constants[stage.inputs[2]], dtype=np.float64) - error
        name = edit.add_constant(f"{stage.inputs[2]}_corrected", bias.astype(np.float32), TensorType(shape=bias.shape))
        current = next(n for n in edit.nodes if n.name == node.name)
        fixed = type(stage)(op=stage.op, inputs=(*stage.inputs[:2], name), outputs=stage.outputs)
        edit.replace(current, type(node)(name=node.name, stages=(fixed,), source=node.source))
    return cast(Graph, edit.finish())
