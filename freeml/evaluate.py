"""Accuracy of the float and of the integer net on labelled data."""

from __future__ import annotations

import numpy as np

from freeml.data import Dataset, Part, check_label_range
from freeml.errors import DataError
from freeml.ir.graph import Graph, QGraph, execute
from freeml.ir.types import Array
from freeml.quant.quantize import quantize_input
from freeml.report.figures import Accuracy
from freeml.sim.trace import CHUNK, run_reference


def classes(graph: Graph) -> int:
    """Classes that the first output tells apart; 0 when it is an index already (ArgMax)."""
    type_ = graph.types[graph.outputs[0]]
    return 0 if type_.dtype == "int64" else type_.size


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


def predictions(scores: Array) -> Array:
    """Class per sample: the first largest score, or the index itself."""
    flat = scores.reshape(scores.shape[0], -1)
    return flat[:, 0] if flat.shape[1] == 1 else flat.argmax(axis=1)


def as_input(graph: Graph | QGraph, x: Array) -> Array:
    """Samples with the batch axis that the graph's input type has."""
    return x.reshape(x.shape[0], *graph.types[graph.inputs[0]].shape)


def float_predictions(graph: Graph, x: Array) -> Array:
    """Classes by the float graph."""
    name = graph.inputs[0]
    chunks = [
        predictions(execute(graph, {name: as_input(graph, x[i : i + CHUNK])})[graph.outputs[0]])
        for i in range(0, len(x), CHUNK)
    ]
    return np.concatenate(chunks)


def quantized_predictions(graph: QGraph, x: Array) -> Array:
    """Classes by the integer reference."""
    name = graph.inputs[0]
    integers = quantize_input(as_input(graph, x), graph.types[name])
    return predictions(run_reference(graph, {name: integers}).values[graph.outputs[0]])


def drop(graph: Graph, qgraph: QGraph, part: Part) -> float:
    """Share of accuracy (0..1) that the integer net loses on a part of the data; negative when it gains."""
    exact = float((float_predictions(graph, part.x) == part.y).mean())
    return exact - float((quantized_predictions(qgraph, part.x) == part.y).mean())


def accuracy(graph: Graph, qgraph: QGraph, dataset: Dataset | None) -> Accuracy:
    """Accuracy on the whole test part, or the plain statement that there is none."""
    if dataset is None:
        return Accuracy(float=None, quantized=None, samples=0, split="none: no data was given, accuracy is unverified")
    test = dataset.test
    return Accuracy(
        float=float((float_predictions(graph, test.x) == test.y).mean()),
        quantized=float((quantized_predictions(qgraph, test.x) == test.y).mean()),
        samples=len(test),
        split="test",
    )
