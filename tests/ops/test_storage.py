"""Packed weights: nothing is lost, nothing grows, and the C that unpacks them computes the same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.codegen.emit import emit
from freeml.codegen.lower import lower
from freeml.ir.graph import Graph, QGraph
from freeml.ir.serialize import from_json, to_json
from freeml.ops import INTEGER_CLASSES
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import SIGNED, Packed, packings
from freeml.plan.memory import plan_memory
from freeml.plan.storage import pack_weights
from freeml.regions.hazards import prove
from freeml.sim.trace import compare, run_reference
from ops.compiled import Compiled, Workshop, compiled, cut_anywhere
from ops.harness import check_integers
from ops.nets import nets

BOOKS = (tuple(range(-7, 8)), (-1, 0, 1), (-100, -37, -12, -5, -1, 0, 2, 9, 30, 66, 120), (-90, 0, 3, 101))
"""Numbers that a layer's weights are brought to: 4 and 2 bits, with the shared books and with books of their own."""


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
        assert len(data) + len(packed.book) == packed.stored_bytes(*shape)
        assert all(0 <= byte <= 255 for byte in data)
        assert np.array_equal(packed.decode(data, *shape), weights)


def test_nothing_packs_more_than_sixteen_numbers():
    assert not packings(np.arange(17), whole=False)


def coarse(graph: QGraph, chance: np.random.Generator) -> QGraph:
    """Every layer's weights toward zero, to the next of a few numbers, so that no sum grows; some are left."""
    constants = dict(graph.constants)
    for stage in graph.stages():
        if isinstance(stage.op, (QConv, QDense)) and (choice := chance.integers(5)) < 4:
            book, w = np.array(sorted({0, *BOOKS[choice]})), constants[stage.inputs[1]]
            below, above = book[np.searchsorted(book, w, "right") - 1], book[np.searchsorted(book, w) % len(book)]
            constants[stage.inputs[1]] = np.where(w > 0, np.where(w >= 0, below, 0), np.where(w < 0, above, 0))
    return replace(graph, constants=constants)


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


def test_a_row_begins_at_a_byte_and_a_whole_does_not():
    weights = np.array([[1, -2, 3], [4, -5, 6]])
    assert Packed(bits=4, whole=False).encode(weights) == (0xE1, 0x03, 0xB4, 0x06)
    assert Packed(bits=4, whole=True).encode(weights) == (0xE1, 0x43, 0x6B)
