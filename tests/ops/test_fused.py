"""What fusion makes of chains: a convolution or dense layer, what follows on its numbers, and a pool.

Every case says how many functions the C must consist of, so that a fusion that silently stops happening is seen.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from freeml.ir.types import element_count
from freeml.sim.trace import run_reference
from ops.compiled import Workshop, compiled
from ops.harness import ACTIVATIONS, WEIGHTS, Case, Precision, checks, node, normal

ONE = {"x": (1, 1, 8, 8)}
WEIGHTED = {"w": normal(4, 1, 3, 3), "b": normal(4, seed=1)}
LINE = {"x": (1, 1, 16)}
CONV = node("Conv", "x w b", "h", pads=[1, 1, 1, 1])
SIX = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}


def chain(name: str, *rest: onnx.NodeProto, layers: int = 1, every: bool = False, **constants: object) -> Case:
    """A convolution of one channel (no copy of its input), then `rest` from h to y."""
    return Case(
        name=name,
        nodes=[CONV, *rest],
        inputs=ONE,
        constants={**WEIGHTED, **constants},  # type: ignore[dict-item]
        precisions=WEIGHTS if every else ACTIVATIONS,
        layers=layers,
        opset=19,
    )


POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
NORM = {
    "scale": normal(4, seed=3),
    "bias": normal(4, seed=4),
    "mean": normal(4, seed=5),
    "var": np.abs(normal(4, seed=6)) + 1,
}
POOLED = (
    chain("conv-maxpool", node("MaxPool", "h", "y", **POOL), every=True),
    chain("conv-relu-maxpool", node("Relu", "h", "r"), node("MaxPool", "r", "y", **POOL), every=True),
    chain("conv-maxpool-relu", node("MaxPool", "h", "p", **POOL), node("Relu", "p", "y")),
    chain(
        "conv-norm-relu6-maxpool",
        node("BatchNormalization", "h scale bias mean var", "n"),
        node("Clip", "n zero six", "r"),
        node("MaxPool", "r", "y", **POOL),
        **NORM,
        **SIX,
    ),
    chain("conv-maxpool-ceil", node("MaxPool", "h", "y", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1)),
    chain("conv-maxpool-padded", node("MaxPool", "h", "y", kernel_shape=[2, 2], strides=[2, 3], pads=[1, 0, 0, 1])),
    chain("conv-maxpool-gaps", node("MaxPool", "h", "y", kernel_shape=[2, 1], strides=[3, 2])),
    chain("conv-global-maxpool", node("GlobalMaxPool", "h", "y")),
    chain("conv-tanh-maxpool", node("Tanh", "h", "t"), node("MaxPool", "t", "y", **POOL)),
    chain("conv-avgpool", node("AveragePool", "h", "y", **POOL), every=True),
    chain("conv-relu-avgpool", node("Relu", "h", "r"), node("AveragePool", "r", "y", **POOL)),
    chain("conv-avgpool-relu", node("AveragePool", "h", "p", **POOL), node("Relu", "p", "y")),
    chain("conv-avgpool-ceil", node("AveragePool", "h", "y", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1)),
    chain("conv-avgpool-padded", node("AveragePool", "h", "y", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0])),
    chain(
        "conv-avgpool-padded-counted",
        node("AveragePool", "h", "y", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1),
    ),
    chain("conv-global-avgpool", node("GlobalAveragePool", "h", "y")),
    chain("conv-hardswish-avgpool", node("HardSwish", "h", "s"), node("AveragePool", "s", "y", **POOL)),
    chain(
        "conv-prelu-maxpool",
        node("PRelu", "h s", "p"),
        node("MaxPool", "p", "y", **POOL),
        s=np.array([0.1, -0.4, 2.0, 0.0], np.float32).reshape(4, 1, 1),
    ),
    Case(
        name="1d-conv-relu-maxpool",
        nodes=[
            node("Conv", "x w b", "h", pads=[2, 2]),
            node("Relu", "h", "r"),
            node("MaxPool", "r", "y", kernel_shape=[4], strides=[4]),
        ],
        inputs=LINE,
        constants={"w": normal(5, 1, 5), "b": normal(5, seed=1)},
        layers=1,
    ),
    Case(
        name="1d-conv-avgpool-padded",
        nodes=[
            node("Conv", "x w b", "h"),
            node("AveragePool", "h", "y", kernel_shape=[3], strides=[3], pads=[1, 1]),
        ],
        inputs=LINE,
        constants={"w": normal(5, 1, 3), "b": normal(5, seed=1)},
        layers=1,
    ),
    Case(
        name="depthwise-relu-maxpool",
        nodes=[
            node("Conv", "x w", "h", group=3, pads=[1, 1, 1, 1]),
            node("Relu", "h", "r"),
            node("MaxPool", "r", "y", **POOL),
        ],
        inputs={"x": (1, 3, 6, 6)},
        constants={"w": normal(3, 1, 3, 3)},
        layers=1,
    ),
    Case(
        name="grouped-avgpool",
        nodes=[node("Conv", "x w", "h", group=2), node("AveragePool", "h", "y", **POOL)],
        inputs={"x": (1, 4, 5, 5)},
        constants={"w": normal(6, 2, 2, 2)},
        layers=1,
    ),
)

SECOND = node("Conv", "r v", "s", pads=[1, 1, 1, 1])
SUMS = tuple(
    Case(
        name=f"conv-{kind.lower()}-{side}-relu",
        nodes=[CONV, node("Relu", "h", "r"), SECOND, node(kind, order, "z"), node("Relu", "z", "y")],
        inputs=ONE,
        constants={**WEIGHTED, "v": normal(4, 4, 3, 3, seed=7) * 0.3},
        layers=2,
    )
    for kind in ("Add", "Sub", "Mul")
    for side, order in (("first", "s r"), ("second", "r s"))
)

CASES = (
    *POOLED,
    *SUMS,
    chain("conv-relu", node("Relu", "h", "y"), every=True),
    chain("conv-relu6", node("Clip", "h zero six", "y"), **SIX),
    chain("conv-leaky", node("LeakyRelu", "h", "y", alpha=0.1)),
    chain("conv-prelu", node("PRelu", "h s", "y"), s=np.array([0.1, -0.4, 2.0, 0.0], np.float32).reshape(4, 1, 1)),
    chain("conv-sigmoid", node("Sigmoid", "h", "y")),
    chain("conv-tanh", node("Tanh", "h", "y")),
    chain("conv-hardsigmoid", node("HardSigmoid", "h", "y")),
    chain("conv-hardswish", node("HardSwish", "h", "y"), every=True),
    chain("conv-scale", node("Mul", "h s", "y"), s=normal(4, 1, 1, seed=8)),
    chain("conv-shift", node("Sub", "s h", "y"), s=normal(4, 1, 1, seed=8)),
    chain("conv-times-a-constant-map", node("Mul", "h s", "y"), s=normal(1, 4, 8, 8, seed=8)),
    chain("conv-plus-a-constant-map", node("Add", "h s", "y"), s=normal(1, 4, 8, 8, seed=8)),
    chain("conv-gate", node("Sigmoid", "h", "g"), node("Mul", "h g", "y"), layers=3),
    chain("conv-two-readers", node("Relu", "h", "r"), node("Tanh", "h", "t"), node("Add", "r t", "y"), layers=4),
    chain(
        "conv-avgpool-ceil-counted",  # a fused pool counts positions inside the map, here padding counts here and there
        node(
            "AveragePool",
            "h",
            "y",
            kernel_shape=[3, 3],
            strides=[3, 3],
            pads=[1, 0, 1, 0],
            ceil_mode=1,
            count_include_pad=1,
        ),
        layers=2,
    ),
    chain("conv-overlapping-pool", node("MaxPool", "h", "y", kernel_shape=[3, 3], strides=[2, 2]), layers=2),
    Case(
        name="residual-pooled",
        nodes=[
            CONV,
            node("Conv", "h v", "s", pads=[1, 1, 1, 1]),
            node("Add", "s h", "z"),
            node("Relu", "z", "r"),
            node("AveragePool", "r", "y", **POOL),
        ],
        inputs=ONE,
        constants={**WEIGHTED, "v": normal(4, 4, 3, 3, seed=7) * 0.3},
        layers=2,
    ),
    Case(
        name="residual-of-the-input",
        nodes=[node("Conv", "x w", "h", pads=[1, 1, 1, 1]), node("Add", "h x", "y")],
        inputs={"x": (1, 3, 5, 4)},
        constants={"w": normal(3, 3, 3, 3) * 0.2},
    ),
    Case(
        name="dense-relu",
        nodes=[node("Gemm", "x w b", "h"), node("Relu", "h", "y")],
        inputs={"x": (1, 9)},
        constants={"w": normal(9, 5), "b": normal(5, seed=1)},
        precisions=WEIGHTS,
        layers=1,
    ),
    Case(
        name="dense-sigmoid",
        nodes=[node("Gemm", "x w b", "h"), node("Sigmoid", "h", "y")],
        inputs={"x": (1, 9)},
        constants={"w": normal(9, 5), "b": normal(5, seed=1)},
        layers=1,
    ),
    Case(
        name="dense-prelu",
        nodes=[node("Gemm", "x w b", "h"), node("PRelu", "h s", "y")],
        inputs={"x": (1, 9)},
        constants={"w": normal(9, 5), "b": normal(5, seed=1), "s": np.abs(normal(5, seed=2))},
        layers=1,
    ),
    Case(
        name="dense-residual",
        nodes=[
            node("Gemm", "x w b", "h"),
            node("Relu", "h", "r"),
            node("Gemm", "r v", "s"),
            node("Add", "r s", "z"),
            node("HardSwish", "z", "y"),
        ],
        inputs={"x": (1, 9)},
        constants={"w": normal(9, 5), "b": normal(5, seed=1), "v": normal(5, 5, seed=2)},
        layers=2,
    ),
    Case(
        name="dense-rows-residual",
        nodes=[node("MatMul", "x w", "h"), node("Add", "h x", "y")],
        inputs={"x": (1, 3, 4)},
        constants={"w": normal(4, 4)},
        layers=1,
    ),
)

test_float, test_integer = checks(CASES)


@pytest.mark.parametrize("case", POOLED, ids=lambda c: c.name)
def test_the_unpooled_map_is_never_stored(case: Case) -> None:
    graph = case.graph()
    net = compiled(graph, case.samples(graph))
    unpooled = max(element_count(graph.types[node.outputs[0]].shape) for node in graph.nodes)
    inputs = set(net.planned.inputs)
    for buffer in net.memory.buffers:
        stored = element_count(net.planned.types[buffer.value].shape)
        is_copy = buffer.value not in graph.types and buffer.value.startswith("x")
        assert buffer.value in inputs or is_copy or stored < unpooled, buffer.value


@pytest.mark.parametrize("precision", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("case", [c for c in POOLED if c.name.endswith("maxpool")], ids=lambda c: c.name)
def test_fusing_a_maximum_changes_no_number(case: Case, precision: Precision, workshop: Workshop) -> None:
    """Requantization is monotone, so that the maximum of what is requantized is what the maximum becomes. Where no other
    stage lies between, no value's format depends on fusion either, and both nets must agree to the last bit."""
    graph = case.graph()
    samples = case.samples(graph)
    fused = compiled(graph, samples, width=precision.width)
    apart = compiled(graph, samples, width=precision.width, fuse=False)
    assert len(fused.program.layers) < len(apart.program.layers)
    probes = fused.probes(samples)
    assert not workshop.disagreements(apart, probes)
    if any(kind in case.name for kind in ("tanh", "prelu", "hardswish")):
        return  # the value in between has 16 bits when fused
    one, two = (run_reference(net.qgraph, probes).values["y"] for net in (fused, apart))
    np.testing.assert_array_equal(one, two)


def test_a_fused_sum_uses_the_map_that_was_stored_before(workshop: Workshop) -> None:
    """The other operand must be made before the chain starts: here it is not, so that the sum stays alone."""
    case = Case(
        name="late",
        nodes=[
            CONV,
            node("Conv", "x v", "s", pads=[1, 1, 1, 1]),
            node("Relu", "s", "t"),
            node("Add", "h t", "y"),
        ],
        inputs=ONE,
        constants={**WEIGHTED, "v": normal(4, 1, 3, 3, seed=7)},
        layers=2,
    )
    graph = case.graph()
    net = compiled(graph, case.samples(graph))
    heads = [[stage.op.kind for stage in n.stages] for n in net.planned.nodes if len(n.stages) > 1]
    assert heads == [["Conv", "Sum"]]
    assert not workshop.disagreements(net, net.probes(case.samples(graph)))
