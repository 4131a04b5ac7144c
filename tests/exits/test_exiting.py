"""A quantized net with exits as a whole: whatever its scores end in, however few samples there are."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
from nets import CLASSES, dataset, level_net, levels, net, samples

from freeml.codegen.emit import emit
from freeml.data import Part
from freeml.exits.asked import ExitsError, asked_exits
from freeml.exits.copies import answers_of
from freeml.exits.exiting import Exiting, exiting, figures_of, scores_on
from freeml.exits.looking import integers
from freeml.exits.rule import AskedRule
from freeml.fixedpoint.confidence import margins
from freeml.ir.exits import PolicyKind
from freeml.making import lower_graph
from freeml.plan.exits import scores_read, with_answer
from freeml.report.terminal import print_exits
from freeml.sim.host import run_host
from freeml.sim.trace import compare, run_reference
from freeml.targets import get
from ops.compiled import Workshop

BOARD = get("msp430")
ENDS = ("", "Softmax", "Reshape", "SoftmaxReshape", "Sigmoid")


def found(end: str = "", kind: PolicyKind = "confidence", *, exits: str = "shared:2", **changes: object) -> Exiting:
    promise = AskedRule(kind=kind, max_drop_points=5.0, confidence=0.8)
    return exiting(
        net(end), dataset(**changes), board=BOARD, prices=None, asked=asked_exits(exits, budget_bytes=700),
        rule=promise, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_whatever_the_scores_end_in(end: str, workshop: Workshop):
    made = found(end)
    qgraph = made.choice.qgraph
    x = samples(60, 9)[0]
    scores, _ = scores_on(qgraph, Part(x=x[:, np.newaxis], y=np.zeros(60, dtype=np.int64), labels={}), made.attached)
    middle = replace(made.exits.policy, thresholds=tuple(int(np.median(margins(values))) for values in scores))
    planned, _, program = lower_graph(with_answer(qgraph, replace(made.exits, policy=middle), made.attached.output))
    inputs = {"x": integers(qgraph, x)}
    expected = run_reference(planned, inputs)
    assert not compare(expected, run_host(workshop.library(emit(program, stamp="test", vectors=[])), planned, inputs))
    answer = expected.values[planned.outputs[-1]]
    assert {0, 2} <= set(answer[:, 1].tolist())  # some end early, some do not
    ended = answer[:, 1] == len(scores_read(planned)) - 1
    end_scores = expected.values[planned.outputs[0]].reshape(len(answer), -1)
    assert (answer[ended, 0] == end_scores[ended].argmax(axis=1)).all() and not end_scores[~ended].any()


@pytest.mark.parametrize("kind", ["reliability", "confidence", "label-free", "entropy", "patience"])
def test_one_sample_to_certify(kind: PolicyKind):
    x, y = samples(2, 5)
    made = found(kind=kind, x_val=x, y_val=(y[0] + np.arange(2)) % CLASSES)
    assert made.chosen is not None and made.chosen.promised_drop == 0 and "always runs to the end" in made.chosen.note


def test_classes_that_certify_nothing():
    x, y = samples(60, 5)
    with pytest.raises(ExitsError, match="two classes at least to certify a rule with, found 60 of class 2 alone"):
        found(x_val=x, y_val=np.full(60, 2))
    assert found(kind="none", x_val=x, y_val=np.full(60, 2)).chosen is None
    made = found(x_val=x[y != 1], y_val=y[y != 1])
    *_, policy = figures_of(made, lower_graph(made.qgraph)[2], dataset().test)
    assert policy.promised_drop and "nothing is promised of class 1, of which" in policy.note
    *_, policy = figures_of(found(), lower_graph(found().qgraph)[2], dataset().test)
    assert "nothing is promised" not in policy.note


def test_as_few_samples_as_classes():
    """Folds without a sample are none."""
    x, y = levels(2, 0)
    arrays = {f"{name}_{part}": array for part in ("train", "val", "test") for name, array in (("x", x), ("y", y))}
    arrays["y_train"] = arrays["y_val"] = np.array([0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = exiting(
            level_net(), dataset(**arrays), board=BOARD, prices=None, asked=asked_exits("shared"), rule=AskedRule(),
            seed=0,
        )  # fmt: skip
    assert made.exits.exits


def test_a_node_named_like_the_answer():
    made = found()
    first, *others = made.choice.qgraph.nodes
    renamed = replace(made.choice.qgraph, nodes=(replace(first, name="answer"), *others))
    qgraph = with_answer(renamed, made.exits, made.attached.output)
    assert qgraph.outputs[-1] == "answer_" and qgraph.nodes[-1].name == "answer_"
    lower_graph(qgraph)


@pytest.mark.parametrize("end", ["Softmax", "SoftmaxReshape", "Sigmoid"])
def test_shares_are_taken_back_to_logits(end: str):
    """What stands behind the logits must not flatten what exits are trained towards."""
    qgraph, x = net(end).qgraph, samples(100, 4)[0]
    plain = answers_of(net().qgraph, x, net().qgraph.outputs[0])
    logits = answers_of(qgraph, x, qgraph.outputs[0])
    inside = np.abs(logits) < 2.5 if end == "Sigmoid" else (logits > -5.5) & (logits < -0.03)
    if end != "Sigmoid":
        plain = plain - np.log(np.exp(plain).sum(axis=1, keepdims=True))
    assert inside.sum() > 50
    assert np.abs(logits - plain)[inside].max() < 0.5


def test_exits_that_cost_more_than_they_save(capsys: pytest.CaptureFixture[str]):
    """Inference always runs to the end, and the branch on top of it."""
    x, _ = samples(40, 5)
    for val, more in (({"x_val": x[:2], "y_val": np.array([0, 1])}, True), ({}, False)):
        made = found(**val)
        rows, branch, policy = figures_of(made, lower_graph(made.qgraph)[2], dataset().test)
        print_exits(
            {
                "cost_unit": None,
                "exits": [asdict(row) for row in rows],
                "branch": asdict(branch),
                "policy": asdict(policy),
            }
        )
        shown = " ".join(capsys.readouterr().out.split())
        assert ("without them, --exits none, the net is faster" in policy.note) is more
        assert (f"{branch.share:.1%} more than without exits" in shown) is more
        assert ("% less than without exits" in shown) is not more
