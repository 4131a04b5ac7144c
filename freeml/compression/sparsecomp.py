"""SparseComp, the published way to sparse weights, as the baseline that the joint search is compared with.

1. The largest layers are factorized while they exceed 80 kB of float weights: convolutions by Tucker-2 with ranks that
   variational Bayes estimates, dense layers by truncated singular value decomposition; each layer once.
2. Until the net meets the size target, the largest layer that is not *fragile* (values and indices counted) loses a
   part of its weights, the smallest, and the net is retrained with what was lost held at zero after every optimizer
   step. A step that costs 5 points of validation accuracy or more is taken back, and its layer is fragile. When all
   layers are, the largest is forced.

The published code chose its epochs on the test part; here the validation part decides, and the test part is not read.
Training is that of the joint search (distillation, the epoch of least validation loss), weights become int8 at the end
as everywhere in freeml, and the size target follows from the budget and the images that were built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log
from typing import Generic

import numpy as np

from freeml.compression.allocate import Estimator
from freeml.compression.budget import Budget
from freeml.compression.coarse import without_formats
from freeml.compression.factors import split_dense, tucker
from freeml.compression.front import relaxed
from freeml.compression.recipe import PLANS, first_recipe
from freeml.compression.search import BUILD_EPOCHS, CORRECTIONS, B, Compressed, _Search
from freeml.compression.task import check_task
from freeml.compression.train import one_thread, right_answers
from freeml.compression.vbmf import vbmf_rank
from freeml.data import Dataset
from freeml.errors import CompressionError
from freeml.fixedpoint.rounding import round_half_up
from freeml.ir.graph import Graph
from freeml.ir.types import Array, FloatArray, IntArray
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.plan.storage import fewest_bytes
from freeml.report.figures import CompressionRound

FACTORIZED_ABOVE_BYTES = 80_000
"""Float32 weights of a layer that is factorized first."""

FRAGILE_POINTS = 5.0
"""Validation accuracy that a step may not cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`kept`: share of a layer's weights that a step leaves; `epochs` of retraining after it."""

    kept: float
    epochs: int


PACES = {
    "quick": Pace(kept=0.5, epochs=3),
    "normal": Pace(kept=0.7, epochs=8),
    "thorough": Pace(kept=0.8, epochs=20),
}

STEP_SHARE = 0.02
"""Of what an effort may compute, for one step at most."""


def sparsecomp(
    graph: Graph,
    dataset: Dataset,
    budget: Budget,
    *,
    attempt: Callable[[Graph], B],
    estimator: Estimator,
    seed: int,
    show: Callable[[str, float], None],
    on_round: Callable[[CompressionRound], None] = lambda _: None,
) -> Compressed[B]:
    """What `study.compress` does, by SparseComp and in one go; the same arguments and errors."""
    check_task(graph, dataset)
    with one_thread():
        return _SparseComp(graph, dataset, budget, attempt, estimator, seed, show, on_round).run()


def large_layers(graph: Graph, above_bytes: int = FACTORIZED_ABOVE_BYTES) -> tuple[str, ...]:
    """Names of the dense layers and ungrouped convolutions with more float32 bytes of weights, the largest first."""
    sizes = {
        node.name: graph.constants[node.stages[0].inputs[1]].size
        for node in graph.nodes
        if isinstance(node.op, Dense) or (isinstance(node.op, Conv) and node.op.group == 1)
        if all(v in graph.constants for v in node.stages[0].inputs[1:])
    }
    return tuple(name for name in sorted(sizes, key=lambda n: (-sizes[n], n)) if 4 * sizes[name] > above_bytes)


def factorized(graph: Graph, name: str) -> Graph | None:
    """Step 1 for a layer; None where its ranks save no weights.

    Where nothing stands out of the noise (an estimate of 0) the rank stays full.
    """
    stage = next(n for n in graph.nodes if n.name == name).stages[0]
    weights = graph.constants[stage.inputs[1]]
    if isinstance(stage.op, Dense):
        smaller = split_dense(graph, name, vbmf_rank(weights) or min(weights.shape))
    else:
        by_input = np.moveaxis(weights, 1, 0).reshape(weights.shape[1], -1)
        by_output = weights.reshape(len(weights), -1)
        smaller = tucker(graph, name, vbmf_rank(by_input) or len(by_input), vbmf_rank(by_output) or len(by_output))
    return smaller if _parameters(smaller) < _parameters(graph) else None


def weight_arrays(graph: Graph) -> dict[str, int]:
    """By constant name, the weights of dense layers and convolutions, with the axis of their output channels."""
    return {
        stage.inputs[1]: 1 if isinstance(stage.op, Dense) else 0
        for stage in graph.stages()
        if isinstance(stage.op, (Conv, Dense)) and stage.inputs[1] in graph.constants
    }


def integers(weights: FloatArray, channel_axis: int, bits: int) -> IntArray:
    """Weights as the quantizer rounds them: symmetric, a scale for each output channel. A zero stays one."""
    limit = 127 if bits == 8 else 32767
    rows = np.moveaxis(np.asarray(weights, dtype=np.float64), channel_axis, 0)
    largest = np.abs(rows).max(axis=tuple(range(1, rows.ndim)), keepdims=True, initial=0.0)
    return round_half_up(rows / np.where(largest > 0, largest / limit, 1.0))


def largest_mask(weights: FloatArray, count: int) -> Array:
    """(like `weights`) bool: the `count` weights of largest magnitude; of equal ones the first."""
    order = np.argsort(-np.abs(weights), axis=None, kind="stable")
    mask = np.zeros(weights.size, dtype=bool)
    mask[order[:count]] = True
    return mask.reshape(weights.shape)


class _SparseComp(_Search[B], Generic[B]):
    """The state of one search. `masks` say which weights of a layer are left, `fragile` names weights."""

    def __init__(
        self,
        graph: Graph,
        dataset: Dataset,
        budget: Budget,
        attempt: Callable[[Graph], B],
        estimator: Estimator,
        seed: int,
        show: Callable[[str, float], None],
        on_round: Callable[[CompressionRound], None],
    ) -> None:
        recipe = first_recipe(budget.effort)
        super().__init__(graph, dataset, budget, attempt, estimator, seed, show, recipe, None, lambda _: None, on_round)
        self.bits = estimator.precision.weight_bits
        self.pace, self.plan = PACES[budget.effort], PLANS[budget.effort]
        self.fragile: set[str] = set()
        self.steps = 0
        self.rest = 0  # bytes of the firmware that are not weights, as the last build had them

    def run(self) -> Compressed[B]:
        """See `sparsecomp`."""
        built = self._build_or_none("the net as it is")
        if built is not None and not self.budget.misses(built.flash_bytes, built.ram_bytes) and self._kept(built):
            return self._result(built)
        self.graph = without_formats(self.graph)
        self._factorize()
        if self.steps > 0:
            built = self._build_or_none("the factorized net")
        for number in range(CORRECTIONS):
            self._learn_rest(built)
            beyond = self.rest >= self.flash_limit or (built is not None and built.ram_bytes > self.ram_limit)
            if beyond or not self._sparsify():
                break
            if number == 0:
                self._retrain("sparsecomp: retraining", self.steps)
            else:
                self._train("sparsecomp: retraining", self.pace.epochs, self.steps, share=STEP_SHARE)
            built = self._build_or_none("the sparse net")
            if built is not None and not self.budget.misses(built.flash_bytes, built.ram_bytes):
                if not self._kept(built):
                    raise self._failure(built)
                return self._result(built)
        ram = "" if built is None else f", and RAM {built.ram_bytes:,} B"
        raise CompressionError(
            f"the budget {self.budget.words()} is not met by any firmware that was built: SparseComp lowers the "
            f"bytes of weights only; what is not weights takes flash {self.rest:,} B{ram}\n{self._table()}\n"
            "raise the budget, or take --method joint",
            self._details(relaxed(self.rounds, self.budget, before=float(self.before.mean()), drop=None)),
        )

    # --- steps --------------------------------------------------------------------------------------------------------

    def _factorize(self) -> None:
        for name in large_layers(self.graph):
            smaller = factorized(self.graph, name)
            if smaller is not None:
                self.steps += 1
                self.graph = smaller
                self._train("sparsecomp: factorized", self.pace.epochs, self.steps, share=STEP_SHARE)
                self._record(None)

    def _sparsify(self) -> bool:
        """Lower densities until the weights meet their target; False when no layer has a weight to lose."""
        target = self.flash_limit - self.rest
        first = sum(self.sizes().values())
        if first > target > 0:  # how long it may take, for the time left
            steps = len(self.sizes()) * ceil(log(target / first) / log(self.pace.kept))
            self.work = self.done + steps * self.pace.epochs + self.plan.last + BUILD_EPOCHS
        while sum(self.sizes().values()) > target:
            name = self._next()
            if name is None:
                return False
            self._lower(name)
        return True

    def _next(self) -> str | None:
        """The largest layer that is not fragile; the largest of all when all that can lose a weight are."""
        sizes = {name: size for name, size in self.sizes().items() if self._left(name) > 1}
        free = {name: size for name, size in sizes.items() if name not in self.fragile}
        return max(free or sizes, key=lambda name: ((free or sizes)[name], name), default=None)

    def _lower(self, name: str) -> None:
        """One step for one layer; taken back where it shows that the layer is fragile."""
        before, graph, masks = self._accuracy(), self.graph, dict(self.masks)
        self.steps += 1
        count = max(1, int(self.pace.kept * self._left(name)))
        self.masks[name] = largest_mask(graph.constants[name], count)
        thresholded = np.where(self.masks[name], graph.constants[name], np.float32(0.0))
        self.graph = replace(graph, constants={**graph.constants, name: thresholded})
        self._train(f"sparsecomp: step {self.steps}", self.pace.epochs, self.steps, share=STEP_SHARE)
        forced = name in self.fragile
        if not forced and 100 * (before - self._accuracy()) >= FRAGILE_POINTS - 1e-9:
            self.fragile.add(name)
            self.graph, self.masks = graph, masks
            return
        need = self.estimator.need(self.graph)
        self.rounds.append(
            CompressionRound(
                flash=self.rest + sum(self.sizes().values()),
                ram=need.ram,
                cycles=need.cycles,
                validation=self._accuracy(),
                built=False,
            )
        )
        self.on_round(self.rounds[-1])

    # --- bytes --------------------------------------------------------------------------------------------------------

    def sizes(self) -> dict[str, int]:
        """Bytes of each layer's weights and indices, by constant name."""
        found = {}
        for name, axis in weight_arrays(self.graph).items():
            rows = integers(self.graph.constants[name], axis, self.bits)
            found[name] = fewest_bytes(rows.reshape(len(rows), -1)) if self.bits == 8 else 2 * rows.size
        return found

    def _left(self, name: str) -> int:
        mask = self.masks.get(name)
        return int(mask.sum()) if mask is not None else self.graph.constants[name].size

    def _learn_rest(self, built: B | None) -> None:
        """From a firmware, or where none fits the board, from its plan and then by ever more."""
        stored = sum(self.sizes().values())
        if built is not None:
            self.rest = built.flash_bytes - stored
        else:
            self.rest = max(self.rest + 256, self.estimator.need(self.graph).flash - stored)

    def _accuracy(self) -> float:
        return float(right_answers(self.graph, self.head, self.validation).mean())


def _parameters(graph: Graph) -> int:
    return sum(array.size for array in graph.constants.values())
