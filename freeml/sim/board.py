"""The emitted firmware on a simulated board: any input, every intermediate, what each layer costs.

The image is the one that would be flashed. It runs from reset to its first inference; from there on a debugger's means
are used: inputs are written where `fm_input` points to, the machine stops where layers begin and end, and what a layer
stored is read from the arena.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from freeml.codegen.lower import c_names, result_layout
from freeml.errors import FreemlError
from freeml.ir.exits import NEVER
from freeml.ir.graph import QGraph
from freeml.ir.types import ITEM_BYTES, Array, IntArray, QType
from freeml.plan.exits import exits_of
from freeml.plan.memory import MemoryPlan, arena_alignment, is_view, plan_memory
from freeml.sim.host import DTYPE
from freeml.sim.image import Image, read_image
from freeml.sim.machine import Counts, Machine, MachineFaultError, Snapshot
from freeml.sim.trace import Trace
from freeml.targets import Board

SIMULATORS = {
    "msp430": ("freeml.sim.msp430.machine", "Msp430Machine"),
    "apollo4": ("freeml.sim.apollo4.machine", "Apollo4Machine"),
}
"""Module and class by board; imported when a board is simulated."""

PACKAGES = {"apollo4": "unicorn"}
"""What a simulator needs beyond freeml's own dependencies."""

PROGRESS_RESULT, PROGRESS_VALID = 0x8000, 0x4000
"""Bits of the word of progress (firmware/common/fm_run.h)."""

START_LIMIT = 50_000_000
"""Instructions from reset to the first inference; copying 384 KB of variables takes fewer than a million."""

PATIENCE = 2000
"""Instructions granted per multiply-accumulate or stored element before an inference is taken to hang."""


class BoardRunError(FreemlError):
    """An image does not behave like a firmware of this net."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """What one layer cost in one inference. `value` is what it stores, `address` where its function starts."""

    name: str
    value: str
    address: int
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """One inference: integer values by name, each (1, *shape), costs by layer and in total.

    `total` holds, besides the layers, the loop that calls them.
    """

    values: Mapping[str, IntArray]
    layers: tuple[LayerRun, ...]
    total: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    name: str
    value: str
    address: int


def open_machine(board: Board, image: Image) -> Machine:
    """A simulator of `board` with `image` flashed, powered on. Raises FreemlError where its packages are missing."""
    missing = simulator_missing(board)
    if missing:
        raise BoardRunError(missing)
    module, name = SIMULATORS[board.name]
    machine: Machine = getattr(importlib.import_module(module), name)(image)
    machine.power_on()
    return machine


class BoardRunner:
    """Runs inferences of one net on one simulated board, each from the same state: just before the first one."""

    def __init__(self, graph: QGraph, board: Board, elf: Path, *, max_instructions: int | None = None) -> None:
        self.graph = graph
        self.image = read_image(elf, board)
        self.machine = open_machine(board, self.image)
        self._memory: MemoryPlan = plan_memory(graph, arena_alignment(board))
        self._arena = self.image.symbol("fm_arena")
        self._results = self.image.symbol("fm_results")
        self._result_offsets, self._result_bytes = result_layout(graph, board)
        self._halt = self.image.symbol("fm_board_halt")
        self._layers = self._find_layers()
        self._limit = max_instructions or PATIENCE * (_work(graph) + 1000)
        self._ready = self._start()

    def _find_layers(self) -> tuple[_Layer, ...]:
        nodes = [node for node in self.graph.nodes if not is_view(node.op)]
        names = c_names(tuple(node.name for node in nodes))
        return tuple(
            _Layer(
                name=names[node.name],
                value=node.outputs[0],
                address=self.image.symbol(f"fm_layer_{names[node.name]}"),
            )
            for node in nodes
        )

    def _start(self) -> Snapshot:
        infer = self.image.symbol("fm_infer")
        self._go({infer}, START_LIMIT, "to reach fm_infer")
        return self.machine.snapshot()

    def _go(self, stops: set[int], limit: int, what: str) -> int:
        """Run to one of `stops`; the instructions that took."""
        machine = self.machine
        before = machine.counts().instructions
        reason = "instructions" if limit < 1 else machine.run(stops=stops | {self._halt}, max_instructions=limit)
        if limit >= 1 and machine.pc in stops:
            return machine.counts().instructions - before
        place = self.image.function_at(machine.pc) or "no known function"
        if reason == "instructions":
            raise MachineFaultError(
                f"{self.image.path}: the firmware hangs: {limit:,} instructions were not enough {what}; stopped in "
                f"{place} at {machine.pc:#x}"
            )
        raise BoardRunError(
            f"{self.image.path}: expected the firmware {what}, found that it stopped in {place} at {machine.pc:#x} "
            f"({reason}); build the folder anew, and where it persists look at what stops it with a debugger"
        )

    @property
    def layer_addresses(self) -> set[int]:
        """Where the layers' functions begin."""
        return {layer.address for layer in self._layers}

    def go(self, stops: set[int], what: str) -> None:
        """Run to one of `stops`, within the instructions that an inference is granted; `what` is for the error."""
        self._go(stops, self._limit, what)

    def infer(self, inputs: Mapping[str, Array], *, every_value: bool = False) -> Inference:
        """One inference on integers in the net's input formats, (1, *shape) by name.

        Raises MachineFaultError where the board would not survive, or the limit of instructions is reached.
        """
        machine = self.machine
        machine.restore(self._ready)
        done = machine.return_address()
        if every_value and exits_of(self.graph) is not None:
            self._clear_rule()
        for name in self.graph.inputs:
            self._put(name, inputs[name])
        start = machine.counts()
        starts = {layer.address for layer in self._layers}
        values: dict[str, IntArray] = {}
        layers: list[LayerRun] = []
        left = self._limit
        for index, layer in enumerate(self._layers):
            if machine.pc == done:  # an exit
                break
            if index == 0:
                left -= self._go(starts | {done}, left, f"to reach layer {layer.name}")
            counts, left = self._layer(layer, starts | {done}, left)
            layers.append(LayerRun(name=layer.name, value=layer.value, address=layer.address, counts=counts))
            if every_value:
                values[layer.value] = self._get(layer.value)
        if machine.pc != done:
            self._go({done}, left, "to return from fm_infer")
        total = machine.counts() - start
        values.update({name: self._result(name) for name in self.graph.outputs})
        return Inference(values=values, layers=tuple(layers), total=total)

    def _layer(self, layer: _Layer, stops: set[int], left: int) -> tuple[Counts, int]:
        """All regions of a layer, which is next: what its function cost, and the instructions still granted. Ends where
        another layer begins, or the inference has ended."""
        machine = self.machine
        if machine.pc != layer.address:
            place = self.image.function_at(machine.pc) or "no known function"
            raise BoardRunError(
                f"{self.image.path}: expected layer {layer.name} at {layer.address:#x} to run next, found {place} "
                f"at {machine.pc:#x}; is this image of this net?"
            )
        total: Counts | None = None
        while machine.pc == layer.address:
            before = machine.counts()
            left -= self._go({machine.return_address()}, left, f"to finish layer {layer.name}")
            spent = machine.counts() - before
            total = spent if total is None else total + spent
            left -= self._go(stops, left, f"to go on after layer {layer.name}")
        assert total is not None
        return total, left

    def each(self, inputs: Mapping[str, Array], *, every_value: bool = False) -> Iterator[Inference]:
        """Inferences of all samples, (samples, *shape) by name."""
        for sample in range(len(next(iter(inputs.values())))):
            one = {name: array[sample : sample + 1] for name, array in inputs.items()}
            yield self.infer(one, every_value=every_value)

    def _clear_rule(self) -> None:
        """Let the next inference run to its end: its kind is the first word of the rule, `energy` the fifth."""
        for word in (0, 4):
            self._put_rule(word, 0)

    def never_end_early(self) -> None:
        """The same with the rule still asked at every exit, for what that costs: thresholds that no scores reach."""
        exits = exits_of(self.graph)
        if exits is None:
            return
        low = exits.policy.kind in ("entropy", "label-free")
        self._put_rule(1, NEVER)
        self._put_rule(4, 0)
        for index in range(len(exits.exits)):
            self._put_rule(5 + index, 0 if low else NEVER - 1)  # of NEVER itself no margin is computed

    def _put_rule(self, word: int, value: int) -> None:
        """Set a word of the rule of the next inference: struct fm_policy of the generated model.h."""
        self.machine.write(self.image.symbol("fm_policy_chosen") + 2 * word, value.to_bytes(2, "little"))

    def _put(self, name: str, values: Array) -> None:
        type_ = self.graph.types[name]
        data = np.ascontiguousarray(values).astype(DTYPE[type_.dtype]).tobytes()
        if len(data) != _size_bytes(type_):
            raise BoardRunError(f"input {name}: expected {_size_bytes(type_)} bytes, found {len(data)}")
        self.machine.write(self._arena + self._memory.offset(name), data)

    def _get(self, name: str) -> IntArray:
        return self._read(name, self._arena + self._memory.offset(name))

    def _result(self, name: str) -> IntArray:
        """An output where the firmware's user finds it: in the result that the word of progress says is the newest."""
        word = int.from_bytes(self.machine.read(self.image.symbol("fm_progress_now"), 2), "little")
        if not word & PROGRESS_VALID:
            raise BoardRunError(f"{self.image.path}: expected a result after an inference, found none")
        newest = self._results + (self._result_bytes if word & PROGRESS_RESULT else 0)
        return self._read(name, newest + self._result_offsets[name])

    def _read(self, name: str, address: int) -> IntArray:
        type_ = self.graph.types[name]
        data = self.machine.read(address, _size_bytes(type_))
        return np.frombuffer(data, dtype=DTYPE[type_.dtype]).astype(np.int64).reshape(1, *type_.shape)


def run_board(
    runner: BoardRunner,
    inputs: Mapping[str, Array],
    *,
    every_value: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """All samples, (samples, *shape) by name, as the other executors run them; `progress` is told how many are done."""
    runs = []
    for number, run in enumerate(runner.each(inputs, every_value=every_value), start=1):
        runs.append(run)
        if progress is not None:
            progress(number)
    return Trace(values={name: np.concatenate([run.values[name] for run in runs]) for name in runs[0].values})


def simulator_missing(board: Board) -> str | None:
    """Why `board` cannot be simulated here, and what to do about it; None where it can."""
    package = PACKAGES.get(board.name)
    if package is None or importlib.util.find_spec(package) is not None:
        return None
    return f"{board.title} was not simulated: expected the package {package}, found none: pip install 'freeml[boards]'"


def _size_bytes(type_: QType) -> int:
    return type_.size * ITEM_BYTES[type_.dtype]


def _work(graph: QGraph) -> int:
    """An upper bound of the multiply-accumulates and element accesses of an inference: what its cost grows with."""
    total = 0
    for stage in graph.stages():
        out = graph.types[stage.outputs[0]]
        weights = sum(graph.constants[value].size for value in stage.inputs if value in graph.constants)
        total += sum(graph.types[value].size for value in (*stage.inputs, *stage.outputs))
        total += weights * max(1, out.size // out.shape[-1] if out.shape else 1)
        window = getattr(stage.op, "window", None)
        total += out.size * (window.size if window is not None else 1)
    return total
