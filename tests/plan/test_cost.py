"""The cost model: what it counts is what the loops do, and what it predicts is what the simulator measures."""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from examples.ledger import MODELS
from freeml.making import lower_planned
from freeml.ops.base import CRequant
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.plan.cost import FOLDER, load_cost_model
from freeml.plan.counting import SHIFTS, shift_event
from freeml.plan.events import events_by_layer
from freeml.plan.reach import UNKNOWN, requant_clamps
from freeml.profiling import profile
from freeml.targets import BOARDS


@pytest.fixture(scope="module")
def lenet():
    artifact = compile_model(MODELS / "lenet5.onnx", options=Options(target="apollo4"))
    _, program = lower_planned(artifact.graph, artifact.board)
    return dict(zip([layer.name for layer in program.layers], events_by_layer(program.layers), strict=True))


def test_events_of_a_pooled_convolution(lenet):
    """5 x 5 over 28 x 28, one channel in, six out, pooled 2 x 2: each of the 24 x 24 windows is gathered once."""
    events = lenet["node_conv2d"]
    windows = 24 * 24
    assert events["gather"] == events["conv.windows"] == windows
    assert events["gather.rows"] == events["copy.s8"] == events["copy.s8.long"] == 5 * windows
    assert events["copy.s8.elements"] == 25 * windows
    assert (events["gather.filled"], events["gather.trims"]) == (0, 0)
    assert events["conv.outputs"] == events["dot.s8_s8"] == events["pooled.max"] == 6 * windows
    assert events["dot.s8_s8.by8"] == 3 * 6 * windows
    assert events["dot.s8_s8.over8"] == 6 * windows
    # the largest accumulator of a pool's window is requantized, not every one
    assert events["requant"] == events["pooled.outputs"] == 6 * 12 * 12


def test_events_of_a_dense_layer(lenet):
    events = lenet["node_linear_2"]
    assert events["dense.outputs"] == events["requant"] == events["requant.by_channel"] == 10
    assert events["dot.s8_s8.by16"] == 10 * (84 // 16)
    assert events["dot.s8_s8.over4"] == 0


def pool_alone(kind, folder):
    """3 x 3 over 5 x 6 of one channel, unpadded, every column: 3 x 4 windows, the last of either axis at the edge."""
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], kernel_shape=[3, 3], name="pool")],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 5, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "x.onnx")
    artifact = compile_model(folder / "x.onnx", options=Options(target="apollo4"))
    _, program = lower_planned(artifact.graph, artifact.board)
    (events,) = events_by_layer(program.layers)
    return events


def test_events_of_a_pool(tmp_path):
    events = pool_alone("MaxPool", tmp_path)
    windows = 3 * 4
    assert events["pool.max.windows"] == events["pool.max.outputs"] == windows
    assert events["pool.max.rows.touching"] == 3 * windows
    assert events["pool.max.taps.int8"] == events["pool.max.taps.touching"] == 9 * windows
    assert events["pool.max.raised"] == round(windows * sum(1 / n for n in range(1, 10)))


def test_the_only_requantization_of_a_program_is_merged_into_its_layer(tmp_path):
    events = pool_alone("AveragePool", tmp_path)
    assert events["requant.merged"] == events["pool.average.outputs"] == 3 * 4
    assert not events["requant"]
    assert not [name for name in events if name.startswith("requant.passed.")]


def test_arguments_that_are_the_same_everywhere_are_not_passed(lenet):
    """No layer of LeNet-5 shifts before it multiplies, and all clamp to int8; the other two arguments differ."""
    passed = {name for events in lenet.values() for name in events if name.startswith("requant.passed.")}
    assert passed == {"requant.passed.shift", "requant.passed.zero_point"}


@pytest.mark.parametrize(
    ("reach", "zero", "low", "high", "left"),
    [
        (UNKNOWN, 3, -128, 127, ("both", "low", "high")),
        (UNKNOWN, 0, -128, 127, ("signed",)),
        (UNKNOWN, -128, -128, 127, ("unsigned", "low", "high")),
        (UNKNOWN, 0, -127, 127, ("both", "low", "high")),
        ((-128 << 10, 127 << 10), 0, -128, 127, ()),
        ((-128 << 10, 127 << 10), 1, -128, 127, ("both", "high")),
        ((-128 << 10, 127 << 10), -5, -128, 127, ("both", "low")),
    ],
)
def test_halves_of_a_clamp_that_no_number_reaches(reach, zero, low, high, left):
    """The multiplier and the shift are those of a division by 1024."""
    view = CRequant(multiplier=str(1 << 30), pre_shift=0, shift=8, zero_point=zero, low=low, high=high)
    assert requant_clamps(view, reach) == left


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_prices(path):
    document = json.loads(path.read_text())
    model = load_cost_model(document["board"], document["toolchain"])
    assert model is not None
    assert model.board in BOARDS
    assert model.unit == ("cycles" if model.board == "msp430" else "instructions")
    assert all(price >= 0 for price in model.prices.values())
    assert all(shift_event(shift) in model.prices for shift in SHIFTS[1:])
    assert document["held_out_median_error"] < 0.05


def test_what_was_never_calibrated_is_not_predicted(lenet):
    model = load_cost_model("apollo4", "zig")
    assert model is not None
    events = lenet["node_linear_2"]
    assert model.predict(events) > 0
    assert model.predict(events + type(events)({"new": 1})) is None


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_watch_net_as_a_whole(board, tmp_path):
    """Layer by layer over all examples is `make bench`'s; here the sum of one net's layers, with the default compiler."""
    artifact = compile_model(
        MODELS / "har.onnx", options=Options(target=board, toolchain="zig"), output=tmp_path / "out"
    )
    total = profile(tmp_path / "out").total
    measured = total.cycles if total.cycles is not None else total.instructions
    predicted = sum(layer["predicted_cost"] for layer in artifact.report["layers"])
    assert predicted == pytest.approx(measured, rel=0.05)
