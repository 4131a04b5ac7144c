"""Random nets down the whole line: the reference is near the float path, does not depend on the layout, and is the C."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from freeml.ir.graph import Graph, execute
from freeml.ir.serialize import from_json, to_json
from freeml.ir.text import to_text
from freeml.ops import INTEGER_CLASSES
from freeml.plan.memory import ALIGNMENT_BYTES
from freeml.sim.trace import compare, run_reference
from ops.compiled import Width, Workshop, compiled, optimised
from ops.harness import check_bounds, check_integers
from ops.nets import nets, quantized_nets

Drawn = tuple[Graph, dict[str, np.ndarray]]
PRECISIONS = [("int8", 8), ("int16", 8), ("int16", 16)]


def check_net(drawn: Drawn, width: Width, weight_bits: int, workshop: Workshop) -> None:
    """Everything that holds for a net without formats of its own."""
    graph, samples = drawn
    net = compiled(graph, samples, width=width, weight_bits=weight_bits)  # type: ignore[arg-type]
    check_bounds(net, samples, weight_bits)
    check_integers(net, net.probes(samples), workshop)


def check_quantized_net(drawn: Drawn, workshop: Workshop) -> None:
    """Formats that a model brings are kept to the letter, and everything exact stays exact."""
    graph, samples = drawn
    net = compiled(graph, samples)
    for name, brought in graph.brought.items():
        if name in net.qgraph.types and name in {v for n in net.graph.nodes for v in n.outputs}:
            type_ = net.qgraph.types[name]
            assert (type_.scale, type_.zero_point, type_.dtype) == (
                float(brought.scale[0]),
                int(brought.zero_point[0]),
                f"int{brought.bits}",
            )
    check_integers(net, net.probes(samples), workshop)


@pytest.mark.parametrize(("width", "weight_bits"), PRECISIONS)
@settings(max_examples=40)
@given(drawn=nets())
def test_random_nets(drawn: Drawn, width: Width, weight_bits: int, workshop: Workshop) -> None:
    check_net(drawn, width, weight_bits, workshop)


@settings(max_examples=40)
@given(drawn=quantized_nets())
def test_random_quantized_nets(drawn: Drawn, workshop: Workshop) -> None:
    check_quantized_net(drawn, workshop)


@pytest.mark.nightly
@pytest.mark.parametrize(("width", "weight_bits"), PRECISIONS)
@settings(max_examples=1000)
@given(drawn=nets())
def test_many_random_nets(drawn: Drawn, width: Width, weight_bits: int, workshop: Workshop) -> None:
    check_net(drawn, width, weight_bits, workshop)


@pytest.mark.nightly
@settings(max_examples=1000)
@given(drawn=quantized_nets())
def test_many_random_quantized_nets(drawn: Drawn, workshop: Workshop) -> None:
    check_quantized_net(drawn, workshop)


@settings(max_examples=60)
@given(drawn=nets())
def test_passes_change_no_result(drawn: Drawn) -> None:
    """Folding and fusing in floating point: the outputs move by rounding errors of float32 constants alone."""
    graph, samples = drawn
    exact = {name: array.astype(np.float64) for name, array in samples.items()}
    before, after = (execute(g, exact) for g in (graph, optimised(graph)))
    for name in graph.outputs:
        size = max(float(np.abs(values).max()) for values in before.values()) + 1.0
        np.testing.assert_allclose(after[name], before[name], atol=1e-5 * size, rtol=0)


@settings(max_examples=60)
@given(drawn=nets())
def test_stored_graphs_and_memory_plans(drawn: Drawn) -> None:
    """A stored graph comes back to the last number. Buffers alive at the same step share no byte, and none is cut off."""
    graph, samples = drawn
    net = compiled(graph, samples)
    text = to_json(net.planned)
    back = from_json(text, INTEGER_CLASSES)
    assert to_json(back) == text
    assert to_text(back) == to_text(net.planned)
    probes = net.probes(samples)
    every = run_reference(net.planned, probes, every_value=True)
    assert not compare(every, run_reference(back, probes, every_value=True))
    buffers = net.memory.buffers
    for index, one in enumerate(buffers):
        assert one.offset % ALIGNMENT_BYTES == 0
        assert one.size_bytes >= net.planned.types[one.value].size_bytes
        assert one.offset + one.size_bytes <= net.memory.arena_bytes
        for two in buffers[index + 1 :]:
            apart = one.offset + one.size_bytes <= two.offset or two.offset + two.size_bytes <= one.offset
            assert apart or not one.overlaps(two)
    assert net.memory.lower_bound_bytes <= net.memory.arena_bytes
    stored = {name for node in net.planned.nodes for name in node.outputs} | set(net.planned.inputs)
    assert {b.value for b in buffers} | set(net.memory.aliases) == stored
