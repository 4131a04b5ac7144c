"""A net with two exits, made by hand: random weights, every scale as calibration finds it, any rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.exits import Exit, Exits, Policy, PolicyKind, Reliability
from freeml.ir.graph import QGraph
from freeml.ir.types import Array
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.plan.exits import with_answer
from freeml.quant.quantize import Precision, quantize, quantize_input
from freeml.quant.ranges import observe

CLASSES = 5


def net(tmp_path: object, seed: int = 0) -> tuple[QGraph, Array]:
    """The integer graph without an answer (outputs: scores, exit1, exit2), and 40 integer inputs of it."""
    from pathlib import Path

    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> Array:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    constants = {
        "w1": weights(6, 2, 3, 3), "w2": weights(8, 6, 3, 3), "w3": weights(CLASSES, 8 * 9),
        "u1": weights(CLASSES, 6 * 4), "u2": weights(CLASSES, 8 * 9),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], name="conv1"), node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        node("AveragePool", ["p1"], ["q1"], name="exit1_pool", kernel_shape=[2, 2], strides=[3, 3]),
        node("Flatten", ["q1"], ["f1"], name="exit1_flat"),
        node("Gemm", ["f1", "u1"], ["exit1"], name="exit1_scores", transB=1),
        node("Conv", ["p1", "w2"], ["c2"], name="conv2"), node("Relu", ["c2"], ["r2"]),
        node("Flatten", ["r2"], ["f2"], name="flat"),
        node("Gemm", ["f2", "u2"], ["s2"], name="exit2_sum", transB=1),
        node("Add", ["s2", "exit1"], ["exit2"], name="exit2_scores"),
        node("Gemm", ["f2", "w3"], ["scores"], name="last", transB=1),
    ]  # fmt: skip
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 12, 12])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CLASSES]) for name in ("scores", "exit1", "exit2")
    ]
    graph = helper.make_graph(
        nodes, "two_exits", values, outputs, [numpy_helper.from_array(a, n) for n, a in constants.items()]
    )
    path = Path(str(tmp_path)) / "net.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    passed = run_passes(import_onnx(path), PASSES)
    inputs = {"x": rng.normal(size=(40, 1, 2, 12, 12)).astype(np.float32)}
    precision = Precision(widths={"exit1": "int16", "exit2": "int16"})
    qgraph = quantize(
        passed, observe(passed, inputs), precision=precision, method="minmax", groups=fusion_groups(passed)
    )
    return qgraph, quantize_input(inputs["x"], qgraph.types["x"])


def exits_of_net(graph: QGraph, policy: Policy) -> Exits:
    """Both exits under a rule, with reliabilities that differ."""
    tables = [Reliability(bin_shift=8 + i, right=tuple(range(40 + i, 40 + i + 16 * 9, 9))) for i in range(3)]
    steps = [max(1, min(65535, round(graph.types[name].scale * 3 * 16 * 65536))) for name in ("exit1", "exit2")]
    return Exits(
        exits=tuple(
            Exit(name=f"exit{i + 1}", value=f"exit{i + 1}", point=("p1", "r2")[i], steps=steps[i], reliability=tables[i])
            for i in range(2)
        ),
        final=Reliability(bin_shift=4, right=tables[2].right),
        policy=policy,
    )  # fmt: skip


def policy(kind: PolicyKind, *thresholds: int, patience: int = 2, first: int = 0, last: int = 0xFFFF) -> Policy:
    """A rule for two exits."""
    return Policy(kind=kind, thresholds=thresholds or (0, 0), patience=patience, first=first, last=last)


def answering(graph: QGraph, rule: Policy) -> QGraph:
    """The net with its answer."""
    return with_answer(graph, exits_of_net(graph, rule), "scores")


def middle(graph: QGraph, inputs: Array, kind: PolicyKind) -> Policy:
    """A rule under which some of the inputs end at either exit, and some do not."""
    from freeml.fixedpoint.confidence import entropies, margins
    from freeml.ir.graph import execute
    from freeml.ops.answer import confidence

    exits = exits_of_net(graph, policy("none"))
    values = execute(graph, {"x": inputs})
    scores = [values[exit_.value].reshape(len(inputs), -1) for exit_ in exits.exits]
    if kind == "confidence":
        measured = [margins(s) for s in scores]
    elif kind == "reliability":
        measured = [confidence(s, e.reliability) for s, e in zip(scores, exits.exits, strict=True)]
    else:
        measured = [entropies(s, e.steps) for s, e in zip(scores, exits.exits, strict=True)]
    if kind == "label-free":
        return policy(kind, *[int(np.median(np.concatenate(measured)))] * 2)
    return replace(policy(kind, *(int(np.median(m)) for m in measured)))
