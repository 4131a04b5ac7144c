"""Weights in every form, on both boards' simulators: the same bytes as the reference."""

import pytest
from cgates.gate_nets import CALIBRATION_SAMPLES, WHOLE_BYTES, expected, gate_net

from freeml import making
from freeml.artifact import write_files
from freeml.codegen.emit import emit, firmware_files
from freeml.compression.coarse import coarsen, weight_axes
from freeml.making import lower_planned
from freeml.ops.clip import Clip
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.reshape import Reshape
from freeml.ops.storage import Packed, Sparse
from freeml.plan.storage import pack_weights
from freeml.sim.board import BoardRunner, run_board
from freeml.sim.trace import compare, run_reference
from freeml.targets import BOARDS, get
from freeml.toolchains import build, installed
from freeml.toolchains.flags import OPTIMISE
from ops.compiled import compiled, optimised
from ops.sketch import Sketch

NETS = ("stored", "stored-int16")


def ran(graph, board_name, kind, source, folder, probes):
    """Every value that the firmware in `source` computes on its board's simulator."""
    board = get(board_name)
    found = {toolchain.kind: toolchain for toolchain in installed(board)}
    if kind not in found:
        pytest.skip(f"{kind} for {board_name} is not installed")
    built = build(found[kind], board, source, folder / "firmware.elf", optimise=OPTIMISE)
    return run_board(BoardRunner(graph, board, built.elf), probes, every_value=True)


def check(name, board_name, kind, folder):
    net = gate_net(name)
    found = ran(net.host.graph, board_name, kind, net.write(board_name, folder), folder, net.probes)
    assert compare(expected(name), found) == ()


def test_every_form_is_there():
    """4 and 2 bits with the shared book and with one of their own, whole and by row; all sparse forms."""
    ops = [stage.op for name in NETS for stage in gate_net(name).host.graph.stages()]
    forms = [op.packed for op in ops if isinstance(op, (QConv, QDense)) and op.packed is not None]
    packed = [form for form in forms if isinstance(form, Packed)]
    assert {(form.bits, bool(form.book)) for form in packed} == {(4, False), (4, True), (2, False), (2, True)}
    assert {form.whole for form in packed} == {False, True}
    assert {form.kind for form in forms if isinstance(form, Sparse)} == {"delta", "bitmap", "block"}


@pytest.mark.parametrize("board", sorted(BOARDS))
@pytest.mark.parametrize("name", NETS)
def test_every_byte(name, board, tmp_path):
    check(name, board, "zig", tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["gcc", "clang"])
@pytest.mark.parametrize("board", sorted(BOARDS))
@pytest.mark.parametrize("name", NETS)
def test_every_byte_with_other_compilers(name, board, kind, tmp_path):
    check(name, board, kind, tmp_path)


def test_books_that_are_made(tmp_path):
    """k-means makes them for float weights; the MSP430 reads those very numbers, and computes what the reference does."""
    s = Sketch(seed=11)
    value = s.conv(s.input(1, 3, 7, 6), 6, (3, 3))
    value = s.add(Clip(low=0.0, high=6.0), s.dense(s.add(Reshape(shape=(1, 120)), value), 20))
    value = s.dense(value, 7)
    graph, samples = optimised(s.graph(value)), s.samples(CALIBRATION_SAMPLES)
    names = tuple(weight_axes(graph))
    for name, bits in zip(names, (2, 4, 2), strict=True):
        graph = coarsen(graph, name, bits, book=True)
    net = compiled(graph, samples)
    planned, board = pack_weights(net.planned, WHOLE_BYTES), get("msp430")
    layers = [stage for stage in planned.stages() if isinstance(stage.op, (QConv, QDense))]
    for name, stage in zip(names, layers, strict=True):
        weights, packed = planned.constants[stage.inputs[1]], stage.op.packed
        assert (packed.bits, set(packed.book)) == (graph.brought[name].bits, set(weights.ravel().tolist()))
        assert packed.book == graph.brought[name].levels
        assert packed.stored_bytes(weights.reshape(len(weights), -1)) <= -(-weights.size * packed.bits // 8) + 40
    files = emit(lower_planned(planned, board)[1], stamp="books", vectors=making.test_vectors(planned, samples))
    write_files({path: text.encode() for path, text in files.items()} | firmware_files(board.name), tmp_path / "net")
    probes = net.probes(samples)
    trace = ran(planned, board.name, "zig", tmp_path / "net", tmp_path, probes)
    assert compare(run_reference(planned, probes, every_value=True), trace) == ()
