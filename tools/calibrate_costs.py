#!/usr/bin/env python3
"""Fits the prices of freeml/plan/prices: cost of each event of `freeml.plan.events` for a board and a compiler.

    python tools/calibrate_costs.py --board msp430 --toolchain zig

Random nets of every operator (seeded; none of them an example of the project) are compiled and run on the board's
simulator; a non-negative least-squares fit of relative errors gives the prices. Every fifth net is held out, and the
errors on those are printed and noted in the file. Run it again after a change of templates, kernels or compilers.
Packed weights are priced after everything else, on further nets; with --packed, they alone, the others as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from freeml.artifact import write_files
from freeml.codegen.emit import emit, firmware_files
from freeml.errors import FreemlError
from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import QGraph
from freeml.making import lower_planned, quantize_graph, test_vectors
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.pipeline import calibration_inputs
from freeml.plan.cost import prices_path
from freeml.plan.counting import SHIFTS, Events, shift_event
from freeml.plan.events import events_by_layer
from freeml.plan.layout import to_channels_last
from freeml.plan.storage import pack_weights
from freeml.sim.board import BoardRunner
from freeml.targets import get
from freeml.toolchains import build, find
from freeml.toolchains.flags import OPTIMISE

BRANCHES = 8
"""Layers under test in one net at most, all fed by its input.

Nets of few are needed too: what is the same in every call of a function is known to compilers, and left out.
"""

Row = tuple[str, Events, float]
"""A layer's name, its events, and what it cost."""

UNITS = {"msp430": "cycles", "apollo4": "instructions"}
"""What a board's simulator counts."""

ROUNDS = 12
"""Of the fit."""

CLOSE = 0.005
"""Relative errors below this count alike."""


class Net:
    """An ONNX graph under construction: one input, branches of a few nodes each."""

    def __init__(self, chance: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.chance = chance
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[str] = []

    def constant(self, value: np.ndarray) -> str:
        """Name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def weights(self, *shape: int) -> str:
        """Name of a constant of normal numbers, scaled by the fan-in."""
        scale = 1.0 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return self.constant((self.chance.normal(size=shape) * scale).astype(np.float32))

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Name of a new node's output."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def model(self) -> onnx.ModelProto:
        """The ONNX model."""
        outputs = [helper.make_tensor_value_info(name, self.kind(name), None) for name in self.outputs]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)]
        graph = helper.make_graph(self.nodes, "calibration", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def kind(self, name: str) -> int:
        """Element type of an output."""
        made = next(node for node in self.nodes if name in node.output)
        return TensorProto.INT64 if made.op_type == "ArgMax" else TensorProto.FLOAT


def pick(net: Net, *choices: object) -> object:
    return choices[int(net.chance.integers(len(choices)))]


def activation(net: Net, value: str) -> str:
    kind = pick(net, "", "", "", "Relu", "Relu", "Relu", "Sigmoid", "HardSwish", "PRelu", "PRelu", "Clip")
    if kind == "":
        return value
    if kind == "PRelu":
        return net.node("PRelu", value, net.constant(np.float32([0.1])))
    if kind == "Clip":
        return net.node("Clip", value, net.constant(np.float32(-0.5)), net.constant(np.float32(0.7)))
    return net.node(str(kind), value)


def convolution(net: Net) -> str:
    """2-D or 1-D, any geometry, sometimes pooled, sometimes with an activation that is not folded."""
    channels, extents = net.shape[1], net.shape[2:]
    kernel = [min(int(net.chance.integers(1, 6)), extent) for extent in extents]
    style = pick(net, "plain", "plain", "plain", "depthwise", "grouped", "pointwise")
    if style == "pointwise":
        kernel = [1] * len(extents)
    group = channels if style == "depthwise" else (2 if style == "grouped" and channels % 2 == 0 else 1)
    out = channels if style == "depthwise" else int(net.chance.integers(1, 25))
    out += out % group if style == "grouped" else 0
    dilation = [
        2 if k > 1 and 2 * k - 1 <= e and net.chance.random() < 0.15 else 1
        for k, e in zip(kernel, extents, strict=True)
    ]
    stride = [int(net.chance.integers(1, 3))] * len(extents)
    padded = net.chance.random() < 0.6
    pads = [int(net.chance.integers(0, (k + 1) // 2 + 1)) if padded else 0 for k in kernel]
    pads = [min(p, k - 1) for p, k in zip(pads, kernel, strict=True)]
    value = net.node(
        "Conv",
        "x",
        net.weights(out, channels // group, *kernel),
        net.weights(out),
        kernel_shape=kernel,
        strides=stride,
        dilations=dilation,
        group=group,
        pads=[*pads, *pads],
    )
    value = activation(net, value)
    made = [
        (e + 2 * p - d * (k - 1) - 1) // s + 1
        for e, p, d, k, s in zip(extents, pads, dilation, kernel, stride, strict=True)
    ]
    if min(made) >= 2 and net.chance.random() < 0.4:
        size = [2] * len(extents)
        value = net.node(str(pick(net, "MaxPool", "AveragePool")), value, kernel_shape=size, strides=size)
    return value


def residual(net: Net) -> str:
    """A convolution whose output is added to the input, sometimes pooled then."""
    channels, extents = net.shape[1], net.shape[2:]
    kernel = [int(pick(net, 1, 3)) if extent >= 3 else 1 for extent in extents]
    pads = [(k - 1) // 2 for k in kernel]
    maps = net.node("Conv", "x", net.weights(channels, channels, *kernel), net.weights(channels), pads=[*pads, *pads])
    value = net.node("Add", maps, "x")
    if net.chance.random() < 0.5:
        value = net.node("Relu", value)
    if net.chance.random() < 0.3:
        value = net.node("AveragePool", value, kernel_shape=[2] * len(extents), strides=[2] * len(extents))
    return value


def large(net: Net) -> str:
    """More weights than a 16-bit address space leaves room for, on boards that have one."""
    size = int(net.chance.integers(60, 200))
    row = net.node("MatMul", net.node("Flatten", "x"), net.weights(int(np.prod(net.shape[1:])), 2))
    wide = net.node("Gemm", row, net.weights(size, 2), net.weights(size), transB=1)
    return net.node("Gemm", wide, net.weights(30_000 // size, size), transB=1)


def dense(net: Net) -> str:
    """A matrix product over all of the input, or over its last axis."""
    out = int(net.chance.integers(1, 60))
    if net.chance.random() < 0.3:
        return activation(net, net.node("MatMul", "x", net.weights(net.shape[-1], out)))
    flat = net.node("Flatten", "x")
    size = int(np.prod(net.shape[1:]))
    if size > 400:  # weights would not fit: only its first part
        size = int(net.chance.integers(20, 400))
        flat = net.node("Slice", flat, *(net.constant(np.int64([v])) for v in (0, size, 1)))
    return activation(net, net.node("Gemm", flat, net.weights(out, size), net.weights(out), transB=1))


def scaling(net: Net) -> str:
    """One factor and one offset per channel, as a batch normalization that nothing absorbs."""
    channels = net.shape[1]
    taps = [1] * (len(net.shape) - 2)
    return net.node("Conv", "x", net.weights(channels, 1, *taps), net.weights(channels), group=channels)


def pool(net: Net) -> str:
    """Windows up to 8 x 8, padded and not; means over a channel, a row or a map."""
    extents = net.shape[2:]
    largest = int(pick(net, 3, 3, 8))
    kernel = [min(int(net.chance.integers(1, largest + 1)), e) for e in extents]
    if max(kernel) == 1:  # which nobody builds
        kernel[-1] = 2
    stride = [int(net.chance.integers(1, 3))] * len(extents)
    padded = net.chance.random() < 0.5
    pads = [int(net.chance.integers(0, k // 2 + 1)) if padded else 0 for k in kernel]
    kind = str(pick(net, "MaxPool", "MaxPool", "AveragePool", "AveragePool", "GlobalAveragePool", *("ReduceMean",) * 3))
    if kind == "ReduceMean":
        axes = pick(net, [1], [len(net.shape) - 1], list(range(2, len(net.shape))))
        return net.node("ReduceMean", "x", axes=axes, keepdims=1)
    if kind.startswith("Global"):
        return net.node(kind, "x")
    return net.node(kind, "x", kernel_shape=kernel, strides=stride, pads=[*pads, *pads])


def elementwise(net: Net) -> str:
    kind = str(pick(net, "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Clip", "PRelu", "Add", "Sub", "Mul", "Relu"))
    if kind == "Clip":
        return net.node("Clip", "x", net.constant(np.float32(-0.5)), net.constant(np.float32(0.7)))
    if kind == "PRelu":
        slopes = (net.shape[1], *(1,) * len(net.shape[2:]))
        return net.node("PRelu", "x", net.constant((0.3 * net.chance.random(slopes)).astype(np.float32)))
    if kind in ("Add", "Sub", "Mul"):
        by_channel = (1, net.shape[1], *(1,) * len(net.shape[2:]))
        by_last = (*(1,) * (len(net.shape) - 1), net.shape[-1])
        shape = pick(net, net.shape, by_channel, by_last, (1,) * len(net.shape))
        if net.chance.random() < 0.3:
            return net.node(kind, "x", net.node("Relu", "x"))
        return net.node(kind, "x", net.constant(net.chance.normal(size=shape).astype(np.float32)))
    return net.node(kind, "x")


def moving(net: Net) -> str:
    rank = len(net.shape)
    kind = str(pick(net, "Slice", "Pad", "Transpose", "Concat", "Resize"))
    if kind == "Slice":
        axis = int(net.chance.integers(1, rank))
        end = max(1, net.shape[axis] - 1)
        step = int(net.chance.integers(1, 3))
        c = [net.constant(np.int64([v])) for v in (0, end, axis, step)]
        return net.node("Slice", "x", *c)
    if kind == "Pad":
        pads = [0, 0, *(1,) * (rank - 2)] * 2
        return net.node("Pad", net.node("Sigmoid", "x"), net.constant(np.int64(pads)))
    if kind == "Transpose":
        return net.node("Transpose", "x", perm=[0, *reversed(range(1, rank))])
    if kind == "Concat":
        return net.node("Concat", "x", net.node("Sigmoid", "x"), axis=int(net.chance.integers(1, rank)))
    scales = np.float32([1, 1, *(2,) * (rank - 2)])
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return net.node("Resize", "x", "", net.constant(scales), **how)


def scoring(net: Net) -> str:
    kind = str(pick(net, "Softmax", "LogSoftmax", "ArgMax"))
    return net.node(kind, "x", axis=int(pick(net, 1, len(net.shape) - 1)))


MAKERS = (convolution,) * 6 + (dense,) * 3 + (residual, moving, scoring, scaling) + (pool,) * 7 + (elementwise,) * 4


def random_net(seed: int) -> Net:
    chance = np.random.default_rng(seed)
    rank = int(chance.integers(1, 3))
    extents = tuple(int(v) for v in chance.integers(3, 14 if rank == 2 else 60, size=rank))
    if rank == 2 and chance.random() < 0.15:
        extents = (1, extents[1])
    net = Net(chance, (1, int(chance.integers(1, 17)), *extents))
    for _ in range(int(chance.integers(1, BRANCHES + 1))):
        value = MAKERS[int(chance.integers(len(MAKERS)))](net)
        net.outputs.append(value)
    if seed % 3 == 0:
        net.outputs.append(large(net))
    return net


def packed(graph: QGraph, seed: int) -> QGraph:
    """The graph with every layer's weights in 4 or 2 bits, or with few that are not zero."""
    chance, constants = np.random.default_rng(seed), dict(graph.constants)
    for stage in graph.stages():
        if isinstance(stage.op, (QConv, QDense)):
            weights, largest = constants[stage.inputs[1]], int(chance.choice([7, 7, 1, 0, 0, 0, 0]))
            coarse = np.clip(weights // (128 // (largest + 1)), -largest, largest)
            rows, joined = weights.reshape(len(weights), -1), int(chance.choice([1, 4]))  # zeros alone or in blocks
            left = chance.random((len(rows), -(-rows.shape[1] // joined))) < chance.choice([0.05, 0.3])
            sparse = rows * np.repeat(left, joined, axis=1)[:, : rows.shape[1]]
            constants[stage.inputs[1]] = coarse if largest else sparse.reshape(weights.shape)
    return pack_weights(replace(graph, constants=constants), int(chance.choice([0, 0, 2000])))


def measure(seed: int, board_name: str, toolchain: str, unit: str, *, pack: bool = False) -> Iterator[Row]:
    """(layer, events, cost) of every layer of net `seed`; nothing where the net does not fit the board."""
    board = get(board_name)
    precision = "int16" if seed % 4 == 3 else "int8"
    weights = "int16" if seed % 8 == 7 and not pack else "int8"
    options = Options(target=board_name, precision=precision, weights=weights, ranges="minmax")
    graph = import_model(random_net(seed).model(), None)
    inputs, _ = calibration_inputs(graph, None, seed)
    graph = run_passes(graph, PASSES)
    choice, _ = quantize_graph(graph, inputs, None, options)
    planned = to_channels_last(choice.qgraph)
    if pack:
        planned = packed(planned, seed)
    _, program = lower_planned(planned, board)
    generated = emit(program, stamp="calibration", vectors=test_vectors(planned, inputs))
    files = {**{name: text.encode() for name, text in generated.items()}, **firmware_files(board_name)}
    with tempfile.TemporaryDirectory() as folder:
        write_files(files, Path(folder))
        built = build(find(board, toolchain), board, Path(folder), Path(folder) / "firmware.elf", optimise=OPTIMISE)
        runner = BoardRunner(planned, board, built.elf)
    chance = np.random.default_rng(seed)
    types = {name: planned.types[name] for name in planned.inputs}
    samples = {n: chance.integers(t.qmin, t.qmax, size=(2, *t.shape), endpoint=True) for n, t in types.items()}
    runs = list(runner.each(samples))
    for index, (layer, events) in enumerate(zip(program.layers, events_by_layer(program.layers), strict=True)):
        cost = float(np.mean([getattr(run.layers[index].counts, unit) for run in runs]))
        yield f"{seed}:{layer.comment[0]}", events, cost


def fit(rows: list[Row]) -> dict[str, float]:
    """Prices that minimise the sum of absolute relative errors, none negative.

    The few layers that the events do not describe well must not spoil the prices of the others: squares are minimised
    again and again, each divided by the error before.
    """
    from scipy.optimize import nnls

    names = sorted({name for _, events, _ in rows for name in events})
    matrix = np.array([[events[name] for name in names] for _, events, _ in rows], dtype=np.float64)
    costs = np.array([cost for _, _, cost in rows])
    relative, weights = matrix / costs[:, np.newaxis], np.ones(len(rows))
    for _ in range(ROUNDS):
        solution, _ = nnls(relative * weights[:, np.newaxis], weights, maxiter=100 * len(names))
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ solution - 1), CLOSE))
    prices = {name: float(f"{price:.4g}") for name, price in zip(names, solution, strict=True)}
    known = [shift for shift in SHIFTS if shift_event(shift) in prices]
    for shift in SHIFTS:  # what no net shifted by costs about what its neighbours cost
        between = np.interp(shift, known, [prices[shift_event(other)] for other in known])
        prices.setdefault(shift_event(shift), float(f"{between:.4g}"))
    return dict(sorted(prices.items()))


def extend(rows: list[Row], known: dict[str, float]) -> dict[str, float]:
    """Prices of events that have none yet, those of the others held."""
    from scipy.optimize import nnls

    names = sorted({name for _, events, _ in rows for name in events} - set(known))
    rows = [row for row in rows if any(name in row[1] for name in names)]
    rest = np.array([cost - sum(n * known.get(name, 0.0) for name, n in events.items()) for _, events, cost in rows])
    costs = np.array([cost for _, _, cost in rows])
    matrix = np.array([[events[name] for name in names] for _, events, _ in rows], dtype=np.float64)
    relative, aim, weights = matrix / costs[:, np.newaxis], rest / costs, np.ones(len(rows))
    for _ in range(ROUNDS):
        solution, _ = nnls(relative * weights[:, np.newaxis], aim * weights)
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ solution - aim), CLOSE))
    prices = known | {name: float(f"{price:.4g}") for name, price in zip(names, solution, strict=True)}
    high = np.quantile(np.abs(errors(rows, prices)), [0.5, 0.95])
    print(f"{len(rows)} packed layers: median error {high[0]:.1%}, 95 % below {high[1]:.1%}")
    return dict(sorted(prices.items()))


def errors(rows: list[Row], prices: dict[str, float]) -> np.ndarray:
    """Relative errors."""
    found = [sum(n * prices.get(name, 0.0) for name, n in events.items()) for _, events, _ in rows]
    return np.array(found) / np.array([cost for _, _, cost in rows]) - 1


def price_file(found: list[tuple[int, list[Row]]], board: str, toolchain: str) -> dict[str, object]:
    """The contents of a file of prices fitted to the layers of nets, by seed; prints how good they are."""
    rows = [row for _, part in found for row in part]
    held = [row for seed, part in found if seed % 5 == 4 for row in part]
    trained = [row for seed, part in found if seed % 5 != 4 for row in part]
    outside = np.abs(errors(held, fit(trained)))
    prices = fit(rows)
    inside = np.abs(errors(rows, prices))
    high = np.quantile(outside, 0.95)
    print(f"{len(rows)} layers; nets held out: median error {np.median(outside):.1%}, 95 % below {high:.1%}")
    for (name, _, cost), error in sorted(zip(rows, errors(rows, prices), strict=True), key=lambda r: -abs(r[1]))[:25]:
        print(f"  {error:+7.1%} {cost:12,.0f} {name}")
    return {
        "board": board,
        "toolchain": toolchain,
        "unit": UNITS[board],
        "layers": len(rows),
        "median_error": round(float(np.median(inside)), 4),
        "held_out_median_error": round(float(np.median(outside)), 4),
        "held_out_error_95": round(float(high), 4),
        "prices": prices,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", default="msp430", choices=sorted(UNITS))
    parser.add_argument("--toolchain", default="zig")
    parser.add_argument("--nets", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--packed", action="store_true", help="price packed weights alone")
    arguments = parser.parse_args()
    path = prices_path(arguments.board, arguments.toolchain)
    if not arguments.packed:
        found = collect(range(arguments.nets), arguments, pack=False)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(price_file(found, arguments.board, arguments.toolchain), indent=1) + "\n")
    document = json.loads(path.read_text())
    known = {name: price for name, price in document["prices"].items() if not name.startswith(("unpack", "sparse"))}
    found = collect(range(1000, 1000 + 2 * arguments.nets // 5), arguments, pack=True)
    document["prices"] = extend([row for _, part in found for row in part], known)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written to {path}")


def collect(seeds: range, arguments: argparse.Namespace, *, pack: bool) -> list[tuple[int, list[Row]]]:
    """The measured layers of nets, by seed."""
    from joblib import Parallel, delayed

    board, toolchain = arguments.board, arguments.toolchain

    def one(seed: int) -> tuple[int, list[Row]]:
        try:
            return seed, list(measure(seed, board, toolchain, UNITS[board], pack=pack))
        except FreemlError as error:
            print(f"net {seed} left out: {str(error).splitlines()[0]}", flush=True)
            return seed, []

    return list(Parallel(n_jobs=arguments.jobs, verbose=5)(delayed(one)(seed) for seed in seeds))


if __name__ == "__main__":
    main()
