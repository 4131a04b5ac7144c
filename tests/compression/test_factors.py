"""Low rank as moves of a graph: exact at full rank, the best at less, and channels like any other afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.arranging import LAYER_BYTES
from freeml.compression.allocate import Estimator, Need
from freeml.compression.channels import find_channels, remove
from freeml.compression.factors import (
    factorized,
    project,
    rejoined,
    separate,
    split_dense,
    spreads,
    tucker,
)
from freeml.compression.vbmf import _edge, vbmf_rank
from freeml.ir.graph import Brought, Graph, execute
from freeml.ops.clip import Clip
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.maxpool import MaxPool
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.quant.quantize import Precision
from freeml.targets import get as get_board
from ops.compiled import Workshop, compiled
from ops.harness import check_integers
from ops.nets import nets
from ops.sketch import Sketch

RELU = Clip(low=0.0, high=float("inf"))


def shapes(graph: Graph) -> list[tuple[int, ...]]:
    return [graph.constants[stage.inputs[1]].shape for stage in graph.stages() if len(stage.inputs) > 1]


def distance(graph: Graph, changed: Graph, samples: dict[str, np.ndarray]) -> float:
    """Largest difference of the outputs, relative to the largest output."""
    before, after = execute(graph, samples), execute(changed, samples)
    return max(
        float(np.abs(after[n] - before[n]).max()) / max(1.0, float(np.abs(before[n]).max()))
        for n in graph.outputs
        if graph.types[n].dtype == "float32"
    )


def wide(kernel: tuple[int, int] = (3, 3), **more: object) -> tuple[Graph, dict[str, np.ndarray]]:
    """One clamped convolution, 5 -> 7 channels."""
    s = Sketch(seed=1)
    s.conv(s.input(1, 5, 9, 8), 7, kernel, **more)  # type: ignore[arg-type]
    graph = s.graph()
    (node,) = graph.nodes
    (stage,) = node.stages
    clamped = replace(stage, op=replace(cast(Conv, stage.op), clamp=(-0.5, 1.5)))
    return replace(graph, nodes=(replace(node, stages=(clamped,)),)), dict(s.samples(4))


WINDOWS = (
    {},
    {"strides": (2, 1), "pads": ((1, 1), (0, 2)), "bias": False},
    {"dilations": (1, 2), "pads": ((1, 0), (2, 2))},
)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("ranks", [(5, 7), (5, 6), (4, 7), (3, 2), (1, 1)])
def test_tucker(window: dict[str, object], ranks: tuple[int, int]) -> None:
    """A kernel that has the ranks is found; full ranks leave their factor out."""
    graph, samples = wide(**window)
    rng = np.random.default_rng(2)
    core = rng.normal(size=(ranks[1], ranks[0], 3, 3)) / 3
    into, out = rng.normal(size=(ranks[0], 5)), rng.normal(size=(7, ranks[1]))
    low = np.einsum("rskl,sc,or->ockl", core, into, out).astype(np.float32)
    graph = replace(graph, constants={**graph.constants, "c0": low})
    changed = tucker(graph, "n0", *ranks)
    assert distance(graph, changed, samples) < 1e-5
    middle = [(ranks[1], ranks[0], 3, 3)]
    before = [(ranks[0], 5, 1, 1)] if ranks[0] < 5 else []
    assert shapes(changed) == before + middle + ([(7, ranks[1], 1, 1)] if ranks[1] < 7 else [])
    *inner, last = changed.stages()
    assert cast(Conv, last.op).clamp == (-0.5, 1.5)
    assert all(len(stage.inputs) == 2 for stage in inner), "the bias is the last layer's"


def test_tucker_is_no_worse_than_hosvd() -> None:
    """Of a kernel of full rank: the sweeps end at a residual below that of the first guess, and within its bound."""
    graph, _ = wide()
    kernel = np.asarray(graph.constants["c0"], dtype=np.float64)
    into, middle, out = (a.astype(np.float64) for a in _factors(tucker(graph, "n0", 3, 4)))
    found = np.einsum("rskl,sc,or->ockl", middle, into[:, :, 0, 0], out[:, :, 0, 0])
    first = np.linalg.svd(kernel.reshape(7, -1))[0][:, :4]
    second = np.linalg.svd(kernel.transpose(1, 0, 2, 3).reshape(5, -1))[0][:, :3]
    hosvd = np.einsum("ockl,or,cs,pr,ds->pdkl", kernel, first, second, first, second)
    assert np.linalg.norm(found - kernel) < np.linalg.norm(hosvd - kernel)


def _factors(graph: Graph) -> list[np.ndarray]:
    return [graph.constants[stage.inputs[1]] for stage in graph.stages()]


@pytest.mark.parametrize("window", WINDOWS)
def test_separate(window: dict[str, object]) -> None:
    """Exact at 7 products per channel, the sum of the best rank-one parts at 1, and less wrong with each more."""
    graph, samples = wide(**window)
    assert distance(graph, separate(graph, "n0", 7), samples) < 1e-5
    changed = [separate(graph, "n0", m) for m in (1, 2, 3)]
    assert [shapes(c) for c in changed] == [[(5 * m, 1, 3, 3), (7, 5 * m, 1, 1)] for m in (1, 2, 3)]
    kernel = np.asarray(graph.constants["c0"], dtype=np.float64).reshape(7, 5, 9)
    depthwise, mixed = (a.astype(np.float64) for a in _factors(changed[0]))
    for channel in range(5):
        found = np.outer(mixed[:, channel, 0, 0], depthwise[channel, 0].ravel())
        lengths = np.linalg.svd(kernel[:, channel], compute_uv=False)
        assert np.linalg.norm(found - kernel[:, channel]) == pytest.approx(np.linalg.norm(lengths[1:]), rel=1e-5)
    errors = [distance(graph, c, samples) for c in changed]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(("inputs", "outputs"), [(9, 6), (6, 9), (6, 6)])
def test_split_dense(inputs: int, outputs: int) -> None:
    s = Sketch(seed=3)
    s.dense(s.input(1, 4, inputs), outputs)
    graph, samples = s.graph(), dict(s.samples(5))
    full = min(inputs, outputs)
    assert distance(graph, split_dense(graph, "n0", full), samples) < 1e-5
    weights = np.asarray(s.constants["c0"], dtype=np.float64)
    lengths = np.linalg.svd(weights, compute_uv=False)
    for rank in range(1, full):
        changed = split_dense(graph, "n0", rank)
        one, two = (a.astype(np.float64) for a in _factors(changed))
        assert (one.shape, two.shape) == ((inputs, rank), (rank, outputs))
        assert np.linalg.norm(one @ two - weights) == pytest.approx(np.linalg.norm(lengths[rank:]), rel=1e-5)
        np.testing.assert_allclose(np.linalg.norm(one, axis=0), np.linalg.norm(two, axis=1), rtol=1e-5)
        assert [len(stage.inputs) for stage in changed.stages()] == [2, 3]


def test_what_no_move_takes() -> None:
    s = Sketch(seed=3)
    x = s.conv(s.input(1, 4, 6, 6), 4, (3, 3), group=2)
    s.dense(s.add(RELU, x), 3)
    graph = s.graph()
    for call in (
        lambda: tucker(graph, "n0", 2, 2),
        lambda: separate(graph, "n0"),
        lambda: split_dense(graph, "n0", 1),
        lambda: split_dense(graph, "nowhere", 1),
        lambda: split_dense(graph, "n2", 4),
        lambda: split_dense(graph, "n2", 0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


def test_brought_formats_do_not_outlive_it() -> None:
    s = Sketch(seed=3)
    s.dense(s.input(1, 6), 6)
    brought = {"x": Brought(scale=np.array([0.1]), zero_point=np.array([0]), bits=8)}
    assert split_dense(replace(s.graph(), brought=brought), "n0", 2).brought == {}


@settings(max_examples=60)
@given(nets(), st.randoms(use_true_random=False))
def test_random_nets(net: tuple[Graph, dict[str, np.ndarray]], chance: object) -> None:
    """At full rank every layer of any net can be taken apart, one move after another, and computes the same."""
    graph, samples = net
    changed = graph
    for node in graph.nodes:
        op, stage = node.op, node.stages[0]
        if not isinstance(op, (Conv, Dense)) or all(n.name != node.name for n in changed.nodes):
            continue  # a node that no output depends on goes with the first move
        shape = graph.constants[stage.inputs[1]].shape
        if isinstance(op, Dense):
            changed = split_dense(changed, node.name, min(shape))
        elif op.group == 1 and chance.random() < 0.5:  # type: ignore[attr-defined]
            changed = separate(changed, node.name, min(shape[0], int(np.prod(shape[2:]))))
        elif op.group == 1:
            changed = project(changed, node.name, np.eye(shape[0]))
    assert distance(graph, changed, samples) < 1e-4


def test_channels_go_from_inside() -> None:
    """The rank is a family of its own; removing the last of balanced directions leaves the best of a lower rank."""
    s = Sketch(seed=4)
    x = s.add(RELU, s.dense(s.input(1, 20), 16))
    s.dense(x, 12)
    graph, samples = s.graph(), dict(s.samples(6))
    changed = split_dense(graph, "n2", 5)
    channels = find_channels(changed)
    assert sorted(len(family) for family in channels.families) == [5, 16]
    inner = next(family for family in channels.families if len(family) == 5)
    smaller = remove(changed, channels, frozenset(inner[3:]))
    assert shapes(smaller) == [(20, 16), (16, 3), (3, 12)]
    assert distance(split_dense(graph, "n2", 3), smaller, samples) < 1e-5


@pytest.mark.parametrize(("rank", "inputs", "stays"), [(5, 200, True), (119, 200, True), (120, 200, False)])
def test_a_pair_that_no_longer_saves_is_taken_back(rank: int, inputs: int, stays: bool) -> None:
    """200 x 300 as one against rank * 500 as two, with the code of one more layer."""
    s = Sketch(seed=4)
    s.dense(s.add(RELU, s.dense(s.input(1, 20), inputs)), 300)
    graph, samples = s.graph(), dict(s.samples(6))
    split = split_dense(graph, "n2", rank)
    found = rejoined(split, weights_alone)
    assert (found is split) == stays
    if not stays:
        assert shapes(found) == shapes(graph)
        assert distance(split, found, samples) < 1e-5


def test_the_code_of_a_layer_counts() -> None:
    """Just below and just above what a pair has to save."""
    s = Sketch(seed=4)
    s.dense(s.input(1, 100), 100)
    graph = s.graph()
    split = split_dense(graph, "n0", 10)
    saved = weights_alone(graph).flash - weights_alone(split).flash
    for code, stays in ((saved - LAYER_BYTES - 1, True), (saved - LAYER_BYTES, False)):
        need = lambda g, code=code: Need(flash=weights_alone(g).flash + code * len(g.nodes), ram=0, cycles=0)  # noqa: E731
        assert (rejoined(split, need) is split) == stays
        assert (len(factorized(graph, {"x": flat_inputs(200, 100, 10)}, need, lost=1e-6).nodes) == 2) == stays


def test_a_pair_that_saves_ram_stays() -> None:
    s = Sketch(seed=4)
    s.dense(s.input(1, 6), 6)
    split = split_dense(s.graph(), "n0", 6)
    assert rejoined(split, lambda g: Need(flash=0, ram=-len(g.nodes), cycles=0)) is split
    assert len(rejoined(split, lambda g: Need(flash=0, ram=len(g.nodes), cycles=0)).nodes) == 1


# --- which layers are worth it
# -----------------------------


def flat_inputs(count: int = 200, width: int = 40, dimensions: int = 6) -> np.ndarray:
    """(count, 1, width) that live in few dimensions, about a mean of their own."""
    rng = np.random.default_rng(5)
    flat = rng.normal(size=(count, 1, dimensions)) @ rng.normal(size=(dimensions, width))
    return (flat + 3 * rng.normal(size=width)).astype(np.float32)


def test_spreads() -> None:
    s = Sketch(seed=6)
    y = s.add(RELU, s.dense(s.input(1, 40), 30))
    graph, x = s.graph(y), flat_inputs()
    spread = spreads(graph, {"x": x})["n0"]
    products = x[:, 0].astype(np.float64) @ s.constants["c0"].astype(np.float64)
    np.testing.assert_allclose(spread.mean, products.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        spread.axes @ np.diag(spread.variances) @ spread.axes.T, np.cov(products.T, bias=True), rtol=1e-3, atol=1e-3
    )
    assert spread.rank(1e-6) == 6
    assert spread.rank(0.5) < 6


def weights_alone(graph: Graph) -> Need:
    """A plan in which nothing counts but parameters."""
    return Need(flash=sum(a.size for a in graph.constants.values()), ram=0, cycles=0)


def test_factorized_goes_by_the_data() -> None:
    """Weights of full rank on inputs of six dimensions: what the weights alone would not tell. The mean is kept."""
    s = Sketch(seed=6)
    s.dense(s.add(RELU, s.dense(s.input(1, 40), 30)), 3)
    graph, x = s.graph(), flat_inputs()
    changed = factorized(graph, {"x": x}, weights_alone, lost=1e-6)
    assert shapes(changed) == [(40, 6), (6, 30), (30, 3)]
    assert distance(graph, changed, {"x": x}) < 1e-3
    assert distance(graph, split_dense(graph, "n0", 6), {"x": x}) > 0.05
    white = {"x": s.samples(200)["x"]}
    assert factorized(graph, white, weights_alone, lost=1e-3) is graph, "nothing to gain on white inputs"


def test_factorized_asks_the_plan() -> None:
    """A pair that takes more flash (of activations, say) or RAM is left alone, however few weights it has."""
    s = Sketch(seed=6)
    s.dense(s.add(RELU, s.dense(s.input(1, 40), 30)), 3)
    graph, inputs = s.graph(), {"x": flat_inputs()}
    assert factorized(graph, inputs, lambda g: Need(flash=len(g.nodes), ram=0, cycles=0), lost=1e-6) is graph
    more_ram = factorized(graph, inputs, lambda g: Need(flash=-len(g.nodes), ram=len(g.nodes), cycles=0), lost=1e-6)
    assert more_ram is graph
    white = {"x": s.samples(200)["x"]}
    assert factorized(graph, white, lambda g: Need(flash=-len(g.nodes), ram=0, cycles=0), lost=0.0) is graph, "larger"


@pytest.mark.parametrize(
    ("stride", "pooled", "before", "after"),
    [(1, False, 8 + 32, 8 + 32), (2, False, 4 * 8 + 32, 4 * 8 + 8), (1, True, 4 * 8 + 32, 4 * 8 + 4 * 8)],
)
def test_what_separation_does_to_memory(stride: int, pooled: bool, before: int, after: int) -> None:
    """C = 8 to O = 32 channels, as docs/compression.md says. What is alive at once, in maps of the output's extent:

    C + O becomes the larger of C + C and C + O at stride 1, nothing gained; 4 C + O becomes the larger of 4 C + C and
    C + O at stride 2, a gain; where a pool is fused, 4 C + O becomes 4 C + 4 C, for the map between has no pool.
    """
    s = Sketch(seed=8)
    x = s.add(RELU, s.conv(s.input(1, 1, 16, 16), 8, (3, 3), pads=((1, 1), (1, 1))))
    x = s.add(RELU, s.conv(x, 32, (3, 3), strides=(stride, stride), pads=((1, 1), (1, 1))))
    if pooled:
        x = s.add(MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0))), x)
    area = s.shape(x)[2] * s.shape(x)[3]
    graph = run_passes(s.graph(s.conv(x, 2, s.shape(x)[2:])), PASSES)
    plan = Estimator(board=get_board("apollo4"), precision=Precision(), prices=None, inputs=dict(s.samples(2)))
    for net, maps in ((graph, before), (separate(graph, "n2"), after)):
        assert 0 <= plan.need(net).ram - area * maps <= 250, "and scratch"


@pytest.mark.parametrize("move", ["split", "tucker", "separate"])
def test_the_c_is_exact(move: str, workshop: Workshop) -> None:
    """Quantized, lowered, built on this machine, and equal to the integer reference on every stored byte."""
    s = Sketch(seed=9)
    x = s.add(RELU, s.conv(s.input(1, 4, 8, 8), 8, (3, 3), pads=((1, 1), (1, 1))))
    y = s.dense(s.add(RELU, s.conv(x, 3, (8, 8))), 5) if move != "split" else s.dense(x, 6)
    graph = s.graph(y)
    samples = dict(s.samples(6))
    changed = {
        "split": lambda: split_dense(graph, "n2", 2),
        "tucker": lambda: tucker(graph, "n0", 2, 3),
        "separate": lambda: separate(separate(graph, "n0"), "n2", 2),
    }[move]()
    net = compiled(changed, samples)
    assert len(shapes(net.graph)) > len(shapes(graph)), "the passes leave a pair that saves as it is"
    check_integers(net, net.probes(samples), workshop)


# --- how many ranks
# ------------------


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (30, 300), (128, 1152), (5, 5)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_vbmf_finds_the_rank(shape: tuple[int, int], share: float) -> None:
    """Of low rank under noise, whatever the scale."""
    rank = round(share * min(shape))
    rng = np.random.default_rng(10)
    signal = 3 * rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    for scale in (1e-3, 1.0, 1e3):
        assert vbmf_rank(scale * (signal + rng.normal(size=shape))) == rank


def test_vbmf_of_what_has_no_noise() -> None:
    rng = np.random.default_rng(11)
    assert vbmf_rank(rng.normal(size=(50, 4)) @ rng.normal(size=(4, 70))) == 4
    assert vbmf_rank(np.zeros((4, 6))) == 0
    assert vbmf_rank(np.diag([3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])) == 2


def test_vbmf_does_not_mind_which_way_a_matrix_lies() -> None:
    rng = np.random.default_rng(13)
    found = []
    for strength in np.linspace(0.1, 1.0, 10):
        matrix = rng.normal(size=(20, 200)) + strength * rng.normal(size=(20, 8)) @ rng.normal(size=(8, 200))
        found.append(vbmf_rank(matrix))
        assert vbmf_rank(matrix.T) == found[-1]
    assert found[0] < 8 == found[-1], "some of them hard to tell"


def test_vbmf_drops_what_noise_hides() -> None:
    """A direction counts from well above the noise's own largest singular value, sqrt(L) + sqrt(M), and not below."""
    rng = np.random.default_rng(12)
    left, right = rng.normal(size=(100, 1)), rng.normal(size=(1, 400))
    direction = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    noise = rng.normal(size=(100, 400))
    assert vbmf_rank(noise + 10 * direction) == 0
    assert vbmf_rank(noise + 60 * direction) == 1


def test_the_threshold_of_vbmf() -> None:
    """For square matrices t = 2.5129 (given in the paper); for any share t solves its equation."""
    assert _edge(1.0) == pytest.approx(3.5129 * (1 + 1 / 2.5129), rel=1e-4)
    assert _edge(1e-6) == pytest.approx(1.0, abs=0.01)
