"""A net trained together with exits: shallow answers are better, the end's is others than it was, nothing else is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from nets import dataset, heads_net, net, samples

from freeml import making
from freeml.compression import twin
from freeml.exits import joint
from freeml.exits.asked import AskedExits, ExitsError, asked_exits
from freeml.exits.attach import Attached, attach
from freeml.exits.joint import retrain_jointly
from freeml.exits.looking import integers
from freeml.ir.graph import Graph, verify
from freeml.ops.conv import Conv
from freeml.options import Options
from freeml.quant.choose import choose
from freeml.quant.quantize import Precision
from freeml.sim.trace import run_reference


def asked(kind: str = "shared:first,hidden") -> AskedExits:
    return asked_exits(kind, training="joint", budget_bytes=700)


@lru_cache(maxsize=2)
def retrained(kind: str = "shared:first,hidden") -> Graph:
    return retrain_jointly(net().graph, dataset(), asked(kind), seed=0)


def right(found: Attached) -> list[float]:
    """Share of the test part's samples that each exit, and the end, answers right, in integers."""
    data, qgraph = dataset().test, found.choice.qgraph
    values = run_reference(qgraph, {"x": integers(qgraph, data.x)}).values
    names = (*(exit_.value for exit_ in found.exits), found.output)
    return [float((values[n].reshape(len(data), -1).argmax(axis=1) == data.y).mean()) for n in names]


def test_the_structure_stays():
    before, after = net().graph, retrained()
    verify(after)
    assert (after.nodes, after.types, after.outputs) == (before.nodes, before.types, before.outputs)
    changed = [name for name, array in before.constants.items() if not np.array_equal(after.constants[name], array)]
    assert {after.constants[name].shape == before.constants[name].shape for name in changed} == {True}
    assert len(changed) == len(before.constants)


def test_exits_gain_and_two_stages_leave_the_end_as_it_is():
    """Layers were drawn at random: what exits can tell from them grows when these are trained for it."""
    inputs = {"x": samples(64, 11)[0][:, np.newaxis]}
    together = choose(retrained(), inputs, precision=Precision(), method="minmax")
    plain, trained = (attach(c, dataset(), asked(), seed=0) for c in (net(), together))
    before, after = right(plain), right(trained)
    assert after[0] > before[0] + 0.02  # 0.013 where only the end is trained for
    assert after[1] > before[1] + 0.02
    assert after[2] > before[2] - 0.02
    x = integers(net().qgraph, samples(40, 12)[0])
    end = net().qgraph.outputs[0]
    alone = run_reference(net().qgraph, {"x": x}).values[end]
    assert np.array_equal(alone, run_reference(plain.choice.qgraph, {"x": x}).values[end])
    assert not np.array_equal(alone, run_reference(trained.choice.qgraph, {"x": x}).values[end])


def test_one_seed_one_result_whatever_validation_and_test_data(monkeypatch):
    monkeypatch.setattr(joint, "EPOCHS", 2)
    monkeypatch.setattr(joint, "STEPS", 1)
    poison = dataset(
        x_val=np.full((4, 2, 9, 9), 1e6), y_val=np.zeros(4, int),
        x_test=np.full((4, 2, 9, 9), 1e6), y_test=np.zeros(4, int),
    )  # fmt: skip
    first, second = (retrain_jointly(net().graph, d, asked("separate:2"), seed=3) for d in (dataset(), poison))
    assert all(array.tobytes() == second.constants[name].tobytes() for name, array in first.constants.items())


def test_further_outputs_are_kept(monkeypatch):
    """An output that no exit is for stays near what it was."""
    monkeypatch.setattr(joint, "STEPS", 60)
    x, y = samples(300, 0)
    data = dataset(y_train=np.zeros(300, int), y_train_scores=y, x_train=x)
    graph = heads_net().graph
    wanted = asked_exits("shared", training="joint", output="scores")
    found = retrain_jointly(graph, data, wanted, seed=0)
    values = [twin.run(g, {"x": x[:, np.newaxis]}) for g in (graph, found)]
    number, scores = ([v[name].ravel() for v in values] for name in ("number", "scores"))
    assert np.square(number[0] - number[1]).mean() < 0.02 * number[0].var()  # 0.05 were it free
    wrong = [(s.reshape(300, -1).argmax(axis=1) != y).mean() for s in scores]
    assert wrong[1] < 0.5 * wrong[0]


def test_as_few_samples_as_classes(monkeypatch):
    monkeypatch.setattr(joint, "STEPS", 3)
    data = dataset(x_train=samples(4, 0)[0], y_train=np.arange(4))
    verify(retrain_jointly(net().graph, data, asked(), seed=0))


def test_what_cannot_be_trained(monkeypatch):
    monkeypatch.delitem(twin.FORMS, Conv)
    with pytest.raises(ExitsError, match=r"joint.*first.*Conv cannot be trained.*two-stage"):
        retrain_jointly(net().graph, dataset(), asked(), seed=0)


@pytest.mark.parametrize("training", ["two-stage", "joint"])
def test_a_compile_trains_jointly_before_it_quantizes_and_only_then(training, monkeypatch):
    class QuantizedError(Exception):
        pass

    seen: list[Graph] = []

    def quantize(graph: Graph, *_: object) -> None:
        seen.append(graph)
        raise QuantizedError

    monkeypatch.setattr(joint, "retrain_jointly", lambda *_, **__: retrained())
    monkeypatch.setattr(making, "quantize_graph", quantize)
    options = Options(exits=asked_exits("shared", training=training))
    with pytest.raises(QuantizedError):
        making.make(net().graph, Path("net.onnx"), {}, dataset(), options)
    assert len(seen) == 1
    assert seen[0] is (retrained() if training == "joint" else net().graph)
