"""Computing a value twice: the same answers in less memory, and a budget that is not met without it is met with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan.branchy import saved, skip

from freeml import power
from freeml.arranging import LAYER_BYTES, arrange, arrange_again, build_arranged
from freeml.compression.allocate import Estimator
from freeml.compression.budget import Budget
from freeml.errors import DoesNotFitError
from freeml.ir.graph import execute
from freeml.options import Options
from freeml.pipeline import calibration_inputs, compile_model
from freeml.plan.again import MOST, Arranged, Price, copied, repeatable, with_copies
from freeml.plan.cost import load_cost_model
from freeml.plan.memory import is_view
from freeml.plan.order import arranged
from freeml.quant.quantize import Precision
from freeml.targets import get
from freeml.verification import verify
from ops.compiled import compiled, optimised
from ops.nets import nets

CHARGES = {"msp430": "flash_bytes", "apollo4": "ram_bytes"}
"""What the arena counts to."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(skip(), tmp_path_factory.mktemp("skip") / "skip.onnx")


def plain_of(graph, calibration):
    planned, memory = arranged(compiled(graph, calibration).planned)
    return Arranged(graph=planned, memory=memory, again={})


def taken(artifact):
    size = artifact.report["bytes"]
    return {"flash_bytes": size["flash"] + size["nv"], "ram_bytes": size["sram"]}


@settings(max_examples=25)
@given(nets(), st.data())
def test_a_copy_for_any_readers_computes_the_same(drawn, data):
    graph, samples = drawn
    net = compiled(graph, samples)
    plain = net.planned
    reads = {}
    owners = {value: net.memory.aliases.get(value, value) for value in plain.types}
    for node in plain.nodes:
        for value in plain.activations(node):
            if not is_view(node.op):
                reads.setdefault(owners[value], []).append(node.name)
    makers = [n for n in plain.nodes if repeatable(n) and n.outputs[0] in reads]
    if not makers:
        return
    value = data.draw(st.sampled_from(makers)).outputs[0]
    late = data.draw(st.sets(st.sampled_from(reads[value]), min_size=1))
    twice, copy = copied(plain, value, late)
    probes = net.probes(samples)
    before, after = execute(plain, probes), execute(twice, probes)
    assert np.array_equal(after[copy], before[value])
    assert all(np.array_equal(after[name], before[name]) for name in before if name in after)
    assert not any(value in n.inputs for n in twice.nodes if n.name in late)


@settings(max_examples=25)
@given(nets(), st.integers(0, 40))
def test_copies_save_more_than_they_take(drawn, flash_bytes):
    graph, samples = drawn
    plain = plain_of(graph, samples)
    prices = {n.outputs[0]: Price(time=1.0, flash_bytes=flash_bytes) for n in plain.graph.nodes if repeatable(n)}
    found = with_copies(plain, 4, prices, time=30.0)
    gain = plain.memory.arena_bytes - found.memory.arena_bytes
    assert len(found.again) <= MOST * 30
    assert gain > flash_bytes * len(found.again) if found.again else found is plain
    assert set(found.again) <= {v for node in found.graph.nodes for v in node.outputs}


def test_what_takes_too_long_or_too_many_bytes_runs_once():
    plain = plain_of(skip(), calibration_inputs(skip(), None, 0)[0])
    (value,) = (n.outputs[0] for n in plain.graph.nodes if n.op.kind == "Copy" and "view" not in n.name)
    for time, flash_bytes, copies in ((10.0, 0, 1), (10.1, 0, 0), (10.0, 575, 1), (10.0, 576, 0)):
        found = with_copies(plain, 4, {value: Price(time=time, flash_bytes=flash_bytes)}, time=100.0)
        assert len(found.again) == copies, (time, flash_bytes)
        assert plain.memory.arena_bytes - found.memory.arena_bytes == 576 * copies  # 12 maps of 64 and of 16 bytes


def labelled():
    """Samples, and what the float net says of them."""
    graph, x = skip(), np.random.default_rng(0).normal(size=(300, 1, 4, 4)).astype(np.float32)
    scores = execute(graph, {"x": x[:, None]})[graph.outputs[0]]
    y = scores.reshape(300, -1).argmax(axis=1)
    parts = {"train": slice(0, 100), "val": slice(100, 200), "test": slice(200, 300)}
    return {f"{k}_{part}": array[rows] for part, rows in parts.items() for k, array in (("x", x), ("y", y))}


@pytest.mark.parametrize(("board", "data"), [("msp430", None), ("apollo4", labelled())])
def test_a_budget_is_met_by_computing_layers_twice(board, data, model, tmp_path):
    """Without data by the compile, with data by the search, which takes it before anything is removed."""
    roomy = compile_model(model, options=Options(target=board))
    assert not any("a second time" in note for note in roomy.report["notes"])
    limit = taken(roomy)[CHARGES[board]] - 60
    budget = Budget(**{CHARGES[board]: limit})
    tight = compile_model(model, options=Options(target=board, budget=budget), data=data, output=tmp_path / "out")
    assert taken(tight)[CHARGES[board]] <= limit
    assert tight.report["params"] == roomy.report["params"]
    notes = [note for note in tight.report["notes"] if "a second time" in note]
    again = [layer for layer in tight.report["layers"] if layer["name"].endswith("_again")]
    assert len(tight.report["layers"]) - len(roomy.report["layers"]) == len(again) == len(notes) > 0
    for layer in again:
        assert any(layer["name"] in note and f"{layer['predicted_cost']:,} of" in note for note in notes)
    found = verify(tmp_path / "out", samples=4, board_samples=2)
    assert (found.mismatches, found.board_samples) == (0, 2)
    if data is None:
        report = power.run(tmp_path / "out", mode="exhaustive", on="host", limit=100)
        assert (report.failures, report.replay) == (0, None)
    else:  # where the budget is met without, a search ends without
        enough = Budget(**{CHARGES[board]: limit + 60})
        met = compile_model(model, options=Options(target=board, budget=enough), data=data)
        assert met.report["layers"] == roomy.report["layers"]


@pytest.mark.parametrize("board", sorted(CHARGES))
def test_estimates_of_a_search_count_what_a_compile_places(board):
    graph = optimised(skip())
    inputs = calibration_inputs(graph, None, 0)[0]
    once = Estimator(board=get(board), precision=Precision(), prices=load_cost_model(board, "zig"), inputs=inputs)
    twice = replace(once, again=True)
    plain = arrange(compiled(skip(), inputs).qgraph, get(board))
    smaller = arrange_again(plain, get(board), once.prices, flash_is_short=True)
    saved_bytes = plain.memory.arena_bytes - smaller.memory.arena_bytes
    assert saved_bytes == 576
    before, after = once.need(graph), twice.need(graph)
    arena = "flash" if board == "msp430" else "ram"
    extra = LAYER_BYTES if board == "msp430" else 0
    assert getattr(before, arena) - getattr(after, arena) >= saved_bytes - extra - 64  # the table of the copy
    assert after.cycles > before.cycles


def test_the_second_build_is_made_only_where_it_is_needed():
    first = plain_of(skip(), calibration_inputs(skip(), None, 0)[0])
    second = replace(first, again={"copy": "value"})
    built = []

    def build(arranged_as):
        built.append(len(arranged_as.again))
        return len(arranged_as.again)

    def too_large(arranged_as):
        if not arranged_as.again:
            raise DoesNotFitError("no", bytes_={}, limits={})
        return build(arranged_as)

    def too_large_twice(arranged_as):
        if arranged_as.again:
            raise DoesNotFitError("no", bytes_={}, limits={})
        return build(arranged_as)

    def outcome(builder, enough, again, twice=second):
        """`enough` are the builds that are."""
        built.clear()
        return build_arranged(first, lambda: twice, builder, lambda made: made in enough, again), list(built)

    assert outcome(build, {0}, "needed") == (0, [0])
    assert outcome(build, {1}, "needed") == (1, [0, 1])
    assert outcome(build, {}, "needed") == (0, [0, 1])
    assert outcome(too_large_twice, {}, "needed") == (0, [0])
    assert outcome(build, {}, "needed", first) == (0, [0])
    assert outcome(build, {}, "never") == (0, [0])
    assert outcome(build, {0, 1}, "wherever") == (1, [1])
    assert outcome(too_large, {1}, "needed") == (1, [1])
    with pytest.raises(DoesNotFitError):
        outcome(too_large, {1}, "needed", first)
