"""The nets that pass the C gates: every example, every operator in two widths, weights beyond the reach of pointers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from freeml.artifact import Artifact, write_files
from freeml.codegen.emit import emit, firmware_files
from freeml.codegen.lower import lower
from freeml.codegen.program import CProgram
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.exits import BINS, Exit, Exits, Policy, PolicyKind, Reliability
from freeml.ir.graph import Graph, QGraph
from freeml.ir.types import Array
from freeml.making import lower_graph, lower_planned, test_vectors
from freeml.ops.add import Add
from freeml.ops.argmax import ArgMax
from freeml.ops.averagepool import AveragePool
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.slice import Slice
from freeml.ops.softmax import Softmax
from freeml.ops.sub import Sub
from freeml.ops.tanh import Tanh
from freeml.ops.transpose import Transpose
from freeml.pipeline import calibration_inputs
from freeml.plan.exits import with_answer
from freeml.plan.placement import far_addresses
from freeml.plan.storage import pack_weights
from freeml.sim.trace import Trace, run_reference
from freeml.targets import BOARDS, Board
from ops.compiled import Compiled, Width, compiled
from ops.sketch import Sketch
from ops.storing import coarse

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "models"
CALIBRATION_SAMPLES = 16
PROBED_SAMPLES = 4
WHOLE_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A net and the widths it is compiled in. With `far`, every weight row that can lie beyond 64 K does; with `stored`
    and a seed, weights take every form that they can lie in flash in. With `exits`, all outputs but the first are
    scores of exits, under a rule that ends some inferences there."""

    source: Callable[[], tuple[Graph, Mapping[str, Array]]]
    width: Width = "int8"
    weight_bits: Literal[8, 16] = 8
    far: bool = False
    stored: int | None = None
    exits: PolicyKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateNet:
    """A compiled net: its C program and its firmware folder for each board that has memory for it, by board name."""

    name: str
    programs: Mapping[str, CProgram]
    artifacts: Mapping[str, Artifact]
    probes: Mapping[str, NDArray[np.int64]]
    """Integer inputs: both ends of the type, random numbers, calibration samples; (samples, *shape)."""

    @property
    def host(self) -> Artifact:
        """The folder whose host part is tried: that of the MSP430, the one board with far constants."""
        return self.artifacts["msp430"]

    def write(self, board: str, folder: Path) -> Path:
        """The firmware folder on disk."""
        write_files(self.artifacts[board].files, folder)
        return folder


@cache
def gate_net(name: str) -> GateNet:
    """Compile one of `RECIPES`; kept for the session."""
    recipe = RECIPES[name]
    graph, calibration = recipe.source()
    net = compiled(graph, calibration, width=recipe.width, weight_bits=recipe.weight_bits)
    if recipe.stored is not None:
        planned = coarse(net.planned, np.random.default_rng(recipe.stored))
        net = replace(net, planned=pack_weights(planned, WHOLE_BYTES))
    if recipe.exits is not None:
        answering = with_answer(net.qgraph, some_exits(net.qgraph, recipe.exits), net.qgraph.outputs[0])
        net = replace(net, qgraph=answering, planned=lower_graph(answering)[0])
    programs, artifacts = {}, {}
    for board in BOARDS.values():
        if recipe.far and board.far_nv is None:
            continue
        program = _program(net, board, recipe.far)
        generated = emit(program, stamp=f"gate {name}", vectors=test_vectors(net.planned, calibration))
        files = {path: text.encode() for path, text in generated.items()} | firmware_files(board.name)
        programs[board.name] = program
        artifacts[board.name] = Artifact(graph=net.planned, board=board, files=files, report={})
    probes = net.probes({key: array[:PROBED_SAMPLES] for key, array in calibration.items()})
    return GateNet(name=name, programs=programs, artifacts=artifacts, probes=probes)


def some_exits(graph: QGraph, kind: PolicyKind) -> Exits:
    """Every output but the first as an exit, under a rule that ends about a half of random inferences at each."""
    names = graph.outputs[1:]
    table = Reliability(bin_shift=3, right=tuple(range(20, 20 + 14 * BINS, 14)))
    nats = [16 * 65536 * 12 / (graph.types[name].qmax - graph.types[name].qmin) for name in names]
    reach = {"confidence": 40, "entropy": 700, "label-free": 700, "reliability": 90}.get(kind, 0)
    return Exits(
        exits=tuple(
            Exit(name=name, value=name, point=name, steps=max(1, min(65535, round(steps))), reliability=table)
            for name, steps in zip(names, nats, strict=True)
        ),
        final=table,
        policy=Policy(kind=kind, thresholds=(reach,) * len(names), energy=True),
    )


@cache
def expected(name: str) -> Trace:
    """Every value of the integer reference for the net's probes."""
    net = gate_net(name)
    return run_reference(net.host.graph, net.probes, every_value=True)


def _program(net: Compiled, board: Board, far: bool) -> CProgram:
    if far:
        return lower(net.planned, net.memory, far_addresses(net.planned, board, 0, everything=True))
    return lower_planned(net.planned, board)[1]


def _example(name: str) -> Callable[[], tuple[Graph, Mapping[str, Array]]]:
    def source() -> tuple[Graph, Mapping[str, Array]]:
        imported = import_onnx(EXAMPLES / f"{name}.onnx")
        inputs, _ = calibration_inputs(imported, None, seed=0)
        return imported, {key: array[:CALIBRATION_SAMPLES] for key, array in inputs.items()}

    return source


def _operators() -> tuple[Graph, Mapping[str, Array]]:
    """Every operator at least once, apart and fused, in one and two dimensions."""
    s = Sketch(seed=5)
    image, line = s.input(1, 4, 9, 8), s.input(1, 3, 12)
    outputs = [*_maps(s, image), *_elementwise(s, image), *_lines(s, line), *_rows(s, image)]
    return s.graph(*outputs), s.samples(CALIBRATION_SAMPLES)


def _maps(s: Sketch, x: str) -> list[str]:
    """Convolutions by shape, alone and with what joins their loop nest; pools by shape."""
    one = (1, 1)
    plain = s.conv(x, 6, (1, 1))
    padded = s.add(Clip(low=0.0, high=6.0), s.conv(x, 6, (3, 3), pads=((1, 1), (0, 2))))
    grouped = s.conv(padded, 4, (3, 2), group=2, strides=(2, 1), dilations=(1, 2), bias=False)
    depthwise = s.add(HardSwish(), s.conv(padded, 6, (3, 3), group=6, pads=((1, 1), (1, 1))))
    joined = s.add(Add(clamp=(0.0, float("inf"))), s.conv(depthwise, 6, (1, 1)), plain)
    sloped = s.add(PRelu(), s.conv(x, 5, (2, 2)), s.normal(5, 1, 1))
    largest = s.add(MaxPool(kernel=(2, 2), strides=(2, 2), dilations=one, pads=((0, 0), (0, 0))), s.conv(x, 5, (2, 2)))
    tanh = s.add(Tanh(), s.conv(x, 3, (3, 3), pads=((1, 1), (1, 1))))
    mean = s.add(AveragePool(kernel=(3, 2), strides=(3, 2), dilations=one, pads=((0, 0), (0, 0))), tanh)
    squeezed = s.add(
        MaxPool(kernel=(2, 2), strides=(2, 3), dilations=one, pads=((0, 0), (0, 0))), s.add(Tanh(), sloped)
    )
    alone = [
        s.add(MaxPool(kernel=(3, 3), strides=one, dilations=(2, 1), pads=((1, 1), (1, 0)), ceil_mode=True), joined),
        s.add(AveragePool(kernel=(3, 3), strides=(2, 2), dilations=one, pads=((1, 1), (1, 1))), joined),
        s.add(
            AveragePool(kernel=(2, 3), strides=(2, 2), dilations=(2, 1), pads=((1, 0), (1, 1)), count_include_pad=True),
            joined,
        ),
    ]
    return [grouped, largest, mean, squeezed, *alone]


def _elementwise(s: Sketch, x: str) -> list[str]:
    """Operators on the input itself, so that each is a layer of its own, and on two operands."""
    gate = s.add(HardSigmoid(alpha=1 / 6), x)
    curve = s.add(Sigmoid(), x)
    swish = s.add(HardSwish(), x)
    product = s.add(Mul(), gate, curve)
    scaled = s.add(Mul(), swish, s.normal(4, 1, 1))
    difference = s.add(Sub(clamp=(-0.5, 0.5)), product, scaled)
    shifted = s.add(Add(), s.normal(1, 4, 9, 1), difference)
    sloped = s.add(PRelu(), shifted, s.constant(0.2))
    clipped = s.add(Clip(low=-0.75, high=1.5), x)
    joined = s.add(Concat(axis=1), sloped, clipped, s.normal(1, 1, 9, 8))
    return [s.add(ReduceMean(axes=(1,), keepdims=False), joined)]  # outputs are held twice more: a small one


def _lines(s: Sketch, x: str) -> list[str]:
    """One dimension: the loops over rows fall away."""
    conv = s.add(Clip(low=0.0, high=float("inf")), s.conv(x, 5, (3,), pads=((1, 1),)))
    pooled = s.add(MaxPool(kernel=(3,), strides=(3,), dilations=(1,), pads=((0, 0),)), s.conv(conv, 4, (3,)))
    averaged = s.add(AveragePool(kernel=(2,), strides=(2,), dilations=(1,), pads=((0, 0),)), s.conv(conv, 4, (1,)))
    return [pooled, averaged]


def _rows(s: Sketch, x: str) -> list[str]:
    """Copies, sums along axes, dense layers of one and of several rows."""
    padded = s.add(Pad(pads=((0, 0), (0, 0), (1, 2), (0, 1)), value=0.4), x)
    edged = s.add(Pad(pads=((0, 0), (0, 0), (1, 0), (2, 0)), mode="reflect"), x)
    cut = s.add(Slice(starts=(0, 3, 1, 0), steps=(1, -2, 3, 1), sizes=(1, 2, 3, 7)), padded)
    grown = s.add(Resize(indices=((0,), (0, 1), (0, 0, 1, 1, 2, 2), tuple(range(7)))), cut)
    turned = s.add(Transpose(perm=(0, 3, 1, 2)), grown)
    mean = s.add(ReduceMean(axes=(1,), keepdims=False), edged)
    flat = s.add(Reshape(shape=(1, 84)), turned)
    hidden = s.add(Sigmoid(), s.dense(flat, 10))
    scores = s.dense(hidden, 6)
    rows = s.dense(mean, 5)
    return [
        s.add(Softmax(axis=1), scores),
        s.add(LogSoftmax(axis=2), rows),
        s.add(Softmax(axis=1), rows),
        s.add(ArgMax(axis=1, keepdims=False, select_last_index=True), hidden),
        s.add(ArgMax(axis=1), edged),
    ]


def _stored_weights() -> tuple[Graph, Mapping[str, Array]]:
    """Layers for every form of weights: whole and by row, a depthwise and a grouped convolution, rows of odd length."""
    s = Sketch(seed=8)
    x = s.input(1, 3, 7, 6)
    value = s.conv(x, 12, (3, 3), pads=((1, 1), (1, 1)))
    for outputs, kernel, group in ((12, (2, 2), 12), (12, (1, 1), 1), (12, (3, 2), 2), (8, (2, 2), 1), (14, (1, 1), 1)):
        value = s.conv(value, outputs, kernel, group=group)
    rows = s.dense(s.add(Reshape(shape=(1, 4, 9)), s.conv(value, 4, (1, 1))), 9)
    value = s.dense(s.add(Reshape(shape=(1, 36)), rows), 33)
    for outputs in (17, 29, 31, 8, 8, 12, 3):  # with something between them: linear layers in a row are merged
        value = s.dense(s.add(Clip(low=0.0, high=float("inf")), value), outputs)
    return s.graph(value), s.samples(CALIBRATION_SAMPLES)


def _far_weights() -> tuple[Graph, Mapping[str, Array]]:
    """Convolutions and dense layers whose rows of weights are of even and of odd length."""
    s = Sketch(seed=6)
    conv = s.conv(s.input(1, 3, 6, 6), 5, (3, 3), pads=((1, 1), (1, 1)))
    pool = s.add(MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0))), conv)
    grouped = s.conv(s.conv(pool, 4, (1, 1)), 6, (2, 2), group=2)
    rows = s.dense(s.add(Reshape(shape=(1, 8, 3)), grouped), 4)
    return s.graph(s.dense(s.add(Reshape(shape=(1, 32)), rows), 3)), s.samples(CALIBRATION_SAMPLES)


def _exits() -> tuple[Graph, Mapping[str, Array]]:
    """Two exits, the second of which adds to the scores of the first."""
    s = Sketch(seed=9)
    image = s.input(1, 2, 8, 8)
    first = s.add(Clip(low=0.0, high=float("inf")), s.conv(image, 4, (3, 3)))
    pooled = s.add(AveragePool(kernel=(3, 3), strides=(3, 3), dilations=(1, 1), pads=((0, 0), (0, 0))), first)
    early = s.dense(s.add(Reshape(shape=(1, 16)), pooled), 5)
    second = s.add(Clip(low=0.0, high=float("inf")), s.conv(first, 3, (3, 3), strides=(2, 2)))
    flat = s.add(Reshape(shape=(1, 12)), second)
    later = s.add(Add(), s.dense(flat, 5), early)
    return s.graph(s.dense(flat, 5), early, later), s.samples(CALIBRATION_SAMPLES)


RECIPES: dict[str, Recipe] = {
    **{path.stem: Recipe(source=_example(path.stem)) for path in sorted(EXAMPLES.glob("*.onnx"))},
    "har-int16": Recipe(source=_example("har"), width="int16"),
    "twohead-int16": Recipe(source=_example("twohead"), width="int16"),
    "operators": Recipe(source=_operators),
    "operators-wide": Recipe(source=_operators, width="int16", weight_bits=16),
    "stored": Recipe(source=_stored_weights, stored=15),
    "stored-int16": Recipe(source=_stored_weights, width="int16", stored=28),
    "exits": Recipe(source=_exits, exits="entropy"),
    "exits-int16": Recipe(source=_exits, width="int16", exits="patience"),
    "far": Recipe(source=_far_weights, far=True),
    "far-wide": Recipe(source=_far_weights, width="int16", weight_bits=16, far=True),
}
NETS = tuple(RECIPES)
