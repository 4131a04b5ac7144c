"""Whether data can teach a net what it is for."""

from __future__ import annotations

from math import sqrt

import numpy as np

from freeml.compression.budget import Z95
from freeml.data import Dataset
from freeml.errors import DataError
from freeml.evaluate import float_predictions
from freeml.ir.graph import Graph


def check_task(graph: Graph, dataset: Dataset) -> None:
    """Raise DataError for labels of one class, and for data on which the net does no better than guessing.

    Guessing is told by the mean share of right answers over the classes (balanced accuracy): whoever always says the
    same, or draws lots, has one in as many as there are classes, however often each occurs.
    """
    for name, labels, what in (("y_train", dataset.train.y, "train with"), ("y_val", dataset.val.y, "tell a drop by")):
        found = np.unique(labels)
        if len(found) < 2:
            raise DataError(
                f"{name}: expected labels of at least two classes to {what}, found class {int(found[0])} alone; "
                "give data of every class"
            )
    right = float_predictions(graph, dataset.val.x) == dataset.val.y
    shares = np.array([right[dataset.val.y == label].mean() for label in found])
    counts = np.array([(dataset.val.y == label).sum() for label in found])
    reach = Z95 * sqrt(float((shares * (1 - shares) / counts).sum())) / len(found)
    if float(shares.mean()) - reach <= 1 / len(found):
        raise DataError(
            f"the net answers {right.mean():.1%} of {len(right):,} validation samples right, {shares.mean():.1%} in "
            f"the mean over {len(found)} classes, which cannot be told from guessing: expected data of the task that "
            "it was trained for; look at the scale and layout of the samples and at the numbering of the classes"
        )
