"""The maps of the integer backbone, fast: the integers of the reference, computed by torch where that pays.

Training looks at every sample, and the reference takes milliseconds for one. Convolutions are done in the narrowest
floats that hold every partial sum, a maximum is taken before the rescaling where one follows (which keeps the order),
and everything else is the reference itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.fixedpoint.rounding import Requant
from freeml.ir.graph import Node, QGraph, QOp, Stage
from freeml.ir.types import Array, IntArray
from freeml.ops.conv import QConv
from freeml.ops.maxpool import QMaxPool
from freeml.ops.windows import Window

CHUNK_ELEMENTS = 500_000
"""Elements of the largest value that are worked on at a time: few enough to stay near the processor."""


def maps_of(qgraph: QGraph, inputs: IntArray, wanted: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """The integers of `wanted` as float32 tensors (chunk, *shape), chunk by chunk.

    `inputs` are those of the graph's one input, (samples, *shape). Equal to what `run_reference` finds.
    """
    largest = max(qgraph.types[v].size for stage in qgraph.stages() for v in stage.outputs)
    rows = max(1, CHUNK_ELEMENTS // largest)
    for start in range(0, len(inputs), rows):
        values = {qgraph.inputs[0]: _tensor(inputs[start : start + rows])}
        for node in qgraph.nodes:
            _run(qgraph, node, values)
        yield {name: values[name] for name in wanted}


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _run(qgraph: QGraph, node: Node[QOp], values: dict[str, Tensor]) -> None:
    """Add what the node makes to `values`."""
    stages = list(node.stages)
    while stages:
        stage = stages.pop(0)
        if isinstance(stage.op, QConv) and len(stage.op.window.kernel) in (1, 2) and not stage.op.channels_last:
            sums, out = _products(qgraph, stage.op, stage, values[stage.inputs[0]]), stage.outputs[0]
            if stages and isinstance(stages[0].op, QMaxPool) and _plain(stages[0].op.window):
                pool = stages.pop(0)
                assert isinstance(pool.op, QMaxPool)
                sums, out = _largest(pool.op.window, sums), pool.outputs[0]
            values[out] = _rescaled(stage.op.requant, sums, qgraph.constants[stage.inputs[2]])
            continue
        arguments = tuple(
            values[v].numpy().astype(np.int64) if v in values else qgraph.constants[v][np.newaxis] for v in stage.inputs
        )
        for name, array in zip(stage.outputs, stage.op.run(arguments), strict=True):
            values[name] = _tensor(array)


def _products(qgraph: QGraph, op: QConv, stage: Stage[QOp], x: Tensor) -> Tensor:
    """The accumulators without their biases, (samples, channels, *out), exact, in floats."""
    weights = qgraph.constants[stage.inputs[1]]
    if op.depthwise:  # (*kernel, channels)
        kernel = np.moveaxis(weights.reshape(*op.window.kernel, -1), -1, 0)[:, np.newaxis]
    else:  # (outputs, *kernel, channels of a group)
        kernel = np.moveaxis(weights.reshape(len(weights), *op.window.kernel, -1), -1, 1)
    reach = max(float(x.abs().max()), abs(op.pad_value)) * float(np.abs(kernel).reshape(len(kernel), -1).sum(1).max())
    dtype = torch.float32 if reach < 2**24 else torch.float64
    x = x[:, 0].to(dtype)
    if any(pad != (0, 0) for pad in op.window.pads):
        x = functional.pad(x, [n for pair in reversed(op.window.pads) for n in pair], value=float(op.pad_value))
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)  # twice as fast, the pool behind it more than that
    convolve = functional.conv1d if len(op.window.kernel) == 1 else functional.conv2d
    filters = torch.from_numpy(kernel.astype(np.float64)).to(dtype)
    with torch.backends.nnpack.flags(enabled=False):  # its transforms would not be exact
        return convolve(x, filters, stride=op.window.strides, dilation=op.window.dilations, groups=op.group)


def _plain(window: Window) -> bool:
    """Whether torch pools by this window as it is."""
    pads = all(pad == (0, 0) for pad in window.pads)
    return pads and not window.ceil_mode and all(d == 1 for d in window.dilations) and len(window.kernel) in (1, 2)


def _largest(window: Window, sums: Tensor) -> Tensor:
    pool = functional.max_pool1d if len(window.kernel) == 1 else functional.max_pool2d
    return pool(sums, window.kernel, window.strides)


def _rescaled(requant: Requant, products: Tensor, bias: IntArray) -> Tensor:
    """What `Requant.apply` gives of the sums with their biases, with the batch axis back and as float32."""
    spatial = (1,) * (products.ndim - 2)
    sums = products.to(torch.int64) + torch.from_numpy(bias.astype(np.int64)).reshape(-1, *spatial)
    shifted = sums << requant.pre_shift if requant.pre_shift >= 0 else sums >> -requant.pre_shift
    high = (shifted * torch.tensor(requant.multipliers, dtype=torch.int64).reshape(-1, *spatial)) >> 32
    rounded = (high + (1 << (requant.shift - 1))) >> requant.shift  # a shift is 1 or more
    return (rounded + requant.zero_point).clamp(requant.low, requant.high).to(torch.float32)[:, np.newaxis]
