"""Packed weights: nothing is lost, nothing grows, and the C that unpacks them computes the same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.codegen.emit import emit
from freeml.codegen.lower import lower
from freeml.ir.graph import Graph
from freeml.ir.serialize import from_json, to_json
from freeml.ops import INTEGER_CLASSES
from freeml.ops.storage import SIGNED, Packed, packings, sparse_forms
from freeml.plan import storage
from freeml.plan.cost import load_cost_model
from freeml.plan.memory import plan_memory
from freeml.plan.storage import pack_weights
from freeml.regions.hazards import prove
from freeml.sim.trace import compare, run_reference
from ops.compiled import Compiled, Workshop, compiled, cut_anywhere
from ops.harness import check_integers
from ops.nets import nets
from ops.storing import coarse


@pytest.mark.parametrize(("bits", "first", "last"), [(4, -8, 7), (2, -2, 1)])
def test_shared_books_are_the_signed_numbers(bits, first, last):
    numbers = SIGNED[bits]
    assert sorted(numbers) == list(range(first, last + 1))
    assert all(number % (1 << bits) == place for place, number in enumerate(numbers))


@given(
    book=st.lists(st.integers(-128, 127), min_size=1, max_size=18, unique=True),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 21)), whole=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_packing_loses_nothing(book, shape, whole, seed):
    weights = np.random.default_rng(seed).choice(book, shape)
    found = packings(weights, whole=whole)
    assert {p.bits for p in found} >= ({4} if len(np.unique(weights)) <= 16 else set())
    for packed in found:
        data = packed.encode(weights)
        assert len(data) + len(packed.book) == packed.stored_bytes(weights)
        assert all(0 <= byte <= 255 for byte in data)
        assert np.array_equal(packed.decode(data, *shape), weights)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 700)),
    share=st.sampled_from((0, 0.005, 0.1, 0.6, 1)),
    joined=st.sampled_from((1, 4)), seed=st.integers(0, 99),
)  # fmt: skip
def test_leaving_out_zeros_loses_nothing(shape, share, joined, seed):
    rng = np.random.default_rng(seed)
    left = np.repeat(rng.random((shape[0], -(-shape[1] // joined))) < share, joined, axis=1)[:, : shape[1]]
    weights = rng.integers(-128, 128, shape) * left
    for sparse in sparse_forms(weights):
        data, ends = sparse.encode(weights), sparse.ends(weights)
        assert len(data) + 2 * len(ends) == sparse.stored_bytes(weights)
        assert all(0 <= byte <= 255 for byte in data)
        assert ends[-1] == (len(data) if sparse.kind == "block" else sparse.entries)
        assert np.array_equal(sparse.decode(data, ends, *shape), weights)


def test_long_runs_of_zeros_are_bridged():
    weights = np.zeros((1, 600), dtype=np.int64)
    weights[0, 599] = -3
    delta = sparse_forms(weights)[0]
    assert delta.encode(weights) == (255, 0, 255, 0, 87, 253)


def test_a_block_lies_behind_the_bits_of_its_eight():
    """Blocks 1 and 9 of nine, and two weights that fill none."""
    weights = np.zeros((2, 38), dtype=np.int64)
    weights[0, [5, 35, 36]] = -3, 4, 9
    block = next(form for form in sparse_forms(weights) if form.kind == "block")
    assert block.encode(weights) == (2, 0, 253, 0, 0, 1, 0, 0, 0, 4, 9, 0, *(0, 0, 0, 0))
    assert block.ends(weights) == (0, 12, 16)
    assert block.entries == 2


def test_rows_shorter_than_a_block_have_none():
    assert {form.kind for form in sparse_forms(np.ones((9, 3), dtype=np.int64))} == {"delta", "bitmap"}


def test_no_form_is_an_empty_array():
    nothing = np.zeros((3, 5), dtype=np.int64)
    assert not sparse_forms(nothing)
    assert all(form.encode(nothing) for form in packings(nothing, whole=False))


def test_nothing_packs_more_than_sixteen_numbers():
    assert not packings(np.arange(17), whole=False)


def packed_net(net: Compiled, seed: int) -> Compiled:
    """The same net with coarse weights, packed; whole for some sizes."""
    chance = np.random.default_rng(seed)
    planned = coarse(net.planned, chance)
    packed = pack_weights(planned, int(chance.choice([0, 60, 4000])))
    memory = plan_memory(packed)
    program = cut_anywhere(lower(packed, memory))
    prove(packed, memory, program)
    plain = lower(planned, memory)
    assert program.weight_bytes <= plain.weight_bytes
    files = emit(program, stamp="test", vectors=[])
    return replace(net, qgraph=planned, planned=packed, memory=memory, program=program, files=files)


def check_packed(drawn: tuple[Graph, dict[str, np.ndarray]], width: str, seed: int, workshop: Workshop) -> None:
    graph, samples = drawn
    net = packed_net(compiled(graph, samples, width=width), seed)
    check_integers(net, net.probes(samples), workshop)
    back = from_json(to_json(net.planned), INTEGER_CLASSES)
    probes = net.probes(samples)
    assert not compare(run_reference(net.qgraph, probes), run_reference(back, probes))
    assert to_json(back) == to_json(net.planned)


@pytest.mark.parametrize("width", ["int8", "int16"])
@settings(max_examples=40)
@given(drawn=nets(), seed=st.integers(0, 1000))
def test_random_packed_nets(drawn, width, seed, workshop):
    check_packed(drawn, width, seed, workshop)


@pytest.mark.nightly
@pytest.mark.parametrize("width", ["int8", "int16"])
@settings(max_examples=1500)
@given(drawn=nets(), seed=st.integers(0, 1000))
def test_many_random_packed_nets(drawn, width, seed, workshop):
    check_packed(drawn, width, seed, workshop)


@pytest.mark.parametrize("kind", ["delta", "bitmap", "block"])
@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("joined", [1, 4])
def test_a_form_wins_where_it_takes_the_fewest_bytes(kind, share, joined):
    """An eighth of the weights is where an index of eight bits for each is as large as a bit for every one; a bit for
    every four is less than both where zeros come in fours."""
    left = np.random.default_rng(0).random((10, 640 // joined)) < share
    weights = (1 + np.arange(6400).reshape(10, 640) % 96) * np.repeat(left, joined, axis=1)
    found = {form.kind: form.stored_bytes(weights) for form in sparse_forms(weights)}
    expected = "block" if joined == 4 else "delta" if share < 0.125 else "bitmap"
    assert (min(found, key=found.__getitem__) == kind) == (kind == expected)


def test_estimates_are_the_prices():
    """What forms are told apart by was fitted, and is fitted anew when kernels change."""
    prices = load_cost_model("msp430", "zig").prices
    assert prices["dot.s8_s8.by8"] / 8 == pytest.approx(storage.DENSE, rel=0.1)
    assert prices["unpack4.bytes"] / 2 == pytest.approx(storage.UNPACK, rel=0.1)
    assert prices["sparse.delta.s8_s8.entries"] == pytest.approx(storage.ENTRY, rel=0.1)
    assert prices["sparse.bitmap.s8_s8.bytes"] / 8 == pytest.approx(storage.BIT, rel=0.1)
    assert prices["sparse.bitmap.s8_s8.entries"] == pytest.approx(storage.ONE, rel=0.1)
    assert prices["sparse.block.s8_s8.blocks"] == pytest.approx(storage.SKIP, rel=0.1)
    assert prices["sparse.block.s8_s8.entries"] == pytest.approx(storage.KEEP, rel=0.1)


def test_a_row_begins_at_a_byte_and_a_whole_does_not():
    weights = np.array([[1, -2, 3], [4, -5, 6]])
    assert Packed(bits=4, whole=False).encode(weights) == (0xE1, 0x03, 0xB4, 0x06)
    assert Packed(bits=4, whole=True).encode(weights) == (0xE1, 0x43, 0x6B)
