"""Batch norms that stand behind a net's layers only while it is trained, and are folded back into them.

They start as what changes nothing, so that training goes on from the net that it was given.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.coarse import weight_axes
from freeml.ir.graph import Graph
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense

MOMENTUM = 0.05
"""What a batch changes the statistics by that are folded in the end."""

LEAST_ROWS = 16
"""Numbers of a channel in a batch that statistics are taken from; of fewer, those that are known already count."""

LEAST_VARIANCE = 1e-5
"""Added to a channel's variance, relative to the layer's mean (S. Ioffe and C. Szegedy, 2015)."""


def normed_layers(graph: Graph) -> dict[str, str]:
    """The layers that a norm can be folded into, their weights' constant names to those of their biases: each weight
    and bias used once, with another layer behind them."""
    uses = Counter(v for stage in graph.stages() for v in stage.inputs)
    alone, read, found = weight_axes(graph), set[str](), dict[str, str]()
    for stage in reversed(tuple(graph.stages())):
        layer = isinstance(stage.op, (Conv, Dense))
        if layer and stage.outputs[0] in read and len(stage.inputs) > 2:
            weights, bias = stage.inputs[1:3]
            if weights in alone and bias in graph.constants and uses[bias] == 1:
                found[weights] = bias
        if layer or read.intersection(stage.outputs):
            read.update(stage.inputs)
    return found


class Norm:
    """The batch norm of one layer: the logarithm of a gain for each channel, which is trained, and the statistics, for
    each part that batches are split into."""

    def __init__(self, raw: Tensor, bias: Tensor, parts: int) -> None:
        """As what changes nothing for the layer's output `raw` (n, channels, ...) before its `bias` (1, channels): that
        is added behind the norm from now on."""
        with torch.no_grad():
            axes = [axis for axis in range(raw.ndim) if axis != 1]
            mean, variance = raw.mean(dim=axes), raw.var(dim=axes, correction=0)
            self.least = LEAST_VARIANCE * float(variance.mean()) + 1e-30
            self.gains = (variance + self.least).sqrt().log()
            self.means, self.variances = mean.repeat(parts, 1), variance.repeat(parts, 1)
            bias += mean
        self.gains.requires_grad_()

    def __call__(self, raw: Tensor, bias: Tensor, part: int) -> Tensor:
        """The layer's output: by the statistics of this part of a batch where slopes are wanted, else by known ones."""
        of_batch = torch.is_grad_enabled() and raw.numel() >= LEAST_ROWS * raw.shape[1]
        return functional.batch_norm(
            raw, self.means[part], self.variances[part], self.gains.exp(), bias[0], of_batch, MOMENTUM, self.least
        )

    def folded(self, bias: Tensor) -> tuple[Tensor, Tensor]:
        """What each channel's weights are multiplied by, (channels,), and the bias for `bias`, both (1, channels)."""
        with torch.no_grad():
            scale = self.gains.exp() / (self.variances.mean(dim=0) + self.least).sqrt()
            return scale, bias - self.means.mean(dim=0) * scale
