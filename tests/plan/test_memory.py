"""The memory plan: live values never share bytes, the bound is a bound, the same graph gives the same addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freeml.ir.graph import QGraph, single
from freeml.ir.types import QType
from freeml.ops.clip import QClip
from freeml.ops.concat import QConcat
from freeml.ops.reshape import QReshape
from freeml.plan.memory import ALIGNMENT_BYTES, Buffer, _first_fit, _place, plan_memory


def clip_graph(sizes, readers, outputs):
    """A chain of clips of given sizes where node i also reads the values in readers[i] (through a concat)."""
    types = {"v0": QType(shape=(sizes[0],), dtype="int8", scale=1.0, zero_point=0)}
    nodes = []
    for i, size in enumerate(sizes[1:], start=1):
        types[f"v{i}"] = QType(shape=(size,), dtype="int8", scale=1.0, zero_point=0)
        inputs = tuple(dict.fromkeys((f"v{i - 1}", *(f"v{r}" for r in readers.get(i, ())))))
        op = QClip(low=-128, high=127) if len(inputs) == 1 else QConcat(axis=0, rescales=(None,) * len(inputs))
        nodes.append(single(f"n{i}", op, inputs, (f"v{i}",)))
    return QGraph(
        name="g", inputs=("v0",), outputs=tuple(f"v{i}" for i in outputs), nodes=tuple(nodes), types=types, constants={}
    )


@st.composite
def random_lives(draw):
    count = draw(st.integers(1, 25))
    buffers = []
    for i in range(count):
        first = draw(st.integers(-1, 20))
        last = draw(st.integers(first, 21))
        size = ALIGNMENT_BYTES * draw(st.integers(1, 60))
        buffers.append(Buffer(value=f"b{i}", size_bytes=size, first=first, last=last))
    return buffers


@given(random_lives())
def test_live_buffers_never_overlap_and_no_plan_is_below_the_bound(buffers):
    bound = max(sum(b.size_bytes for b in buffers if b.first <= s <= b.last) for s in range(-1, 22))
    placed = _place(buffers, bound)
    assert sorted(b.value for b in placed) == sorted(b.value for b in buffers)
    for i, one in enumerate(placed):
        assert one.offset % ALIGNMENT_BYTES == 0
        for two in placed[i + 1 :]:
            apart = one.offset + one.size_bytes <= two.offset or two.offset + two.size_bytes <= one.offset
            assert apart or not one.overlaps(two)
    assert max(b.offset + b.size_bytes for b in placed) >= bound
    assert _place(buffers, bound) == placed


def test_exchanges_reach_the_bound_where_plain_first_fit_does_not():
    lives = [(0, 1, 8), (1, 3, 4), (0, 2, 4), (2, 5, 12), (3, 6, 8), (5, 8, 16), (6, 9, 4), (8, 9, 12)]
    buffers = [Buffer(value=f"b{i}", size_bytes=4 * s, first=f, last=e) for i, (f, e, s) in enumerate(lives)]
    bound = max(sum(b.size_bytes for b in buffers if b.first <= t <= b.last) for t in range(11))
    worst = max(b.offset + b.size_bytes for b in _first_fit(sorted(buffers, key=lambda b: b.size_bytes)))
    best = max(b.offset + b.size_bytes for b in _place(buffers, bound))
    assert bound <= best < worst


def test_a_chain_needs_the_largest_neighbours():
    plan = plan_memory(clip_graph([100, 40, 60, 8], {}, [3]))
    assert plan.lower_bound_bytes == plan.arena_bytes == 140


def test_a_value_read_late_stays():
    graph = clip_graph([16, 16, 16, 64], {3: (0,)}, [3])
    plan = plan_memory(graph)
    zero = next(b for b in plan.buffers if b.value == "v0")
    assert zero.last == 2  # steps are numbered from 0: node n3 is step 2
    assert plan.offset("v0") != plan.offset("v2")


def test_outputs_live_to_the_end():
    plan = plan_memory(clip_graph([32, 32, 32, 32], {}, [1, 3]))
    one, three = (next(b for b in plan.buffers if b.value == v) for v in ("v1", "v3"))
    assert one.overlaps(three)
    assert plan.arena_bytes == 96


def test_a_reshape_shares_its_inputs_bytes_and_keeps_them_alive():
    type_ = QType(shape=(4, 8), dtype="int16", scale=1.0, zero_point=0)
    types = {
        "x": type_,
        "c": type_,
        "r": type_.with_shape((32,)),
        "d": type_.with_shape((32,)),
        "y": type_.with_shape((32,)),
    }
    nodes = (
        single("c", QClip(low=0, high=1), ("x",), ("c",)),
        single("r", QReshape(shape=(32,)), ("c",), ("r",)),
        single("d", QClip(low=0, high=1), ("r",), ("d",)),
        single("y", QConcat(axis=0, rescales=(None, None)), ("d", "r"), ("y",)),
    )
    plan = plan_memory(QGraph(name="g", inputs=("x",), outputs=("y",), nodes=nodes, types=types, constants={}))
    assert plan.offset("r") == plan.offset("c")
    owner = next(b for b in plan.buffers if b.value == "c")
    assert owner.last == 3
    assert all(b.value != "r" for b in plan.buffers)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_sizes_are_rounded_up_to_the_alignment(size):
    plan = plan_memory(clip_graph([size, size], {}, [1]))
    assert plan.arena_bytes == 2 * -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
