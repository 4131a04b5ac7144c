"""What is said of a firmware beside its sizes: figures of its plan, how it became integers, and notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from freeml import evaluate
from freeml.compression.budget import drop_interval
from freeml.data import Dataset
from freeml.ir.graph import Graph
from freeml.ir.types import ITEM_BYTES, Array
from freeml.plan.memory import arena_alignment, unfused_bytes
from freeml.quant.choose import Choice
from freeml.quant.quantize import Precision, formats_not_kept
from freeml.report import figures
from freeml.targets import Board

if TYPE_CHECKING:
    from freeml.compression.search import Compressed
    from freeml.making import Made
    from freeml.options import Options
    from freeml.pipeline import Prepared


def arena_figures(imported: Graph, firmware: Made, board: Board) -> figures.Arena:
    """The arena, and what that of the net as it was `imported` would take."""
    memory, qgraph, known = firmware.memory, firmware.qgraph, firmware.choice.qgraph.types
    step = min(max(memory.peak_step, 0), len(qgraph.nodes) - 1)

    def item_bytes(value: str) -> int:
        if imported.types[value].dtype != "float32":
            return ITEM_BYTES["int32"]
        return ITEM_BYTES[known[value].dtype if value in known else firmware.precision.default]

    return figures.Arena(
        bytes=memory.arena_bytes, lower_bound_bytes=memory.lower_bound_bytes, peak_layer=qgraph.nodes[step].name,
        unfused_bytes=unfused_bytes(imported, item_bytes, arena_alignment(board)),
    )  # fmt: skip


def twice_notes(firmware: Made, layers: Sequence[figures.Layer]) -> tuple[str, ...]:
    """A note on every layer that is computed twice."""
    program = firmware.intermittent.built.program
    names, costs = {layer.value: layer.name for layer in program.layers}, {layer.name: layer for layer in layers}
    return tuple(
        f"layer {names[copy]} computes {value} a second time, which takes less memory than keeping it: "
        f"{costs[names[copy]].predicted_cost or 0:,} of {sum(row.predicted_cost or 0 for row in layers):,} predicted"
        for copy, value in firmware.again.items()
    )


def quantization_figures(choice: Choice, precision: Precision, options: Options, origin: str) -> figures.Quantization:
    """How the net became integers."""
    return figures.Quantization(
        precision=options.precision if options.precision != "auto" else f"auto ({precision.default})",
        weight_bits=precision.weight_bits,
        widened=tuple(sorted(precision.widths)),
        chosen=choice.chosen,
        trials=tuple((trial.name, trial.error) for trial in choice.trials),
        calibration=origin,
    )


def notes(
    imported: Graph, graph: Graph, dataset: Dataset | None, options: Options, *, with_vectors: bool
) -> tuple[str, ...]:
    """What a user should know that no figure tells."""
    found = [f"input {name} is left out: no output depends on it" for name in imported.unread]
    found += formats_not_kept(graph, options.weight_bits)
    threshold = evaluate.decision_point(graph)
    if dataset is None:
        found.append("accuracy is unverified: no data was given, calibration inputs were made from the graph")
    elif threshold is not None:
        found.append(f"the one output is taken for the score of class 1: above {threshold:g} it is, else class 0")
    if dataset is None and options.budget is not None:
        found.append(
            f"{options.budget.words()} is met by what needs no training; how much accuracy it costs is unknown"
        )
    if not with_vectors:
        found.append("the self-test program holds no test vectors: beside the net there is no room for any")
    return tuple(found)


def exit_figures(
    firmware: Made, dataset: Dataset | None
) -> tuple[tuple[figures.ExitFigures, ...], figures.BranchFigures | None, figures.PolicyFigures | None]:
    """What the exits are and do on the test part; nothing where there are none."""
    if firmware.exiting is None or dataset is None:
        return (), None, None
    from freeml.exits.exiting import figures_of

    return figures_of(firmware.exiting, firmware.intermittent.built.program, dataset.test)


def compression_figures(
    prepared: Prepared, found: Compressed[Made] | None, right: tuple[Array, Array] | None
) -> figures.Compression | None:
    """What the search changed; None when there was none. The bytes before are those of the model as it came."""
    budget, dataset = prepared.options.budget, prepared.dataset
    if found is None or dataset is None or right is None or budget is None:
        return None
    before = evaluate.float_predictions(prepared.graph, dataset.test.x) == dataset.test.y
    bytes_before = 4 * sum(array.size for array in prepared.imported.constants.values() if array.dtype == np.float32)
    bytes_after = found.built.intermittent.built.measured.bytes.weights
    return figures.Compression(
        method=budget.method,
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        ratio=bytes_before / max(1, bytes_after),
        accuracy_before=float(before.mean()),
        accuracy_after=float(right[1].mean()),
        drop=float(before.mean() - right[1].mean()),
        interval=drop_interval(before, right[1]),
        rounds=found.rounds,
    )
