"""Every compiler of the MSP430, with more weights than 16-bit addresses reach: the image runs exactly."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.sim.board import BoardRunner, run_board
from freeml.sim.machine import MachineFaultError
from freeml.sim.trace import compare, run_reference
from freeml.targets import get
from freeml.toolchains import installed
from freeml.verification import random_samples

MSP430 = get("msp430")
KINDS = [compiler.kind for compiler in MSP430.compilers]
INSTALLED = {toolchain.kind for toolchain in installed(MSP430)}


def large_net(path):
    """Two dense layers and a convolution; 150 kB of int8 weights, rows of odd and of even length."""
    chance = np.random.default_rng(0)

    def weights(name, *shape):
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array((chance.normal(size=shape) * scale).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["maps"], kernel_shape=[3, 3], name="conv"),
        helper.make_node("Relu", ["maps"], ["positive"], name="relu"),
        helper.make_node("Flatten", ["positive"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w1"], ["wide"], transB=1, name="wide"),
        helper.make_node("Tanh", ["wide"], ["squashed"], name="tanh"),
        helper.make_node("Gemm", ["squashed", "w2"], ["y"], transB=1, name="last"),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 9, 11))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights("w0", 5, 2, 3, 3), weights("w1", 411, 315), weights("w2", 51, 411)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_150_kilobytes_of_weights(kind, tmp_path):
    if kind not in INSTALLED:
        pytest.skip(f"{kind} for the MSP430 is not installed")
    artifact = compile_model(
        large_net(tmp_path / "large.onnx"), options=Options(toolchain=kind), output=tmp_path / "out"
    )  # fmt: skip
    assert artifact.report["bytes"]["weights"] > 150_000
    assert min(artifact.report["far"].values()) == 0x10000
    inputs = random_samples(artifact.graph, 3, 0).integers
    runner = BoardRunner(artifact.graph, MSP430, tmp_path / "out" / "firmware.elf")
    found = run_board(runner, inputs, every_value=True)
    assert compare(run_reference(artifact.graph, inputs, every_value=True), found) == ()


def test_a_hang_names_where(tmp_path):
    artifact = compile_model(large_net(tmp_path / "large.onnx"), options=Options(), output=tmp_path / "out")
    runner = BoardRunner(artifact.graph, MSP430, tmp_path / "out" / "firmware.elf", max_instructions=2000)
    inputs = random_samples(artifact.graph, 1, 0).integers
    with pytest.raises(
        MachineFaultError, match=r"hangs: .* instructions were not enough to finish layer .*; stopped in fm_"
    ):
        runner.infer(inputs)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_a_large_window_is_no_hang(kind, tmp_path):
    """A pool has no weights: what it does grows with the taps of its windows, up to 2,209 for each number here."""
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], kernel_shape=[47, 47], pads=[23] * 4, name="pool")],
        "window",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 48, 48))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "x.onnx")
    artifact = compile_model(tmp_path / "x.onnx", options=Options(), output=tmp_path / "out")
    inputs = random_samples(artifact.graph, 1, 0).integers
    runner = BoardRunner(artifact.graph, MSP430, tmp_path / "out" / "firmware.elf")
    found = run_board(runner, inputs, every_value=True)
    assert compare(run_reference(artifact.graph, inputs, every_value=True), found) == ()


@pytest.mark.parametrize("board", ["msp430", "apollo4"])
def test_any_limit_is_a_hang_with_a_place(board, tmp_path):
    """Whatever the limit falls on, a layer's last instruction included."""
    artifact = compile_model(
        large_net(tmp_path / "large.onnx"), options=Options(target=board), output=tmp_path / "out"
    )  # fmt: skip
    inputs = random_samples(artifact.graph, 1, 0).integers
    elf = tmp_path / "out" / "firmware.elf"
    first = BoardRunner(artifact.graph, get(board), elf).infer(inputs).layers[0].counts.instructions
    for limit in (1, 2, *range(first, first + 12)):
        with pytest.raises(MachineFaultError, match="hangs"):
            BoardRunner(artifact.graph, get(board), elf, max_instructions=limit).infer(inputs)
