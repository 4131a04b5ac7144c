"""The cost model: what it counts is what the loops do, and what it predicts is what the simulator measures."""

import json

import pytest

from examples.ledger import MODELS
from freeml.pipeline import Options, compile_model, lower_planned
from freeml.plan.cost import FOLDER, load_cost_model
from freeml.plan.events import SHIFTS, events_by_layer, shift_event
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
    assert events["gather.rows"] == events["copy.s8"] == 5 * windows
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
