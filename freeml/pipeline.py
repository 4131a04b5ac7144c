"""The straight line from an ONNX file to a firmware folder, on one screen (see docs/ARCHITECTURE.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from freeml import evaluate
from freeml.arranging import Again
from freeml.artifact import REPORT, Artifact, artifact_files, check_output_folder
from freeml.compression.budget import Budget
from freeml.data import Dataset, load_dataset
from freeml.describing import (
    arena_figures,
    compression_figures,
    exit_figures,
    notes,
    quantization_figures,
    twice_notes,
)
from freeml.errors import FreemlError
from freeml.frontend.onnx_reader import import_onnx
from freeml.frontend.qdq import to_qdq
from freeml.ir.graph import Graph
from freeml.ir.types import Array
from freeml.making import Made, Progress, asked_precision, make, quantize_graph, sha256
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.plan.cost import load_cost_model
from freeml.quant.quantize import Precision
from freeml.quant.synthetic import synthetic_inputs
from freeml.report import figures
from freeml.searching import SearchProgress, search, search_folder
from freeml.sim.trace import without_rule
from freeml.targets import get as get_board
from freeml.toolchains import find
from freeml.version import VERSION
from freeml.work import layer_table, macs_by_value

if TYPE_CHECKING:
    from freeml.compression.search import Compressed


CALIBRATION_SAMPLES = 256

JOINT = "net and exits were trained together: the float accuracy is that of the net before, the integer one that after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model file and its data, ready to be compiled: `imported` as it was read, `graph` after the passes.

    `calibration` holds inputs (samples, *shape) by name, of the training part; `origin` says where they come from.
    """

    model: Path
    options: Options
    imported: Graph
    graph: Graph
    dataset: Dataset | None
    calibration: Mapping[str, Array]
    origin: str

    def made(self, graph: Graph, say: Progress = lambda _: None, again: Again = "needed") -> Made:
        """The firmware of a float graph after the passes."""
        return make(graph, self.model, self.calibration, self.dataset, self.options, say, again)

    def precision(self) -> Precision:
        """That the net takes before it is compressed; what a search plans with, and rounds to in training."""
        if self.options.precision != "auto":
            return asked_precision(self.options)
        return quantize_graph(self.graph, self.calibration, self.dataset, self.options)[1]


def compile_model(
    model: Path,
    *,
    options: Options,
    data: Path | Mapping[str, Array] | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
    search_progress: SearchProgress | None = None,
    storage: str | None = None,
    on_round: Callable[[figures.CompressionRound], None] | None = None,
) -> Artifact:
    """Compile an ONNX file; write the firmware folder `output` when given. Every error is a FreemlError.

    `data` is a .npz file, or its arrays by name. Its test part is read once, for the accuracy of the report;
    calibration sees the training part only, a search for a budget the training and the validation part. `storage` is
    the URL of a database in which several processes share that search; `on_round` hears of every net that it looks at.
    A search that is interrupted is kept beside `output`, and goes on from there in the next call.
    """
    say = progress or (lambda _: None)
    if output is not None:
        check_output_folder(output)
    if storage is not None and options.budget is None:
        raise FreemlError("--storage: expected a budget to search for, found none; add --flash, --ram or --energy")
    prepared = prepare(model, options, data, say)
    if options.budget is None or data is None:
        firmware = prepared.made(prepared.graph, say)
        if options.budget is not None:
            if storage is not None or options.budget.trials is not None:
                raise FreemlError("--storage and --trials: expected --data to search with, found none; add it")
            _check_without_data(options.budget, firmware)
        artifact = report(prepared, None, firmware, say)
        clear: Callable[[], None] = lambda: None  # noqa: E731
    else:
        found, clear = search(
            prepared, options.budget, keep=None if output is None else search_folder(output), storage=storage,
            show=search_progress or (lambda *_: None), on_round=on_round or (lambda _: None),
        )  # fmt: skip
        artifact = report(prepared, found, found.built, say)
    if output is not None:
        say("write")
        artifact.write(output)
    clear()
    return artifact


def prepare(
    model: Path, options: Options, data: Path | Mapping[str, Array] | None, say: Progress = lambda _: None
) -> Prepared:
    """Read the model and the data, and check that they go together."""
    get_board(options.target)
    say("import")
    imported = import_onnx(model)
    graph = run_passes(imported, PASSES)
    dataset = load_dataset(data, graph.types[graph.inputs[0]].shape, seed=options.seed) if data is not None else None
    if dataset is not None:
        evaluate.check_dataset(graph, dataset)
    calibration, origin = calibration_inputs(imported, dataset, options.seed)
    return Prepared(
        model=model, options=options, imported=imported, graph=graph, dataset=dataset, calibration=calibration,
        origin=origin,
    )  # fmt: skip


def report(prepared: Prepared, found: Compressed[Made] | None, firmware: Made, say: Progress) -> Artifact:
    """The artifact of a firmware, with its figures. Reads the test part."""
    options, dataset, board = prepared.options, prepared.dataset, get_board(prepared.options.target)
    graph = prepared.graph if found is None else found.graph
    choice, qgraph, built = firmware.choice, firmware.qgraph, firmware.intermittent.built
    say("evaluate")
    right = None if dataset is None else evaluate.right_answers(graph, without_rule(qgraph), dataset.test)
    exits, branch, policy = exit_figures(firmware, dataset)
    costs = load_cost_model(board.name, find(board, options.toolchain).kind)
    layers = layer_table(choice.graph, qgraph, built.program, costs)
    document = figures.Report(
        generator=f"freeml {VERSION}",
        model=prepared.model.name,
        model_sha256=sha256(prepared.model),
        graph_sha256=firmware.graph_sha256,
        seed=options.seed,
        target=board.name,
        toolchain=built.measured.result.toolchain,
        params=sum(array.size for array in graph.constants.values()),
        macs=sum(macs_by_value(graph).values()),
        accuracy=evaluate.accuracy(graph, right),
        bytes=built.measured.bytes,
        limits=built.measured.limits,
        fits=True,
        far=built.program.far_symbols,
        arena=arena_figures(prepared.imported, firmware, board),
        quantization=quantization_figures(choice, firmware.precision, options, prepared.origin),
        layers=layers,
        cost_unit=costs.unit if costs else None,
        power=firmware.intermittent.power,
        compression=compression_figures(prepared, found, right),
        exits=exits,
        branch=branch,
        policy=policy,
        notes=(
            *notes(prepared.imported, graph, dataset, options, with_vectors=built.with_vectors),
            *(found.notes if found is not None else ()),
            *twice_notes(firmware, layers),
            *([policy.note] if policy is not None and policy.note else ()),
            *([JOINT] if policy is not None and options.exits.training == "joint" else ()),
        ),
    )
    extra = {"model.qdq.onnx": to_qdq(choice.qgraph), "firmware.elf": built.elf}
    files = artifact_files(built.generated, qgraph, board, document.as_dict(), extra)
    return Artifact(graph=qgraph, board=board, files=files, report=json.loads(files[REPORT]))


def _check_without_data(budget: Budget, firmware: Made) -> None:
    """Raise FreemlError where a budget takes training to meet: without data there is none."""
    if budget.missed_by(firmware):
        raise FreemlError(
            f"{budget.words()}: expected labelled data to retrain the net with, found none; without it only what needs "
            f"no training is offered, and that takes {budget.taken(firmware)}; give --data, or raise the budget"
        )


def calibration_inputs(imported: Graph, dataset: Dataset | None, seed: int) -> tuple[dict[str, Array], str]:
    """Inputs to calibrate on, (samples, *shape) by name, and their origin: training data, or the graph itself."""
    if dataset is None:
        made = synthetic_inputs(imported, seed=seed)
        return made.inputs, made.origin
    count = min(CALIBRATION_SAMPLES, len(dataset.train))
    index = np.sort(np.random.default_rng(seed).permutation(len(dataset.train))[:count])
    return {imported.inputs[0]: evaluate.as_input(imported, dataset.train.x[index])}, f"{count} training samples"
