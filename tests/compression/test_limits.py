"""What fewer bits cost besides flash: RAM to unpack rows, near memory, cycles in every region; and nets at the edge."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import blobs
from freeml.codegen.lower import lower
from freeml.compression.allocate import Estimator, allocate, fewer_bits, floor
from freeml.compression.budget import Budget, parse_size
from freeml.compression.channels import find_channels
from freeml.compression.coarse import coarsen, weight_axes
from freeml.compression.head import find_head
from freeml.compression.scores import coarseness, importance
from freeml.compression.train import make_lesson
from freeml.data import load_dataset
from freeml.errors import FreemlError
from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import Graph
from freeml.ops.dense import QDense
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.pipeline import compile_model
from freeml.plan.cost import load_cost_model
from freeml.plan.events import events_by_layer, per_region
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import arena_alignment, plan_memory
from freeml.plan.storage import pack_weights, reachable_bytes
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.regions.cutting import WHOLE, LayerWork
from freeml.targets import get

BOARD = get("msp430")
RNG = np.random.default_rng(0)


def perceptron(*sizes: int) -> Graph:
    """Dense layers with Relu between."""
    constants, nodes, value = [], [], "x"
    for number, (before, after) in enumerate(pairwise(sizes)):
        weights = RNG.normal(size=(before, after)).astype(np.float32) / before**0.5
        constants.append(numpy_helper.from_array(weights, f"w{number}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{number}"], [f"h{number}"], name=f"dense{number}"))
        value = f"h{number}"
        if number + 2 < len(sizes):
            nodes.append(helper.make_node("Relu", [value], [f"r{number}"], name=f"relu{number}"))
            value = f"r{number}"
    return graph_of(nodes, constants, (1, sizes[0]), [value])


def graph_of(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: tuple[int, ...], outputs: list[str]
) -> Graph:
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return run_passes(import_model(model, None), PASSES)


def samples(graph: Graph, count: int = 16) -> dict[str, np.ndarray]:
    return {n: RNG.normal(size=(count, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs}


def judge(graph: Graph) -> Estimator:
    return Estimator(board=BOARD, precision=Precision(), prices=None, inputs=samples(graph), whole_bytes=128)


def test_bits_that_would_break_the_other_limit_are_not_taken() -> None:
    """A row to unpack is as long as the input: fewer bits are no way here, however little they cost."""
    graph = perceptron(784, 64, 10)
    channels, estimator = find_channels(graph), judge(graph)
    scores = dict.fromkeys(channels.units, 1.0)
    coarse = dict.fromkeys(fewer_bits(graph), 1e-3)
    cuts = allocate(graph, channels, scores, coarse, {}, estimator, flash=30_000, ram=500)
    need = estimator.need(cuts.apply(graph, channels))
    assert need.flash <= 30_000
    assert need.ram <= 500
    assert len(cuts.units) < 40


def test_the_least_ram_is_that_of_plain_weights() -> None:
    graph = perceptron(784, 64, 10)
    channels, estimator = find_channels(graph), judge(graph)
    plain, packed = (estimator.need(floor(graph, channels, packs=packs)) for packs in (False, True))
    assert plain.ram < packed.ram
    assert plain.flash > packed.flash


def test_a_feasible_budget_of_ram_is_not_refused(tmp_path: Path) -> None:
    """Less RAM than rows to unpack would take, and a flash that takes half of the channels."""
    model = blobs.save_model(tmp_path / "net.onnx")
    plain = compile_model(model, options=Options(), data=blobs.arrays()).report["bytes"]
    budget = Budget(
        flash_bytes=plain["flash"] + plain["nv"] - plain["weights"] // 3, ram_bytes=plain["sram"], max_drop_points=30.0
    )
    found = compile_model(model, options=Options(budget=budget), data=blobs.arrays())
    assert found.report["bytes"]["sram"] <= plain["sram"]


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("size", [1e-12, 1e-44, 0.0])
def test_a_channel_that_is_all_but_dead(bits: int, size: float) -> None:
    """Its bias is as large as any, and must fit the accumulator's units."""
    weights = RNG.normal(size=(6, 40)).astype(np.float32)
    weights[2] *= np.float32(size)
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.ones(6, np.float32), "b")]
    graph = graph_of([helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], constants, (1, 40), ["y"])
    coarse = coarsen(graph, next(iter(weight_axes(graph))), bits)
    seen = observe(coarse, samples(coarse))
    qgraph = quantize(coarse, seen, precision=Precision(), method="minmax", groups=fusion_groups(coarse))
    assert any(isinstance(stage.op, QDense) for stage in qgraph.stages())


def test_layers_of_a_further_output_have_a_score() -> None:
    """One dense layer each for a class and for a number: neither is free to go."""
    arrays = {"w": (8, 16), "v": (16, 4), "u": (16, 12), "t": (12, 1)}
    constants = [numpy_helper.from_array(RNG.normal(size=s).astype(np.float32), n) for n, s in arrays.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["logits"]),
        helper.make_node("MatMul", ["r", "u"], ["g"]), helper.make_node("Relu", ["g"], ["q"]),
        helper.make_node("MatMul", ["q", "t"], ["number"]),
    ]  # fmt: skip
    graph = graph_of(nodes, constants, (1, 8), ["logits", "number"])
    x = RNG.normal(size=(60, 8)).astype(np.float32)
    dataset = load_dataset(
        {"x_train": x, "y_train": np.arange(60) % 4, "x_test": x, "y_test": np.arange(60) % 4}, (1, 8)
    )
    head = find_head(graph)
    lesson = make_lesson(graph, head, dataset.train)
    assert lesson.others
    scores = importance(graph, find_channels(graph), head, lesson, seed=0)
    assert min(scores.values()) > 0
    assert min(coarseness(graph, fewer_bits(graph), head, lesson, seed=0).values()) > 0


def packed_conv() -> Graph:
    """A convolution of 4 bits."""
    weights = RNG.normal(size=(16, 12, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    graph = graph_of([node], [numpy_helper.from_array(weights, "w")], (1, 12, 8, 8), ["y"])
    return coarsen(graph, next(iter(weight_axes(graph))), 4)


def test_weights_unpacked_whole_cost_every_region() -> None:
    coarse = packed_conv()
    seen = observe(coarse, samples(coarse, 4))
    qgraph = quantize(coarse, seen, precision=Precision(), method="minmax", groups=fusion_groups(coarse))
    packed = pack_weights(to_channels_last(qgraph), 2048)
    program = lower(packed, plan_memory(packed, arena_alignment(BOARD)), board=BOARD)
    prices = load_cost_model("msp430", "zig")
    assert prices is not None
    pairs = zip(program.layers, events_by_layer(program.layers), strict=True)  # the layout is copied before and after
    ((layer, events),) = [pair for pair in pairs if "unpack4" in pair[1]]
    each, whole = prices.predict(per_region(layer)), prices.predict(events)
    assert each is not None
    assert whole is not None
    assert each > 10 * 12 * 16 * 9
    work, cut = LayerWork(cycles=whole, each_region=each), replace(WHOLE, units=64, per_region=16)
    assert work.total(WHOLE, layer) == pytest.approx(whole)
    assert work.total(cut, layer) == pytest.approx(whole + 3 * each)
    assert work.region(cut, layer) == pytest.approx((whole - each) / 4 + each)


def test_the_largest_stay_plain_where_near_memory_is_short() -> None:
    """Only plain weights can go far."""
    graph = perceptron(200, 200, 200, 200, 10)
    for name in weight_axes(graph):
        graph = coarsen(graph, name, 4)
    seen = observe(graph, samples(graph))
    qgraph = quantize(graph, seen, precision=Precision(), method="minmax", groups=fusion_groups(graph))
    planned = to_channels_last(qgraph)

    def packed(limit: int | None) -> list[bool]:
        stages = pack_weights(planned, 0, limit).stages()
        return [stage.op.packed is not None for stage in stages if isinstance(stage.op, QDense)]

    assert packed(None) == packed(61_000) == [True] * 4
    assert packed(41_000) == [False, True, True, True]
    assert packed(900) == [False] * 4
    near = reachable_bytes(BOARD, plan_memory(planned, arena_alignment(BOARD)))
    assert near is not None
    assert 30_000 < near < BOARD.near_nv.size_bytes
    assert reachable_bytes(get("apollo4"), plan_memory(planned)) is None


def test_storage_wants_data(tmp_path: Path) -> None:
    options = Options(budget=Budget(flash_bytes=1_000_000, trials=2))
    with pytest.raises(FreemlError, match="expected --data to search with, found none"):
        compile_model(blobs.save_model(tmp_path / "net.onnx"), options=options)


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "KB"])
def test_a_size_without_end(text: str) -> None:
    with pytest.raises(FreemlError, match="--flash: expected a number of bytes above 0"):
        parse_size(text, "--flash")
