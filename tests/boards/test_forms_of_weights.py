"""Weights in every form, on both boards' simulators: the same bytes as the reference."""

import pytest
from cgates.gate_nets import expected, gate_net

from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import Packed, Sparse
from freeml.sim.board import BoardRunner, run_board
from freeml.sim.trace import compare
from freeml.targets import BOARDS, get
from freeml.toolchains import build, installed
from freeml.toolchains.flags import OPTIMISE

NETS = ("stored", "stored-int16")


def check(name, board_name, kind, folder):
    board, net = get(board_name), gate_net(name)
    found = {toolchain.kind: toolchain for toolchain in installed(board)}
    if kind not in found:
        pytest.skip(f"{kind} for {board_name} is not installed")
    built = build(found[kind], board, net.write(board_name, folder), folder / "firmware.elf", optimise=OPTIMISE)
    runner = BoardRunner(net.host.graph, board, built.elf)
    assert compare(expected(name), run_board(runner, net.probes, every_value=True)) == ()


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
