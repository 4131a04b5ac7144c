"""The straight line from an ONNX file to a firmware folder, on one screen (see docs/ARCHITECTURE.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from freeml import evaluate
from freeml.arranging import Again, arrange, arrange_again, build_arranged, ordered
from freeml.artifact import REPORT, Artifact, artifact_files, check_output_folder
from freeml.codegen.emit import emit
from freeml.codegen.lower import lower
from freeml.codegen.program import CProgram
from freeml.compression.budget import Budget, whole_bytes
from freeml.data import Dataset, load_dataset
from freeml.describing import (
    arena_figures,
    compression_figures,
    exit_figures,
    notes,
    quantization_figures,
    twice_notes,
)
from freeml.errors import DoesNotFitError, FreemlError, MissingPackageError
from freeml.exits.asked import AskedExits
from freeml.exits.rule import AskedRule
from freeml.fit import place
from freeml.frontend.onnx_reader import import_onnx
from freeml.frontend.qdq import to_qdq
from freeml.intermittent import GRANULARITIES, Granularity, Intermittent, build_intermittent
from freeml.ir.graph import Graph, QGraph
from freeml.ir.serialize import to_json
from freeml.ir.types import Array, IntArray
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.plan.again import Arranged
from freeml.plan.cost import CostModel, load_cost_model
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import MemoryPlan, arena_alignment, plan_memory
from freeml.plan.storage import pack_weights, reachable_bytes
from freeml.quant.choose import METHODS, Choice, choose, relative_drop
from freeml.quant.precision import choose_widths
from freeml.quant.quantize import Precision, quantize_input
from freeml.quant.ranges import RangeMethod
from freeml.quant.synthetic import synthetic_inputs
from freeml.regions.cutting import RegionError
from freeml.regions.supply import Supply
from freeml.report import figures
from freeml.searching import SearchProgress, search, search_folder
from freeml.sim.trace import run_reference, without_rule
from freeml.targets import Board
from freeml.targets import get as get_board
from freeml.toolchains import find
from freeml.version import VERSION
from freeml.work import better_plain, layer_table, macs_by_value, work_by_value

if TYPE_CHECKING:
    from freeml.compression.search import Compressed
    from freeml.exits.exiting import Exiting

CALIBRATION_SAMPLES = 256
VECTORS = 1

JOINT = "net and exits were trained together: the float accuracy is that of the net before, the integer one that after"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user can ask of a compile. `ranges` None lets calibration choose the method; a `budget` asks for
    compression, which needs data."""

    target: str = "msp430"
    precision: Literal["int8", "int16", "auto"] = "int8"
    weights: Literal["int8", "int16"] = "int8"
    ranges: RangeMethod | None = None
    toolchain: str | None = None
    supply: Supply = field(default_factory=Supply)
    regions: Granularity = "budget"
    seed: int = 0
    budget: Budget | None = None
    exits: AskedExits = field(default_factory=AskedExits)
    rule: AskedRule = field(default_factory=AskedRule)

    def __post_init__(self) -> None:
        """Raise FreemlError for a choice that is none: callers of the Python API are not all checked for types."""
        if not isinstance(self.seed, int) or self.seed < 0:
            raise FreemlError(f"seed: expected an integer of 0 or more, found {self.seed!r}")
        if self.budget is not None and self.exits.kind != "none" and self.exits.training == "joint":
            raise FreemlError(
                "--exit-training joint: expected no budget beside it, for every net of a search would be trained anew; "
                "take --exit-training two-stage, or compress first (freeml.compress gives an ONNX file)"
            )
        choices: dict[str, tuple[str | None, ...]] = {"regions": GRANULARITIES}
        choices |= {"precision": ("int8", "int16", "auto"), "weights": ("int8", "int16"), "ranges": (None, *METHODS)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                expected = ", ".join(map(repr, allowed))
                raise FreemlError(f"{name}: expected one of {expected}, found {getattr(self, name)!r}")

    @property
    def weight_bits(self) -> Literal[8, 16]:
        """Bits of a weight."""
        return 8 if self.weights == "int8" else 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A firmware and the nets behind it, before anything is reported."""

    choice: Choice
    precision: Precision
    qgraph: QGraph
    memory: MemoryPlan
    graph_sha256: str
    intermittent: Intermittent
    again: Mapping[str, str]
    """Values that are computed a second time, and which they are."""
    exiting: Exiting | None = None

    @property
    def flash_bytes(self) -> int:
        """Image and persistent data together."""
        return self.intermittent.built.measured.bytes.flash + self.intermittent.built.measured.bytes.nv

    @property
    def ram_bytes(self) -> int:
        """Variables and the estimated stack."""
        return self.intermittent.built.measured.bytes.sram

    @property
    def energy_joules(self) -> float:
        """What an inference is estimated to take: `inference_uj` of the report."""
        return 1e-6 * self.intermittent.power.inference_uj

    def predictions(self, x: Array, threshold: float | None) -> Array:
        """The class of every sample by the integer net, (n,)."""
        return evaluate.quantized_predictions(without_rule(self.qgraph), x, threshold)


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
            return _asked_precision(self.options)
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


def make(
    graph: Graph,
    model: Path,
    calibration: Mapping[str, Array],
    dataset: Dataset | None,
    options: Options,
    say: Progress = lambda _: None,
    again: Again = "needed",
) -> Made:
    """The firmware of a float graph after the passes: quantized, planned, cut into regions, built, measured.

    Where it leaves some of a budget's flash, layers whose weights take time to read get it for plain ones.
    """
    board, budget = get_board(options.target), options.budget
    prices = load_cost_model(board.name, find(board, options.toolchain).kind)
    if options.exits.kind != "none" and options.exits.training == "joint":
        graph = with_exits_in_mind(graph, dataset, options, say)
    say("quantize")
    choice, precision = quantize_graph(graph, calibration, dataset, options)
    found = None if options.exits.kind == "none" else with_exits(choice, dataset, options, board, prices, say)
    say("plan")
    once = arrange(choice.qgraph if found is None else found.qgraph, board)

    def build(arranged: Arranged) -> Made:
        made = _build(model, calibration, options, found.choice if found else choice, precision, arranged, prices, say)
        return made if found is None else replace(made, exiting=found)

    def twice() -> Arranged:
        return arrange_again(once, board, prices, flash_is_short=budget is not None and budget.flash_bytes is not None)

    def enough(firmware: Made) -> bool:  # of memory: what runs twice takes more energy, not less
        ram_bytes = firmware.ram_bytes if board.activations == "sram" else 0  # else the arena is no part of it
        return budget is None or not budget.misses(firmware.flash_bytes, ram_bytes, 0.0)

    return build_arranged(once, twice, build, enough, again)


def with_exits(
    choice: Choice, dataset: Dataset | None, options: Options, board: Board, prices: CostModel | None, say: Progress
) -> Exiting:
    """The net with its exits. The other place of a compile that needs torch."""
    with _trained_exits(options, dataset) as data:
        from freeml.exits.exiting import exiting
    return exiting(
        choice, data, board=board, prices=prices, asked=options.exits, rule=options.rule, seed=options.seed,
        show=lambda text, _: say(text),
    )  # fmt: skip


def with_exits_in_mind(graph: Graph, dataset: Dataset | None, options: Options, say: Progress) -> Graph:
    """The float graph trained together with exits."""
    with _trained_exits(options, dataset) as data:
        from freeml.exits.joint import retrain_jointly
    return retrain_jointly(graph, data, options.exits, seed=options.seed, show=lambda text, _: say(text))


@contextmanager
def _trained_exits(options: Options, dataset: Dataset | None) -> Iterator[Dataset]:
    """The data, which exits need, around the import of what needs torch."""
    if dataset is None:
        raise FreemlError(
            f"--exits {options.exits.kind}: expected labelled data to train the exits with, found none; give --data"
        )
    try:
        yield dataset
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingPackageError(
            f"--exits {options.exits.kind}: exits are trained, and for that freeml needs torch, which is not "
            "installed; run pip install 'freeml[train]', or leave the exits out"
        ) from error


def _build(
    model: Path,
    calibration: Mapping[str, Array],
    options: Options,
    choice: Choice,
    precision: Precision,
    found: Arranged,
    prices: CostModel | None,
    say: Progress,
) -> Made:
    """See `make`."""
    board, budget, memory = get_board(options.target), options.budget, found.memory
    whole = None if budget is None else whole_bytes(board, budget, options.supply)
    vectors = test_vectors(found.graph, calibration)

    def built(plain: Collection[str]) -> Made:
        qgraph, near = found.graph, reachable_bytes(board, memory)
        if whole is not None:
            qgraph = pack_weights(qgraph, whole, near, plain)
        graph_sha256 = hashlib.sha256(to_json(qgraph).encode("utf-8")).hexdigest()

        def files_of(program: CProgram, with_vectors: bool) -> dict[str, str]:
            chosen = vectors if with_vectors else []
            return emit(program, stamp=stamp(model, options), vectors=chosen, graph_sha256=graph_sha256)

        intermittent = build_intermittent(
            lambda reserve_bytes: place(qgraph, memory, board, reserve_bytes), files_of,
            graph=qgraph, memory=memory, board=board, toolchain=options.toolchain, prices=prices,
            work=work_by_value(choice.graph, qgraph), supply=options.supply, granularity=options.regions,
        )  # fmt: skip
        return Made(
            choice=choice, precision=precision, qgraph=qgraph, memory=memory, graph_sha256=graph_sha256,
            intermittent=intermittent, again=found.again,
        )  # fmt: skip

    say("build")
    firmware = built(())
    if budget is not None and budget.flash_bytes is not None:
        program, spare = firmware.intermittent.built.program, budget.flash_bytes - firmware.flash_bytes
        plain = better_plain(choice.graph, firmware.qgraph, program, prices, spare)
        with suppress(DoesNotFitError, RegionError):  # then it stays as it is
            faster = built(plain) if plain else firmware
            if not budget.missed_by(faster) and faster.energy_joules < firmware.energy_joules:
                return faster
    return firmware


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


def quantize_graph(
    graph: Graph, calibration: Mapping[str, Array], dataset: Dataset | None, options: Options
) -> tuple[Choice, Precision]:
    """The integer graph in the model's own layout, and the precision that was used."""
    precision = _asked_precision(options)
    choice = choose(graph, calibration, precision=precision, method=options.ranges)
    if options.precision != "auto":
        return choice, precision

    def drop(qgraph: QGraph) -> float:
        if dataset is not None:
            return evaluate.drop(graph, qgraph, dataset.val)
        return relative_drop(graph, qgraph, calibration)

    return choose_widths(graph, calibration, start=choice, drop=drop, weight_bits=options.weight_bits)


def _asked_precision(options: Options) -> Precision:
    """Of every value alike; for "auto" what it starts from."""
    return Precision(default="int16" if options.precision == "int16" else "int8", weight_bits=options.weight_bits)


def lower_graph(qgraph: QGraph, board: Board | None = None) -> tuple[QGraph, MemoryPlan, CProgram]:
    """Layout, order, memory and C program of an integer graph; for a board, with constants placed where it has room."""
    planned = ordered(to_channels_last(qgraph))[0] if board is None else arrange(qgraph, board).graph
    return planned, *lower_planned(planned, board)


def lower_planned(planned: QGraph, board: Board | None = None) -> tuple[MemoryPlan, CProgram]:
    """The same for a graph whose layout and order are chosen already, as artifacts hold it."""
    memory = plan_memory(planned) if board is None else plan_memory(planned, arena_alignment(board))
    return memory, lower(planned, memory) if board is None else place(planned, memory, board)


def test_vectors(graph: QGraph, inputs: Mapping[str, Array]) -> list[tuple[dict[int, IntArray], dict[int, IntArray]]]:
    """(inputs, outputs) of the first calibration samples, by tensor index, as the reference computes them."""
    integers = {name: quantize_input(inputs[name][:VECTORS], graph.types[name]) for name in graph.inputs}
    found = run_reference(graph, integers).values
    return [
        (
            {i: integers[name][sample] for i, name in enumerate(graph.inputs)},
            {i: found[name][sample] for i, name in enumerate(graph.outputs)},
        )
        for sample in range(VECTORS)
    ]


def stamp(model: Path, options: Options) -> str:
    """The line in every generated file: versions and hashes, no dates and no paths."""
    chosen: list[object] = [
        options.precision,
        options.weights,
        options.ranges,
        options.target,
        options.regions,
        options.seed,
    ]
    chosen += [] if options.budget is None else [asdict(options.budget)]
    chosen += [] if options.exits.kind == "none" else [asdict(options.exits), asdict(options.rule)]
    text = json.dumps(chosen)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"Generated by freeml {VERSION}; model {sha256(model)[:12]}, options {digest}. Do not edit."


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
