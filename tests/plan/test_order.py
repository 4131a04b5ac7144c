"""The order of operators: the peak is that of the best of all orders, or at worst that of the given one, and the net
computes what it did."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from freeml.ir.graph import QGraph, execute, single, verify
from freeml.ir.types import QType
from freeml.ops.clip import QClip
from freeml.ops.concat import QConcat
from freeml.ops.reshape import QReshape
from freeml.plan.memory import plan_memory
from freeml.plan.order import arranged, smallest_peak


def type_of(size):
    return QType(shape=(size,), dtype="int8", scale=1.0, zero_point=0)


def net(nodes, inputs, outputs, types):
    made = []
    for name, reads in nodes:
        op = QConcat(axis=0, rescales=(None,) * len(reads)) if len(reads) > 1 else QClip(low=-100, high=100)
        op = QReshape(shape=types[name].shape) if name.startswith("view") else op
        made.append(single(f"n_{name}", op, reads, (name,)))
    return QGraph(name="g", inputs=inputs, outputs=outputs, nodes=tuple(made), types=types, constants={})


@st.composite
def nets(draw, most=7, free=False):
    """Concatenations, clips and views of one another. Sizes follow from the shapes, so that everything runs, unless
    they are `free`."""
    types = {f"x{i}": type_of(draw(st.integers(1, 40))) for i in range(draw(st.integers(1, 2)))}
    inputs, nodes = tuple(types), []
    for index in range(draw(st.integers(1, most))):
        known = list(types)
        reads = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        view = len(reads) == 1 and draw(st.booleans())
        name = f"view{index}" if view else f"v{index}"
        nodes.append((name, tuple(reads)))
        types[name] = type_of(draw(st.integers(1, 40)) if free and not view else sum(types[v].size for v in reads))
    read = {v for _, reads in nodes for v in reads}
    ends = [name for name, _ in nodes if name not in read]
    more = draw(st.lists(st.sampled_from([*inputs, *(name for name, _ in nodes)]), max_size=1))
    return net(nodes, inputs, tuple(dict.fromkeys([*ends, *more])), types)


def orders(nodes, known):
    """Every topological order."""
    if not nodes:
        yield ()
    for node in nodes:
        if set(node.inputs) <= known:
            rest = [n for n in nodes if n is not node]
            yield from ((node, *order) for order in orders(rest, known | set(node.outputs)))


def peak(graph, order, alignment=4):
    """The largest sum of bytes alive, counted from the definition and not as the planner counts."""
    owner = {name: name for name in graph.inputs}
    for node in graph.nodes:
        owner[node.outputs[0]] = owner[node.inputs[0]] if isinstance(node.op, QReshape) else node.outputs[0]
    size = {name: -(-graph.types[name].size // alignment) * alignment for name in set(owner.values())}
    read = [{owner[v] for v in node.inputs} for node in order]
    made, worst = set(graph.inputs), sum(size[name] for name in graph.inputs)
    kept = {owner[name] for name in graph.outputs}
    for step, node in enumerate(order):
        made |= {owner[node.outputs[0]]}
        later = kept.union(*read[step:], {owner[node.outputs[0]]})
        worst = max(worst, sum(size[name] for name in made & later))
    return max(worst, sum(size[name] for name in kept))


def best(graph, alignment=4):
    return min(peak(graph, order, alignment) for order in orders(list(graph.nodes), set(graph.inputs)))


@settings(max_examples=100)
@given(nets(free=True), st.sampled_from((1, 4, 16)))
def test_no_order_of_a_small_net_has_a_smaller_peak(graph, alignment):
    found, given, least = smallest_peak(graph, alignment), peak(graph, graph.nodes, alignment), best(graph, alignment)
    assert given == plan_memory(graph, alignment).lower_bound_bytes
    assert peak(graph, found.nodes, alignment) == least
    assert (found is graph) == (given == least)


def test_of_two_ways_to_the_same_nodes_the_smaller_peak_counts():
    reads = ("x", "v0 x", "v0", "v1", "v0", "v1 x", "v5 v4", "v4", "v1 x")
    sizes = (10, 6, 10, 9, 11, 2, 8, 2, 5)
    types = {"x": type_of(7), **{f"v{i}": type_of(size) for i, size in enumerate(sizes)}}
    nodes = [(f"v{i}", tuple(names.split())) for i, names in enumerate(reads)]
    graph = net(nodes, ("x",), ("v2", "v3", "v6", "v7", "v8"), types)
    assert peak(graph, smallest_peak(graph, 1).nodes, 1) == best(graph, 1) == 42


@settings(max_examples=25)
@given(nets(most=16), st.sampled_from((1, 60, 5_000)))
def test_whatever_the_order_it_is_no_worse_and_computes_the_same(graph, steps):
    found = smallest_peak(graph, 4, steps)
    verify(found)
    assert sorted(n.name for n in found.nodes) == sorted(n.name for n in graph.nodes)
    assert found is graph or peak(graph, found.nodes) < peak(graph, graph.nodes)
    rng = np.random.default_rng(0)
    x = {name: rng.integers(-128, 128, (2, *graph.types[name].shape)) for name in graph.inputs}
    before, after = execute(graph, x), execute(found, x)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    arranged_graph, plan = arranged(graph)
    assert plan.arena_bytes <= plan_memory(graph).arena_bytes
    assert plan == plan_memory(arranged_graph)
    assert arranged(graph) == (arranged_graph, plan)
