"""Ranges, corrections and the choice between them, on small nets whose right answer is known."""

import numpy as np
import pytest

from freeml.ir.graph import Graph, execute, single
from freeml.ir.types import TensorType
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.reshape import Reshape
from freeml.quant.choose import choose
from freeml.quant.correct import correct_bias, rounded
from freeml.quant.equalize import equalize
from freeml.quant.precision import choose_widths
from freeml.quant.quantize import Precision, dequantize, format_from_range, quantize_input
from freeml.quant.ranges import observe
from freeml.quant.synthetic import synthetic_inputs


def small_net(*, spread: float = 1.0, statistics=None) -> Graph:
    """Conv 3x3 (4 channels), Relu, flatten, dense to 3; channel c of the conv is scaled by spread ** c."""
    rng = np.random.default_rng(1)
    w1 = rng.normal(size=(4, 2, 3, 3)).astype(np.float32) * (spread ** np.arange(4)).reshape(4, 1, 1, 1).astype(
        np.float32
    )
    b1 = rng.normal(size=4).astype(np.float32) * (spread ** np.arange(4)).astype(np.float32)
    w2 = rng.normal(size=(64, 3)).astype(np.float32) / np.repeat(spread ** np.arange(4), 16)[:, None].astype(np.float32)
    constants = {"w1": w1, "b1": b1, "w2": w2.astype(np.float32), "b2": np.zeros(3, np.float32)}
    shapes = {"x": (1, 2, 6, 6), "c": (1, 4, 4, 4), "r": (1, 4, 4, 4), "f": (1, 64), "y": (1, 3)}
    types = {k: TensorType(shape=s) for k, s in shapes.items()}
    types |= {k: TensorType(shape=v.shape) for k, v in constants.items()}
    conv = Conv(strides=(1, 1), dilations=(1, 1), pads=((0, 0), (0, 0)), clamp=(0.0, float("inf")))
    nodes = (
        single("conv", conv, ("x", "w1", "b1"), ("r",)),
        single("flat", Reshape(shape=(1, 64)), ("r",), ("f",)),
        single("dense", Dense(), ("f", "w2", "b2"), ("y",)),
    )
    del types["c"]
    return Graph(
        name="net", inputs=("x",), outputs=("y",), nodes=nodes, types=types, constants=constants,
        statistics=statistics or {},
    )  # fmt: skip


def inputs(count=64, seed=0):
    return {"x": np.random.default_rng(seed).normal(size=(count, 1, 2, 6, 6)).astype(np.float32)}


def test_a_range_always_holds_zero_and_zero_is_exact():
    for low, high in ((0.5, 2.0), (-3.0, -1.0), (-1.0, 2.0), (0.0, 0.0)):
        type_ = format_from_range((4,), "int8", low, high)
        assert dequantize(np.array([type_.zero_point]), type_)[0] == 0.0
        assert dequantize(quantize_input(np.zeros(4), type_), type_).tolist() == [0.0] * 4
    assert format_from_range((4,), "int16", -1.0, 3.0).zero_point == 0


def test_inputs_are_rounded_half_up_and_saturate():
    type_ = format_from_range((1,), "int16", -32767.0, 32767.0)
    assert type_.scale == 1.0
    found = quantize_input(np.array([0.5, -0.5, 1.5, -1.5, 1e9, -1e9]), type_)
    assert found.tolist() == [1, 0, 2, -1, 32767, -32768]


def test_percentile_and_mse_clip_an_outlier():
    graph = small_net()
    data = inputs(4096)
    data["x"][0, 0, 0, 0, 0] = 1000.0
    seen = observe(graph, data)
    assert seen.range("x", "minmax")[1] == 1000.0
    assert seen.range("x", "percentile")[1] < 10.0
    assert seen.range("x", "mse")[1] < 1000.0


def test_equalization_leaves_the_float_net_as_it_was_and_narrows_the_channels():
    graph = small_net(spread=3.0)
    data = inputs()
    before = observe(graph, data)
    equal = equalize(graph, before)
    np.testing.assert_allclose(execute(equal, data)["y"], execute(graph, data)["y"], rtol=1e-3, atol=1e-3)
    reach = before.values["r"].channel_reach
    after = observe(equal, data).values["r"].channel_reach
    assert after.max() / after.min() < reach.max() / reach.min() / 4


def test_bias_correction_takes_out_the_mean_error_of_rounded_weights():
    graph = small_net()
    data = {"x": inputs(256)["x"] + 1.0}
    weights = rounded(graph.constants["w2"].T.astype(np.float64), 7).T  # 3-bit weights: a large, visible error
    coarse = Graph(
        name="net", inputs=graph.inputs, outputs=graph.outputs, nodes=graph.nodes, types=graph.types,
        constants={**graph.constants, "w2": weights.astype(np.float32)},
    )  # fmt: skip
    mean = observe(graph, data).values["f"].channel_mean
    error = execute(coarse, data)["y"].mean(axis=(0, 1)) - execute(graph, data)["y"].mean(axis=(0, 1))
    predicted = (weights - graph.constants["w2"]).T @ mean
    np.testing.assert_allclose(error, predicted, rtol=0.02, atol=0.02)
    fixed = correct_bias(graph, observe(graph, data), 8)
    shift = fixed.constants[fixed.nodes[-1].stages[0].inputs[2]] - graph.constants["b2"]
    exact = (rounded(graph.constants["w2"].T.astype(np.float64), 127).T - graph.constants["w2"]).T @ mean
    np.testing.assert_allclose(shift, -exact, rtol=1e-4, atol=1e-6)


def test_the_choice_is_the_trial_with_the_least_error():
    choice = choose(small_net(spread=4.0), inputs(), precision=Precision())
    errors = {trial.name: trial.error for trial in choice.trials}
    assert errors[choice.chosen] == min(errors.values())
    assert "equalization" in choice.chosen
    assert {"mse", "minmax", "percentile"} <= set(errors)


def test_automatic_precision_widens_until_the_drop_is_small_enough():
    graph = small_net()
    start = choose(graph, inputs(), precision=Precision())
    allowed = []

    def drop(qgraph):
        wide = sum(t.dtype == "int16" for n, t in qgraph.types.items() if n in ("x", "r", "y"))
        allowed.append(wide)
        return 0.0 if wide >= 2 else 1.0

    best, precision = choose_widths(graph, inputs(), start=start, drop=drop, weight_bits=8)
    assert sum(t.dtype == "int16" for n, t in best.qgraph.types.items() if n in ("x", "r", "y")) == 2
    assert len(precision.widths) >= 2
    assert allowed[0] == 0


def test_automatic_precision_ends_with_16_bits_when_nothing_helps():
    graph = small_net()
    start = choose(graph, inputs(), precision=Precision())
    best, precision = choose_widths(graph, inputs(), start=start, drop=lambda _: 1.0, weight_bits=8)
    assert precision.default == "int16"
    assert all(best.qgraph.types[name].dtype == "int16" for name in ("x", "r", "y"))


def test_synthetic_inputs_follow_a_batch_norm_on_the_input():
    mean, deviation = np.array([100.0, -7.0]), np.array([3.0, 0.5])
    made = synthetic_inputs(small_net(statistics={"x": (mean, deviation)}))
    by_channel = np.moveaxis(made.inputs["x"], 2, 0).reshape(2, -1)
    np.testing.assert_allclose(by_channel.mean(axis=1), mean, atol=0.5)
    np.testing.assert_allclose(by_channel.std(axis=1), deviation, rtol=0.1)
    assert "batch norm" in made.origin


@pytest.mark.parametrize("maker", ["uniform 0..255", "uniform 0..1", "standard normal"])
def test_synthetic_inputs_come_closest_to_inner_statistics(maker):
    from freeml.quant.synthetic import CANDIDATES

    graph = small_net()
    sample = CANDIDATES[maker](np.random.default_rng(5), (200, 1, 2, 6, 6)).astype(np.float32)
    values = np.moveaxis(execute(graph, {"x": sample})["r"], 2, 0).reshape(4, -1)
    made = synthetic_inputs(small_net(statistics={"r": (values.mean(axis=1), values.std(axis=1))}))
    assert maker in made.origin


def test_relu_net_has_the_whole_int8_range_for_positive_numbers():
    choice = choose(small_net(), inputs(), precision=Precision(), method="minmax")
    assert choice.qgraph.types["r"].zero_point == -128
