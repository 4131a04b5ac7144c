"""A branch attached to a quantized net: the backbone stays, the C equals the reference, the answers are worth having."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import CLASSES, dataset, heads_net, net, samples

from freeml.errors import DataError
from freeml.exits.asked import ExitsError, asked_exits
from freeml.exits.attach import Attached, attach, constant_bytes
from freeml.exits.branch import Terms, make_branch
from freeml.exits.features import pooled, slices_of
from freeml.exits.looking import integers
from freeml.exits.maps import maps_of
from freeml.exits.points import Point
from freeml.frontend.onnx_reader import import_onnx
from freeml.frontend.qdq import to_qdq
from freeml.ir.graph import execute, verify
from freeml.ir.types import Array, QType
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.quant.quantize import Precision, dequantize, quantize, quantize_input
from freeml.quant.ranges import observe
from freeml.sim.onnx_run import differences, run_onnx
from freeml.sim.trace import run_reference
from ops.compiled import Workshop, layout_disagreements, lowered

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"


@lru_cache(maxsize=4)
def attached(asked: str = "shared", end: str = "") -> Attached:
    return attach(net(end), dataset(), asked_exits(asked, budget_bytes=700), seed=0)


def answers(found: Attached, x: Array) -> dict[str, Array]:
    """Integer scores of the exits and the end, (samples, classes)."""
    qgraph = found.choice.qgraph
    values = run_reference(qgraph, {qgraph.inputs[0]: integers(qgraph, x)}).values
    return {name: values[name].reshape(len(x), -1) for name in (*(e.value for e in found.exits), found.output)}


@pytest.mark.parametrize("name", ["har", "lenet5", "dscnn"])
def test_the_maps_are_those_of_the_reference(name):
    """One and two axes, pools behind convolutions, depthwise and strided ones, padding; every stored value."""
    graph = run_passes(import_onnx(MODELS / f"{name}.onnx"), PASSES)
    real = {v: np.random.default_rng(3).normal(size=(16, *graph.types[v].shape)) for v in graph.inputs}
    precision = Precision(default="int16" if name == "har" else "int8")
    qgraph = quantize(graph, observe(graph, real), precision=precision, method="minmax", groups=fusion_groups(graph))
    x = quantize_input(2 * next(iter(real.values())), qgraph.types[qgraph.inputs[0]])
    wanted = [v for node in qgraph.nodes for v in node.outputs]
    expected = run_reference(qgraph, {qgraph.inputs[0]: x}, every_value=True).values
    chunks = list(maps_of(qgraph, x, wanted))
    for value in wanted:
        assert np.array_equal(np.concatenate([chunk[value].numpy() for chunk in chunks]), expected[value]), value


@pytest.mark.parametrize("shape", [(1, 3, 7, 5), (1, 3, 10), (1, 6, 2, 1), (1, 16)])
def test_the_branch_computes_what_was_trained(shape):
    """Each slice of a map as nodes and as features: the same scores, which run on from exit to exit."""
    rng = np.random.default_rng(1)
    type_ = QType(shape=shape, dtype="int8", scale=0.25, zero_point=-7)
    integers_ = rng.integers(-128, 128, (5, *shape))
    point = Point(value="map", node="maker", source="maker", index=0, share=0.5)
    terms = tuple(
        Terms(point=point, slice=s, weights=rng.normal(size=(s.words, 3)), bias=rng.normal(size=3))
        for s in slices_of(shape)
    )
    branch = make_branch(terms, {"map": type_}, {"exit1", "map"}, running=True)
    found = execute(branch.graph, {"map": (integers_ + 7) * 0.25})
    total = np.zeros((5, 3))
    for term, value in zip(terms, branch.scores, strict=True):
        words = [pooled(torch.from_numpy(integers_).float(), type_, part) for part in term.slice.parts]
        total = total + np.concatenate(words, axis=1) @ term.weights + term.bias
        np.testing.assert_allclose(found[value][:, 0], total, atol=1e-4)
    assert len(terms) > 2


def test_the_backbone_stays_as_it_is():
    before, after = net(), attached().choice
    for old, new in ((before.graph, after.graph), (before.qgraph, after.qgraph)):
        verify(new)
        assert tuple(n for n in new.nodes if not n.name.startswith("exit")) == old.nodes
        assert new.outputs == (*old.outputs, *(exit_.value for exit_ in attached().exits))
        assert all(new.types[name] == type_ for name, type_ in old.types.items())
        assert all(np.array_equal(new.constants[name], array) for name, array in old.constants.items())
    x = integers(before.qgraph, samples(60, 8)[0])
    expected = run_reference(before.qgraph, {"x": x}, every_value=True).values
    found = run_reference(after.qgraph, {"x": x}, every_value=True).values
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_every_exit_follows_its_point():
    found = attached("shared:3")
    assert [exit_.point.source for exit_ in found.exits] == ["first", "second", "hidden"]
    names = [node.name for node in found.choice.qgraph.nodes]
    for exit_ in found.exits:
        own = [i for i, name in enumerate(names) if name.startswith(exit_.name)]
        assert own == list(range(names.index(exit_.point.node) + 1, names.index(exit_.point.node) + 1 + len(own)))
        type_ = found.choice.qgraph.types[exit_.value]
        assert (type_.dtype, type_.shape, type_.zero_point) == ("int16", (1, CLASSES), 0)


def test_answers_are_worth_having():
    found = attached("shared:3")
    data = dataset()
    scores = answers(found, data.test.x)
    right = [float((scores[exit_.value].argmax(axis=1) == data.test.y).mean()) for exit_ in found.exits]
    final = float((scores[found.output].argmax(axis=1) == data.test.y).mean())
    assert right[0] > 0.4
    assert right[2] > final - 0.05
    for exit_, share in zip(found.exits, right, strict=True):
        assert abs(exit_.held_accuracy - share) < 0.1
        assert abs(exit_.float_accuracy - exit_.int_accuracy) < 0.02


def test_temperatures_calibrate():
    found = attached("shared:3")
    data = dataset()
    scores = answers(found, data.test.x)
    for exit_ in found.exits:
        type_ = found.choice.qgraph.types[exit_.value]
        assert exit_.steps == round(type_.scale / exit_.temperature * 16 * 65536)
        logits = scores[exit_.value] * type_.scale / exit_.temperature
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        sure = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
        assert abs(float(sure.mean()) - float((scores[exit_.value].argmax(axis=1) == data.test.y).mean())) < 0.1


def test_bytes_stay_within_the_budget():
    found = attached("shared:3")
    added = constant_bytes(found.choice.qgraph) - constant_bytes(net().qgraph)
    # multipliers are no constants of the graph: 4 bytes a class and layer
    layers = sum(len(exit_.slice.parts) for exit_ in found.exits)
    assert found.bytes == added
    assert added + 4 * CLASSES * layers == sum(exit_.slice.constant_bytes(CLASSES) for exit_ in found.exits) <= 700
    assert sum(exit_.params for exit_ in found.exits) == sum((e.slice.words + 1) * CLASSES for e in found.exits)


@pytest.mark.parametrize(("asked", "end"), [("shared:3", ""), ("shared:first,hidden", "Softmax")])
def test_c_equals_the_reference(asked, end, workshop: Workshop):
    choice = attached(asked, end).choice
    compiled = lowered(choice.graph, choice.qgraph)
    probes = compiled.probes({"x": samples(12, 9)[0][:, np.newaxis]})
    assert not layout_disagreements(compiled, probes)
    assert not workshop.disagreements(compiled, probes)


def test_onnxruntime_agrees():
    qgraph = attached("shared:3").choice.qgraph
    x = integers(qgraph, samples(20, 10)[0])
    real = {"x": dequantize(x, qgraph.types["x"])}
    for difference in differences(qgraph, run_reference(qgraph, {"x": x}), run_onnx(to_qdq(qgraph), real)):
        assert difference.largest_steps <= 2, difference


def test_one_seed_one_result():
    first, second = (attach(net(), dataset(), asked_exits("shared:2"), seed=3) for _ in range(2))
    assert first.exits == second.exits
    for name, array in first.choice.qgraph.constants.items():
        assert array.tobytes() == second.choice.qgraph.constants[name].tobytes()


def test_validation_and_test_data_are_not_read():
    poison = dataset(
        x_val=np.full((4, 2, 9, 9), 1e6),
        y_val=np.zeros(4, int),
        x_test=np.full((4, 2, 9, 9), 1e6),
        y_test=np.zeros(4, int),
    )
    asked = asked_exits("shared", budget_bytes=700)
    assert attach(net(), poison, asked, seed=0).exits == attached().exits


def test_data_that_lack_a_class():
    x, y = samples(100, 0)
    kept = (y == 0) | (y == 2)
    with pytest.raises(ExitsError, match="all 4 classes of output logits, found none of class 1, 3"):
        attach(net(), dataset(x_train=x[kept], y_train=y[kept]), asked_exits("shared"), seed=0)


def test_further_outputs_have_labels_of_their_own():
    x, y = samples(300, 0)
    named = asked_exits("shared", output="scores")
    data = dataset(y_train=np.zeros(300, int), y_train_scores=y, x_train=x)
    found = attach(heads_net(), data, named, seed=0)
    assert found.output == "scores"
    assert len(found.exits) == 1
    with pytest.raises(DataError, match="labels of output scores in y_train_scores, found none"):
        attach(heads_net(), dataset(), named, seed=0)


def test_a_budget_too_small():
    with pytest.raises(ExitsError, match="at most 20 bytes"):
        attach(net(), dataset(), asked_exits("shared:3", budget_bytes=20), seed=0)
