"""Separate exits, the baseline: what was trained is what runs, the C equals the reference, everything is counted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from nets import CLASSES, dataset, net, samples

from freeml.exits import separate
from freeml.exits.asked import asked_exits
from freeml.exits.attach import Attached, attach, constant_bytes
from freeml.exits.branch import Front, Terms, make_branch
from freeml.exits.features import is_vector, slices_of
from freeml.exits.looking import integers
from freeml.exits.points import Point
from freeml.exits.separate import _Net, behind_front, front_shape, most_samples, width_of
from freeml.ir.graph import execute, verify
from freeml.ir.types import QType
from freeml.ops.add import Add
from freeml.sim.trace import run_reference
from ops.compiled import Workshop, layout_disagreements, lowered

ASKED = "separate:first,hidden"


@lru_cache(maxsize=2)
def attached(end: str = "") -> Attached:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate, "STEPS", 200)
        return attach(net(end), dataset(), asked_exits(ASKED, budget_bytes=700), seed=0)


@pytest.mark.parametrize("shape", [(1, 3, 7, 5), (1, 3, 10), (1, 70, 5), (1, 6, 1, 1), (1, 80)])
def test_the_nodes_compute_what_was_trained(shape):
    """A front and every grid behind it, as nodes and as trained; wide maps and vectors are narrowed."""
    rng = np.random.default_rng(1)
    type_ = QType(shape=shape, dtype="int8", scale=0.25, zero_point=-7)
    maps = rng.integers(-128, 128, (5, *shape))
    real = (maps + 7) * 0.25
    point = Point(value="map", node="maker", source="maker", index=0, share=0.5)
    front = Front(weights=rng.normal(size=front_shape(shape)), bias=rng.normal(size=width_of(shape)))
    terms = []
    for slice_ in dict.fromkeys(behind_front(shape, s) for s in slices_of(shape)):
        weights, bias = rng.normal(size=(slice_.words, 3)), rng.normal(size=3)
        terms.append(Terms(point=point, slice=slice_, weights=weights, bias=bias, front=front))
    branch = make_branch(terms, {"map": type_}, {"map"}, running=False)
    found = execute(branch.graph, {"map": real})
    for term, value in zip(terms, branch.scores, strict=True):
        arrays = (front.weights, front.bias, term.weights, term.bias)
        trained = _Net(shape=shape, slice=term.slice, leaves=tuple(torch.from_numpy(a) for a in arrays))
        np.testing.assert_allclose(found[value][:, 0], trained(torch.from_numpy(real)).numpy(), rtol=1e-4, atol=1e-3)
        assert term.params == sum(a.size for a in arrays)
    assert width_of(shape) == min(64, int(np.prod(shape)) if is_vector(shape) else shape[1])
    assert len(branch.fronts) == len(terms)


def test_the_backbone_stays_as_it_is():
    before, after = net().qgraph, attached().choice.qgraph
    verify(after)
    assert tuple(n for n in after.nodes if not n.name.startswith("exit")) == before.nodes
    assert all(after.constants[name].tobytes() == array.tobytes() for name, array in before.constants.items())
    x = integers(before, samples(30, 8)[0])
    expected = run_reference(before, {"x": x}, every_value=True).values
    found = run_reference(after, {"x": x}, every_value=True).values
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_exits_share_nothing():
    """No score is a sum with another's; each exit's nodes follow its point."""
    found = attached()
    nodes = found.choice.graph.nodes
    assert found.kind == "separate"
    assert [exit_.point.source for exit_ in found.exits] == ["first", "hidden"]
    assert not any(isinstance(stage.op, Add) for node in nodes for stage in node.stages)
    names = [node.name for node in found.choice.qgraph.nodes]
    for exit_ in found.exits:
        own = [i for i, name in enumerate(names) if name.startswith(exit_.name)]
        assert own == list(range(names.index(exit_.point.node) + 1, names.index(exit_.point.node) + 1 + len(own)))


def test_everything_is_counted():
    found, before = attached(), net()
    constants = found.choice.graph.constants
    added = sum(constants[name].size for name in constants if name not in before.graph.constants)
    assert sum(exit_.params for exit_ in found.exits) == added
    assert found.bytes == constant_bytes(found.choice.qgraph) - constant_bytes(before.qgraph)
    first, hidden = found.exits
    assert first.params == 6 * 6 * 9 + 6 + (first.slice.words + 1) * CLASSES
    assert hidden.params == 20 * 20 + 20 + (20 + 1) * CLASSES
    assert first.macs > 6 * 6 * 9 * 81
    assert 400 < hidden.macs < 1000


def test_answers_are_worth_having():
    found = attached()
    x, y = dataset().test.x, dataset().test.y
    qgraph = found.choice.qgraph
    values = run_reference(qgraph, {"x": integers(qgraph, x)}).values
    for exit_, least in zip(found.exits, (0.8, 0.5), strict=True):
        right = float((values[exit_.value].reshape(len(x), -1).argmax(axis=1) == y).mean())
        assert right > least
        assert abs(exit_.held_accuracy - right) < 0.12
        assert abs(exit_.float_accuracy - exit_.int_accuracy) < 0.02


@pytest.mark.parametrize("end", [(), ("Softmax",)])
def test_c_equals_the_reference(end, workshop: Workshop):
    choice = attached(*end).choice
    compiled = lowered(choice.graph, choice.qgraph)
    probes = compiled.probes({"x": samples(12, 9)[0][:, np.newaxis]})
    assert not layout_disagreements(compiled, probes)
    assert not workshop.disagreements(compiled, probes)


def test_one_seed_one_result(monkeypatch):
    monkeypatch.setattr(separate, "STEPS", 1)
    monkeypatch.setattr(separate, "EPOCHS", 3)
    first, second = (attach(net(), dataset(), asked_exits("separate:second"), seed=3) for _ in range(2))
    assert first.exits == second.exits
    for name, array in first.choice.qgraph.constants.items():
        assert array.tobytes() == second.choice.qgraph.constants[name].tobytes()


def test_samples_that_fit_memory(monkeypatch):
    points = tuple(exit_.point for exit_ in attached().exits)
    assert most_samples(net().qgraph, points) == separate.SAMPLES
    monkeypatch.setattr(separate, "MOST_BYTES", 2_000 * (6 * 81 + 20))
    assert most_samples(net().qgraph, points) == 2_000
