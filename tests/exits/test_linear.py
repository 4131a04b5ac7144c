"""Linear exits, what the shared branch is measured against on the same features: each stands by itself, as a net of one
exit would have it; the C equals the reference; everything is counted."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from nets import CLASSES, dataset, net, samples

from freeml.exits.asked import asked_exits
from freeml.exits.attach import Attached, attach, constant_bytes
from freeml.exits.looking import integers
from freeml.ops.add import Add
from freeml.sim.trace import run_reference
from ops.compiled import Workshop, layout_disagreements, lowered


@lru_cache(maxsize=4)
def attached(kind: str) -> Attached:
    return attach(net(), dataset(), asked_exits(kind, budget_bytes=700), seed=0)


def scores(found: Attached, index: int) -> np.ndarray:
    qgraph, exit_ = found.choice.qgraph, found.exits[index]
    values = run_reference(qgraph, {"x": integers(qgraph, samples(40, 5)[0])}).values
    return values[exit_.value].reshape(40, -1) * qgraph.types[exit_.value].scale


def test_the_same_points_and_features_as_the_shared_branch():
    linear, shared = attached("linear:first,hidden"), attached("shared:first,hidden")
    assert linear.kind == "linear"
    assert [(e.point, e.slice, e.params) for e in linear.exits] == [(e.point, e.slice, e.params) for e in shared.exits]


def test_an_exit_hears_of_no_other():
    """The second exit is what it is without the first; that of the shared branch is not."""
    alone = scores(attached("linear:hidden"), 0)
    assert attached("linear:hidden").exits[0].slice == attached("linear:first,hidden").exits[1].slice
    np.testing.assert_array_equal(scores(attached("linear:first,hidden"), 1), alone)
    assert np.abs(scores(attached("shared:first,hidden"), 1) - alone).max() > 0.1


def test_scores_are_worth_what_is_said():
    found, truth = attached("linear:first,hidden"), dataset().test
    qgraph = found.choice.qgraph
    values = run_reference(qgraph, {"x": integers(qgraph, truth.x)}).values
    for exit_, least in zip(found.exits, (0.8, 0.5), strict=True):
        right = float((values[exit_.value].reshape(len(truth), -1).argmax(axis=1) == truth.y).mean())
        assert right > least
        assert abs(exit_.held_accuracy - right) < 0.12


def test_everything_is_counted():
    found, before = attached("linear:first,hidden"), net()
    constants = found.choice.graph.constants
    assert sum(e.params for e in found.exits) == sum(
        constants[name].size for name in constants if name not in before.graph.constants
    )
    assert [e.params for e in found.exits] == [(e.slice.words + 1) * CLASSES for e in found.exits]
    assert found.bytes == constant_bytes(found.choice.qgraph) - constant_bytes(before.qgraph)


def test_no_sum_runs_on():
    def summed(found: Attached) -> list[bool]:
        nodes = found.choice.graph.nodes
        sums = {v for n in nodes for stage in n.stages if isinstance(stage.op, Add) for v in stage.inputs}
        return [exit_.value in sums for exit_ in found.exits]

    assert summed(attached("linear:first,hidden")) == [False, False]
    assert summed(attached("shared:first,hidden")) == [True, False]


def test_c_equals_the_reference(workshop: Workshop):
    found = attached("linear:first,hidden")
    compiled = lowered(found.choice.graph, found.choice.qgraph)
    probes = compiled.probes({"x": samples(12, 9)[0][:, np.newaxis]})
    assert not layout_disagreements(compiled, probes)
    assert not workshop.disagreements(compiled, probes)
