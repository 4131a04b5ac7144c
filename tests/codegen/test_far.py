"""Weights beyond the reach of 16-bit pointers: 150 kB of them, compiled for the MSP430 and computed exactly."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from freeml.building import build_firmware as build_firmware_in
from freeml.codegen.emit import emit, firmware_files
from freeml.codegen.lower import lower
from freeml.errors import DoesNotFitError, ToolchainError
from freeml.fit import build_firmware, check_far
from freeml.frontend.onnx_reader import import_onnx
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.pipeline import compile_model
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import plan_memory
from freeml.plan.placement import far_addresses
from freeml.quant.choose import choose
from freeml.quant.quantize import Precision
from freeml.sim.trace import Trace, compare
from freeml.targets import get as get_board
from freeml.toolchains import installed
from toolchains.board430 import finish, load


def big_net(path, hidden, outputs=10):
    """Conv (odd row length), a large dense layer, a small one."""
    rng = np.random.default_rng(0)
    arrays = {
        "w0": rng.normal(size=(5, 3, 3, 3)), "w1": rng.normal(size=(500, hidden)) / 20,
        "w2": rng.normal(size=(hidden, outputs)) / 20,
    }  # fmt: skip
    shape = numpy_helper.from_array(np.array([1, 500], dtype=np.int64), "shape")
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"], name="conv"),
        helper.make_node("Reshape", ["c", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w1"], ["h"], name="wide"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes, "big",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [*(numpy_helper.from_array(a.astype(np.float32), k) for k, a in arrays.items()), shape],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_150_kilobytes_of_weights(tmp_path, precision):
    model = big_net(tmp_path / "big.onnx", 300)
    artifact = compile_model(model, options=Options(target="msp430", precision=precision))
    size, limits = artifact.report["bytes"], artifact.report["limits"]
    assert size["weights"] > 150_000
    assert size["flash"] + size["nv"] <= limits["flash"]
    assert b"fm_far_read(row" in artifact.files["model.c"]
    assert b"_4[" in artifact.files["weights.h"]  # the large array is declared in parts
    x = np.random.default_rng(1).normal(size=(20, 1, 3, 12, 12)).astype(np.float32)
    expected, found = (run(x, intermediates=True).integers for run in (artifact.reference, artifact.host))
    assert compare(Trace(values=expected), Trace(values=found)) == ()


def test_only_what_does_not_fit_goes_far(tmp_path):
    artifact = compile_model(big_net(tmp_path / "small.onnx", 40), options=Options(target="msp430"))
    assert b"fm_far_read" not in artifact.files["model.c"]
    artifact = compile_model(big_net(tmp_path / "medium.onnx", 80), options=Options(target="msp430"))
    assert artifact.files["model.c"].count(b"fm_far_read(row") == 1


def test_build_notices_that_the_linker_moved_them(tmp_path):
    folder = tmp_path / "out"
    compile_model(big_net(tmp_path / "medium.onnx", 80), options=Options(target="msp430"), output=folder)
    built = build_firmware_in(folder)
    assert built.sections.far > 30_000
    assert built.elf.read_bytes() == (folder / "firmware.elf").read_bytes()
    earlier = {path.name: path.read_bytes() for path in built.elf.parent.iterdir()}
    assert set(earlier) == {"firmware.elf", "firmware.hex", "firmware.txt"}
    script = folder / "board" / "msp430fr5994.ld"
    script.write_text(
        script.read_text().replace("ORIGIN = 0x10000, LENGTH = 0x34000", "ORIGIN = 0x10100, LENGTH = 0x33F00")
    )
    with pytest.raises(ToolchainError, match=r"moved far constants: expected {'fm_wide_weights(_0)?': 65536"):
        build_firmware_in(folder)
    assert {path.name: path.read_bytes() for path in built.elf.parent.iterdir()} == earlier


def test_more_than_the_board_has(tmp_path):
    with pytest.raises(DoesNotFitError, match=r"(?s)does not fit.*weights.*largest contributors.*wide"):
        compile_model(big_net(tmp_path / "huge.onnx", 520), options=Options(target="msp430"))


def test_boards_without_far_memory_have_none(tmp_path):
    artifact = compile_model(big_net(tmp_path / "big.onnx", 300), options=Options(target="apollo4"))
    assert b"fm_far_read" not in artifact.files["model.c"]


@pytest.mark.parametrize("kind", ["zig", "clang"])
def test_the_firmware_reads_far_rows_right(tmp_path, kind):
    """The whole self-test program, run instruction by instruction: rows of even and odd length above 64 K."""
    board = get_board("msp430")
    if kind not in [toolchain.kind for toolchain in installed(board)]:
        pytest.skip(f"{kind} is not installed")
    choice = choose(*calibrated(big_net(tmp_path / "net.onnx", 4, outputs=3)), precision=Precision())
    planned = to_channels_last(choice.qgraph)
    memory = plan_memory(planned)
    far = far_addresses(planned, board, 0, everything=True)
    assert len(far) == 3
    program = lower(planned, memory, far)
    files = {k: v.encode() for k, v in emit(program, stamp="", vectors=vectors(planned)).items()}
    elf = tmp_path / "firmware.elf"
    build_firmware({**files, **firmware_files(board.name)}, board, kind, elf)
    check_far(elf, program.far_symbols)
    machine = finish(load(elf))
    assert machine.take_output().decode().splitlines()[-1] == "vectors 1 wrong bytes 0"


def calibrated(path):
    graph = run_passes(import_onnx(path), PASSES)
    return graph, {"x": np.random.default_rng(1).normal(size=(8, 1, 3, 12, 12)).astype(np.float32)}


def vectors(graph):
    from freeml.making import test_vectors

    return test_vectors(graph, {"x": np.random.default_rng(2).normal(size=(1, 1, 3, 12, 12)).astype(np.float32)})


def test_a_loop_longer_than_a_16_bit_int_counts(tmp_path):
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="tall")
    values = [helper.make_tensor_value_info(*v) for v in (("x", 1, [1, 1]), ("y", 1, [1, 33_000]))]
    weights = numpy_helper.from_array(np.ones((1, 33_000), dtype=np.float32), "w")
    graph = helper.make_graph([node], "long", values[:1], values[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "long.onnx")
    with pytest.raises(DoesNotFitError, match=r"layer tall runs 33,000 steps in one loop, and an int of 16 bits"):
        compile_model(tmp_path / "long.onnx", options=Options(target="msp430"))
    compile_model(tmp_path / "long.onnx", options=Options(target="apollo4"))
