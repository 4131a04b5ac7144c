"""No accumulator overflows: the worst inputs reach the proved bound and no further; what cannot be proved is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import INT32_MAX, make_requant
from freeml.ir.graph import Brought, Graph, QGraph, Stage, execute
from freeml.ir.types import QRANGE, QType
from freeml.ops.add import Add
from freeml.ops.averagepool import AveragePool
from freeml.ops.base import FloatOp, Quantizing
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv, QConv
from freeml.ops.dense import Dense, QDense
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.softmax import Softmax
from freeml.quant.quantize import Precision, dequantize, quantize, quantize_input
from freeml.quant.ranges import observe
from ops.compiled import Workshop, compiled, lowered
from ops.sketch import Sketch


def linear_stages(graph: QGraph) -> list[Stage]:
    """The stages that accumulate products with weights."""
    return [s for s in graph.stages() if isinstance(s.op, (QConv, QDense))]


def by_output(graph: QGraph, stage: Stage) -> np.ndarray:
    """Weights as (outputs, taps)."""
    weights = graph.constants[stage.inputs[1]]
    if isinstance(stage.op, QConv) and stage.op.depthwise:
        return weights.reshape(-1, weights.shape[-1]).T
    return weights.reshape(weights.shape[0], -1)


def reach(graph: QGraph, stage: Stage) -> np.ndarray:
    """The largest magnitude that any accumulator can have, by output channel: the bound that the proof works with."""
    low, _ = QRANGE[graph.types[stage.inputs[0]].dtype]
    return np.abs(by_output(graph, stage)).sum(axis=1) * -low + np.abs(graph.constants[stage.inputs[2]])


def worst(weights: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs that make a dot product with `weights` largest and smallest."""
    return np.where(weights > 0, high, low), np.where(weights > 0, low, high)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    depth=st.integers(1, 40),
    width=st.sampled_from(("int8", "int16")),
    weight_bits=st.sampled_from((8, 16)),
    sign=st.sampled_from((0, 1, -1)),
)
def test_the_worst_inputs_stay_within_the_proof_and_the_c_agrees(
    workshop: Workshop, seed: int, depth: int, width: str, weight_bits: int, sign: int
) -> None:
    """For every output the inputs follow the signs of its weights. With weights of one sign the bound is met exactly, but
    for the one unit by which the lowest number is farther from 0 than the highest."""
    sketch = Sketch(seed=seed)
    x = sketch.input(1, depth)
    w = sketch.rng.normal(size=(depth, 4))
    y = sketch.add(Dense(), x, sketch.constant(np.abs(w) * sign if sign else w), sketch.normal(4))
    net = compiled(sketch.graph(y), sketch.samples(), width=width, weight_bits=weight_bits)  # type: ignore[arg-type]
    (stage,) = linear_stages(net.qgraph)
    weights, bias = by_output(net.qgraph, stage), net.qgraph.constants[stage.inputs[2]]
    low, high = QRANGE[net.qgraph.types[stage.inputs[0]].dtype]
    bound = reach(net.qgraph, stage)
    requant = stage.op.requant
    assert stage.op.wide or int(bound.max()) << max(requant.pre_shift, 0) <= INT32_MAX
    inputs = np.concatenate([np.stack(worst(row, low, high)) for row in weights])
    accumulators = inputs @ weights.T + bias
    assert (np.abs(accumulators) <= bound).all()
    partial = np.abs(np.cumsum(inputs[:, np.newaxis] * weights, axis=2)).max(axis=(0, 2))
    assert (partial <= bound).all()  # whatever the order, a part of the sum is within the bound as well
    if sign:
        largest = np.abs(accumulators).max(axis=0)
        assert (largest >= bound - np.abs(weights).sum(axis=1) - 2 * np.abs(bias)).all()
        np.testing.assert_array_equal(np.abs(accumulators - bias).max(axis=0), np.abs(weights).sum(axis=1) * -low)
    assert not workshop.disagreements(net, {"x": inputs[:, np.newaxis, :]})


def wide_nets() -> dict[str, tuple[Sketch, str, str, int]]:
    """Nets whose sums need more than 32 bits: (net, output, activations, weight bits)."""
    found = {}
    for name, width, bits, depth in (
        ("s16_s16", "int16", 16, 6),
        ("s16_s8", "int16", 8, 1200),
        ("s8_s16", "int8", 16, 1200),
    ):
        sketch = Sketch()
        x = sketch.input(1, depth)
        w = np.sign(sketch.rng.normal(size=(depth, 3)))
        found[f"dense {name}"] = sketch, sketch.add(Dense(), x, sketch.constant(w), sketch.normal(3)), width, bits
    for name, group, kernel in (("conv", 1, (3, 3)), ("grouped", 2, (3, 3)), ("depthwise", 4, (3, 3)), ("1d", 1, (5,))):
        sketch = Sketch()
        x = sketch.input(1, 4, *(7,) * len(kernel))
        shape = (4, 4 // group, *kernel)
        rank = len(kernel)
        w = sketch.constant(np.sign(sketch.rng.normal(size=shape)))
        op = Conv(strides=(1,) * rank, dilations=(1,) * rank, pads=((1, 1),) * rank, group=group)
        found[name] = sketch, sketch.add(op, x, w), "int16", 16
    for name, kind in (("max", MaxPool), ("average", AveragePool)):
        sketch, y, _, _ = wide_nets_conv()
        pool = kind(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0)))
        found[f"conv and {name} pool"] = sketch, sketch.add(pool, y), "int16", 16
    sketch, y, _, _ = wide_nets_conv()
    found["conv and sum"] = sketch, sketch.add(Add(), y, sketch.inputs[0]), "int16", 16
    return found


def wide_nets_conv() -> tuple[Sketch, str, str, int]:
    """A padded convolution that keeps its input's shape, with 16-bit weights."""
    sketch = Sketch()
    x = sketch.input(1, 4, 6, 6)
    w = sketch.constant(np.sign(sketch.rng.normal(size=(4, 4, 3, 3))))
    op = Conv(strides=(1, 1), dilations=(1, 1), pads=((1, 1), (1, 1)))
    return sketch, sketch.add(op, x, w), "int16", 16


@pytest.mark.parametrize("name", sorted(wide_nets()))
def test_sums_beyond_32_bits_are_widened_and_exact(name: str, workshop: Workshop) -> None:
    sketch, y, width, bits = wide_nets()[name]
    net = compiled(sketch.graph(y), sketch.samples(), width=width, weight_bits=bits)  # type: ignore[arg-type]
    (stage,) = linear_stages(net.qgraph)
    assert stage.op.wide
    assert int(reach(net.qgraph, stage).max()) > INT32_MAX
    assert "_wide(" in net.files["model.c"]
    probes = net.probes(sketch.samples())
    type_ = net.qgraph.types["x"]
    rows = by_output(net.qgraph, stage)
    if isinstance(stage.op, QDense):
        inputs = np.concatenate([np.stack(worst(row, type_.qmin, type_.qmax)) for row in rows])[:, np.newaxis, :]
        assert int(np.abs(inputs @ rows.T).max()) > INT32_MAX, "these inputs would not overflow 32 bits"
        probes = {"x": np.concatenate([probes["x"], inputs])}
    assert not workshop.disagreements(net, probes)


def test_narrow_sums_are_not_widened() -> None:
    sketch = Sketch()
    y = sketch.dense(sketch.input(1, 64), 8)
    for width in ("int8", "int16"):
        net = compiled(sketch.graph(y), sketch.samples(), width=width)  # type: ignore[arg-type]
        assert not linear_stages(net.qgraph)[0].op.wide


def brought_net(bias: float, scale: float) -> tuple[Graph, dict[str, np.ndarray]]:
    """A dense layer whose weights bring a scale: then freeml has no say in how large the bias becomes."""
    sketch = Sketch()
    x = sketch.input(1, 4)
    w = sketch.constant(np.full((4, 2), 100 * scale))
    y = sketch.add(Dense(), x, w, sketch.constant(np.full(2, bias)))
    brought = {w: Brought(scale=np.array([scale]), zero_point=np.array([0]), bits=8)}
    return replace(sketch.graph(y), brought=brought), dict(sketch.samples())


def quantized(graph: Graph, samples: dict[str, np.ndarray]) -> QGraph:
    """The integer graph, calibrated by extremes."""
    return quantize(graph, observe(graph, samples), precision=Precision(), method="minmax")


def test_a_bias_near_32_bits_is_widened_though_weights_and_activations_have_8(workshop: Workshop) -> None:
    graph, samples = brought_net(bias=1.0, scale=1.0)
    unit = quantized(graph, samples).types["x"].scale
    scale = 1.0 / (unit * (2.0**31 - 2.0**14))
    graph, samples = brought_net(bias=1.0, scale=scale)
    net = lowered(graph, quantized(graph, samples))
    (stage,) = linear_stages(net.qgraph)
    assert stage.op.wide
    assert "fm_dot_s8_s8_wide(" in net.files["model.c"]
    assert not workshop.disagreements(net, net.probes(samples))


def test_a_bias_beyond_32_bits_is_refused() -> None:
    graph, samples = brought_net(bias=1.0, scale=1e-12)
    with pytest.raises(QuantizationError, match="node n0: expected every bias to fit 32 bits"):
        quantized(graph, samples)


def test_a_channel_of_zeros_leaves_room_for_one_with_a_large_factor(workshop: Workshop) -> None:
    """Accumulators of a layer are shifted up for the largest factor, that of few inputs to 16 bits; so the bias of a
    channel without weights, whose unit is free, must not fill them."""
    sketch = Sketch()
    weights = sketch.constant(np.array([[1.0, 0.0, 1e-9]]))
    y = sketch.add(Dense(), sketch.input(1, 1), weights, sketch.constant(np.array([0.0, 0.1, -0.2])))
    graph, samples = sketch.graph(y), sketch.samples()
    net = lowered(
        graph, quantize(graph, observe(graph, samples), precision=Precision(widths={y: "int16"}), method="minmax")
    )
    (stage,) = linear_stages(net.qgraph)
    assert stage.op.requant.pre_shift > 0
    x = {"x": quantize_input(samples["x"], net.qgraph.types["x"])}
    found = dequantize(execute(net.qgraph, x)[y], net.qgraph.types[y])
    np.testing.assert_allclose(found, execute(graph, samples)[y], atol=0.01)
    assert not workshop.disagreements(net, net.probes(samples))


def request(inputs: tuple[QType | None, ...], out: QType, constants: tuple[np.ndarray | None, ...] = ()) -> Quantizing:
    """A request to quantize a node called `layer`."""
    constants = constants or (None,) * len(inputs)
    return Quantizing(node="layer", inputs=inputs, outputs=(out,), constants=constants, brought=(None,) * len(inputs))


def format_(*shape: int, scale: float = 1.0, dtype: str = "int16") -> QType:
    """A symmetric format."""
    return QType(shape=shape, dtype=dtype, scale=scale, zero_point=0)  # type: ignore[arg-type]


WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads": ((0, 0), (0, 0))}
REFUSED: dict[str, tuple[FloatOp, Quantizing]] = {
    "dense": (
        Dense(),
        request((format_(1, 4), None), format_(1, 2, scale=1e-9), (None, np.ones((4, 2)))),
    ),
    "conv": (
        Conv(**WINDOW),
        request((format_(1, 1, 4, 4), None), format_(1, 1, 4, 4, scale=1e-9), (None, np.ones((1, 1, 1, 1)))),
    ),
    "sum": (Add(), request((format_(1, 4), format_(1, 4)), format_(1, 4, scale=1e-9))),
    "product": (Mul(), request((format_(1, 4), format_(1, 4)), format_(1, 4, scale=1e-9))),
    "slope": (PRelu(), request((format_(1, 4), None), format_(1, 4, scale=1e-12), (None, np.array([0.1])))),
    "slopes that vary along rows": (
        PRelu(),
        request((format_(1, 2, 3), None), format_(1, 2, 3), (None, np.arange(3.0).reshape(1, 1, 3))),
    ),
    "concatenation": (Concat(axis=1), request((format_(1, 4), format_(1, 4)), format_(1, 8, scale=1e-12))),
    "average": (
        AveragePool(kernel=(300, 300), **WINDOW),
        request((format_(1, 1, 300, 300),), format_(1, 1, 1, 1)),
    ),
    "mean": (ReduceMean(axes=(1,)), request((format_(1, 70000),), format_(1, 1))),
    "softmax of a long axis": (Softmax(axis=1), request((format_(1, 70000),), format_(1, 70000, scale=2.0**-15))),
    "softmax to a strange unit": (Softmax(axis=1), request((format_(1, 3),), format_(1, 3, scale=1e-12))),
    "log-softmax": (LogSoftmax(axis=1), request((format_(1, 3),), format_(1, 3, scale=1e-12))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_proved_is_refused_by_name(name: str) -> None:
    op, wanted = REFUSED[name]
    with pytest.raises(QuantizationError, match=r"^node layer: expected .* found .*; "):
        op.quantize(wanted)


def test_a_wrong_proof_is_caught_by_the_reference() -> None:
    requant = make_requant(np.array([0.3]), accumulator_bound=1000, zero_point=0, low=-128, high=127)
    assert requant is not None
    wrong = replace(requant, pre_shift=12)
    assert wrong.apply(np.array([2**19])).size
    with pytest.raises(AssertionError, match="the overflow proof of this layer is wrong"):
        wrong.apply(np.array([2**20]))


def test_a_factor_is_refused_exactly_when_its_accumulator_would_not_fit() -> None:
    """A factor in [1/2, 1) needs two bits to the left of the accumulator, each doubling one more."""
    for exponent in range(-2, 12):
        shift = max(0, exponent + 2)
        largest = INT32_MAX >> shift
        factor = np.array([0.75 * 2.0**exponent])
        fits, not_quite = (
            make_requant(factor, accumulator_bound=bound, zero_point=0, low=-128, high=127)
            for bound in (largest, largest + 1)
        )
        assert fits is not None
        assert fits.pre_shift == shift
        assert not_quite is None


def test_the_multiplier_of_a_factor_just_below_a_power_of_two_stays_in_31_bits() -> None:
    for exponent in (-40, -20, -1, 0, 5):
        factor = np.array([np.nextafter(2.0**exponent, 0.0)])
        requant = make_requant(factor, accumulator_bound=100, zero_point=0, low=-(2**30), high=2**30)
        assert requant is not None
        assert 0 < requant.multipliers[0] <= INT32_MAX
        assert requant.apply(np.array([64]))[0] == np.floor(64 * factor[0] + 0.5)


def test_code_of_every_accumulator_is_in_the_runtime() -> None:
    """dot_name can ask for every pair of widths; each must exist, plain and strided, narrow and wide."""
    from freeml.ops.conv import dot_name
    from freeml.resources import resource_dir

    text = (resource_dir("firmware") / "common" / "fm_kernels.h").read_text(encoding="utf-8")
    for x in ("int8_t", "int16_t"):
        for w in ("int8_t", "int16_t"):
            for wide in (False, True):
                assert f"FM_DEFINE_DOT({dot_name(x, w, wide)}, {'int64_t' if wide else 'int32_t'}, {x}, {w})" in text
