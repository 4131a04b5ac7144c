"""Where a classifier's scores are read for training: before the softmax, sigmoid or ArgMax that ends it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from freeml.errors import DataError
from freeml.evaluate import decision_point
from freeml.ir.graph import Graph
from freeml.ops.argmax import ArgMax
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.reshape import Reshape
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.softmax import Softmax
from freeml.ops.transpose import Transpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`value` holds one logit for each class, or one logit of class 1, which is taken above `threshold`."""

    value: str
    classes: int
    threshold: float

    def logits(self, values: dict[str, Tensor]) -> Tensor:
        """(samples, classes) of what a twin gave; the largest is the class that `evaluate` predicts."""
        found = values[self.value].flatten(1)
        if found.shape[1] > 1:
            return found
        score = found - self.threshold
        return torch.cat([torch.zeros_like(score), score], dim=1)


def find_head(graph: Graph) -> Head:
    """The head of the first output. Raises DataError where that is no score of classes."""
    value = graph.outputs[0]
    makers = {out: stage for stage in graph.stages() for out in stage.outputs}
    index = graph.types[value].dtype == "int64"
    point = decision_point(graph)
    threshold = point or 0.0
    while value in makers:
        stage = makers[value]
        source = stage.inputs[0]
        one_axis = max(graph.types[source].shape, default=1) == graph.types[source].size
        passes = (Softmax, LogSoftmax, ArgMax, Sigmoid, Reshape, Transpose)
        if not one_axis or not isinstance(stage.op, (*passes, HardSigmoid)) or source in graph.constants:
            break
        if isinstance(stage.op, Sigmoid):
            threshold = 0.0  # where the sigmoid is a half
        elif isinstance(stage.op, HardSigmoid):
            if point is None or stage.op.alpha <= 0:
                break
            threshold = (0.5 - stage.op.beta) / stage.op.alpha
        index = index and not isinstance(stage.op, ArgMax)
        value = source
    if index:
        raise DataError(
            f"output {graph.outputs[0]}: expected an index over all scores to train towards, found one along an axis "
            f"of {graph.types[value].shape}; compile it without --flash and --ram"
        )
    return Head(value=value, classes=max(2, graph.types[value].size), threshold=threshold)
