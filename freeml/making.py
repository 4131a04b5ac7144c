"""The firmware of a float graph: quantized, given exits, planned, cut into regions, built, measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from freeml import evaluate
from freeml.arranging import Again, arrange, arrange_again, build_arranged, ordered
from freeml.codegen.emit import emit
from freeml.codegen.lower import lower
from freeml.codegen.program import CProgram
from freeml.compression.budget import whole_bytes
from freeml.data import Dataset
from freeml.errors import DoesNotFitError, FreemlError, MissingPackageError
from freeml.fit import place
from freeml.intermittent import Intermittent, build_intermittent
from freeml.ir.graph import Graph, QGraph
from freeml.ir.serialize import to_json
from freeml.ir.types import Array, IntArray
from freeml.options import Options
from freeml.plan.again import Arranged
from freeml.plan.cost import CostModel, load_cost_model
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import MemoryPlan, arena_alignment, plan_memory
from freeml.plan.storage import pack_weights, reachable_bytes
from freeml.quant.choose import Choice, choose, relative_drop
from freeml.quant.precision import choose_widths
from freeml.quant.quantize import Precision, quantize_input
from freeml.regions.cutting import RegionError
from freeml.sim.trace import run_reference, without_rule
from freeml.targets import Board
from freeml.targets import get as get_board
from freeml.toolchains import find
from freeml.version import VERSION
from freeml.work import better_plain, work_by_value

if TYPE_CHECKING:
    from freeml.exits.exiting import Exiting


VECTORS = 1

Progress = Callable[[str], None]


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


def quantize_graph(
    graph: Graph, calibration: Mapping[str, Array], dataset: Dataset | None, options: Options
) -> tuple[Choice, Precision]:
    """The integer graph in the model's own layout, and the precision that was used."""
    precision = asked_precision(options)
    choice = choose(graph, calibration, precision=precision, method=options.ranges)
    if options.precision != "auto":
        return choice, precision

    def drop(qgraph: QGraph) -> float:
        if dataset is not None:
            return evaluate.drop(graph, qgraph, dataset.val)
        return relative_drop(graph, qgraph, calibration)

    return choose_widths(graph, calibration, start=choice, drop=drop, weight_bits=options.weight_bits)


def asked_precision(options: Options) -> Precision:
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
