"""Accuracy of the float and of the integer net on labelled data."""

from __future__ import annotations

import numpy as np

from freeml.data import Dataset, Part, check_label_range
from freeml.errors import DataError
from freeml.ir.graph import Graph, QGraph, execute
from freeml.ir.types import Array
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.reshape import Reshape
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.transpose import Transpose
from freeml.quant.quantize import dequantize, quantize_input
from freeml.report.figures import Accuracy
from freeml.sim.trace import CHUNK, run_reference


def classes(graph: Graph | QGraph) -> int:
    """Classes that the first output tells apart, two by a single score; 0 when it is an index already (ArgMax)."""
    type_ = graph.types[graph.outputs[0]]
    return 0 if type_.dtype in ("int64", "int32") else max(2, type_.size)


def decision_point(graph: Graph) -> float | None:
    """The score above which a first output of one real number means class 1 and not class 0; None for other outputs.

    Half for a probability (the output of a sigmoid), zero for a logit (that of anything else).
    """
    value = graph.outputs[0]
    if graph.types[value].dtype == "int64" or graph.types[value].size != 1:
        return None
    stage = next(s for s in graph.stages() if value in s.outputs)
    while isinstance(stage.op, (Reshape, Transpose)):
        before = next((s for s in graph.stages() if stage.inputs[0] in s.outputs), None)
        if before is None:
            break
        stage = before
    return 0.5 if isinstance(stage.op, (Sigmoid, HardSigmoid)) else 0.0


def check_dataset(graph: Graph, dataset: Dataset) -> None:
    """Raise DataError when the net has several inputs or labels do not name classes of its first output."""
    if len(graph.inputs) != 1:
        raise DataError(
            f"expected a net with one input to go with x_train and x_test, found inputs {', '.join(graph.inputs)}; "
            "compile without --data"
        )
    count = classes(graph)
    if count > 0:
        for name, part in (("y_train", dataset.train), ("y_val", dataset.val), ("y_test", dataset.test)):
            check_label_range(part, count, name)


def predictions(scores: Array, threshold: float | None) -> Array:
    """Class per sample: the first largest score; of one number 1 above the threshold, the index itself without one."""
    flat = scores.reshape(scores.shape[0], -1)
    found: Array
    if flat.shape[1] > 1:
        found = flat.argmax(axis=1)
    else:
        found = flat[:, 0] if threshold is None else (flat[:, 0] > threshold).astype(np.int64)
    return found


def as_input(graph: Graph | QGraph, x: Array) -> Array:
    """Samples with the batch axis that the graph's input type has."""
    return x.reshape(x.shape[0], *graph.types[graph.inputs[0]].shape)


def float_predictions(graph: Graph, x: Array) -> Array:
    """Classes by the float graph."""
    name, threshold = graph.inputs[0], decision_point(graph)
    chunks = [
        predictions(execute(graph, {name: as_input(graph, x[i : i + CHUNK])})[graph.outputs[0]], threshold)
        for i in range(0, len(x), CHUNK)
    ]
    return np.concatenate(chunks)


def quantized_predictions(graph: QGraph, x: Array, threshold: float | None) -> Array:
    """Classes by the integer reference; `threshold` is the decision point of the float net."""
    name, output = graph.inputs[0], graph.outputs[0]
    integers = quantize_input(as_input(graph, x), graph.types[name])
    found = run_reference(graph, {name: integers}).values[output]
    return predictions(dequantize(found, graph.types[output]), threshold)


def drop(graph: Graph, qgraph: QGraph, part: Part) -> float:
    """Share of accuracy (0..1) that the integer net loses on a part of the data; negative when it gains."""
    exact = float((float_predictions(graph, part.x) == part.y).mean())
    return exact - float((quantized_predictions(qgraph, part.x, decision_point(graph)) == part.y).mean())


def right_answers(graph: Graph, qgraph: QGraph, part: Part) -> tuple[Array, Array]:
    """Which samples the float and the integer net answer right, each (n,) bool."""
    threshold = decision_point(graph)
    return float_predictions(graph, part.x) == part.y, quantized_predictions(qgraph, part.x, threshold) == part.y


def accuracy(graph: Graph, right: tuple[Array, Array] | None) -> Accuracy:
    """Accuracy from the right answers on the whole test part, or the plain statement that there are none."""
    threshold = decision_point(graph)
    if right is None:
        split = "none: no data was given, accuracy is unverified"
        return Accuracy(float=None, quantized=None, samples=0, split=split, threshold=threshold)
    return Accuracy(
        float=float(right[0].mean()), quantized=float(right[1].mean()), samples=len(right[0]), split="test",
        threshold=threshold,
    )  # fmt: skip
