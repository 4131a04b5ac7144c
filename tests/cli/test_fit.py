"""Nets near the edge of a board: what fits is made to fit, what does not is refused with figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Compiled, refusal, run
from onnx import ModelProto, TensorProto, helper
from small_models import initializer, model, save, small

from freeml.building import build_firmware
from freeml.errors import DoesNotFitError, ToolchainError
from freeml.fit import linker_overflow
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.targets import get as get_board
from freeml.toolchains import installed
from toolchains.board430 import finish, load

MSP430 = get_board("msp430")
GCC = pytest.mark.skipif("gcc" not in [t.kind for t in installed(MSP430)], reason="msp430-elf-gcc is not installed")


def deep(layers: int, channels: int) -> ModelProto:
    """A residual chain of 3 x 3 convolutions with sigmoids: code and constants that cannot go far, little activation."""
    rng = np.random.default_rng(0)
    constants = {"first.weight": rng.normal(size=(channels, 1, 3, 3)) / 3}
    chain = [helper.make_node("Conv", ["image", "first.weight"], ["v0"], name="first", pads=[1, 1, 1, 1])]
    for i in range(layers):
        constants[f"w{i}"] = rng.normal(size=(channels, channels, 3, 3)) / channels
        chain += [
            helper.make_node("Conv", [f"v{i}", f"w{i}"], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]),
            helper.make_node("Sigmoid", [f"c{i}"], [f"s{i}"], name=f"act{i}"),
            helper.make_node("Add", [f"s{i}", f"v{i}"], [f"v{i + 1}"], name=f"add{i}"),
        ]
    chain.append(helper.make_node("GlobalAveragePool", [f"v{layers}"], ["logits"], name="mean"))
    return model(chain, constants)


def flat(size: int, op: str = "Relu", *, mean: bool = False) -> ModelProto:
    """One elementwise operator: activations and test vectors, hardly any code. With `mean` that of its output is all."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, e]) for n, e in (("x", size), ("y", size))]
    nodes = [helper.make_node(op, ["x"], ["y"], name="op")]
    if mean:
        nodes = [
            helper.make_node("Sigmoid", ["x"], ["h"], name="op"),
            helper.make_node("ReduceMean", ["h"], ["y"], name="mean", axes=[1]),
        ]
        values[1] = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
    graph = helper.make_graph(nodes, "flat", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def dense(inputs: int, outputs: int) -> ModelProto:
    """One dense layer."""
    weights = initializer("w", np.random.default_rng(0).normal(size=(inputs, outputs)))
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, e]) for n, e in (("x", inputs), ("y", outputs))]
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="dense")
    graph = helper.make_graph([node], "dense", values[:1], values[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_code_larger_than_the_reserve(tmp_path: Path) -> None:
    """Near memory overflows when linked: a few more weights go far, no more than needed, and the folder builds alike."""
    out = tmp_path / "out"
    report = compile_model(save(deep(26, 11), tmp_path / "m.onnx"), options=Options(), output=out).report
    board = MSP430.near_nv.size_bytes
    assert report["bytes"]["code"] > 10 * 1024  # else the first placement would do
    rows = [layer["weight_bytes"] for layer in report["layers"]]
    far = len(report["far"])
    assert 0 < far < 26
    built = build_firmware(out)
    near = built.bytes.flash + built.bytes.nv - built.sections.far
    assert board - 3 * max(rows) < near <= board
    assert built.elf.read_bytes() == (out / "firmware.elf").read_bytes()


def test_vectors_give_way(tmp_path: Path) -> None:
    """The net fits, its test vectors do not: the firmware holds none, says so, and runs to its end."""
    out = tmp_path / "out"
    artifact = compile_model(save(flat(9_000), tmp_path / "m.onnx"), options=Options(), output=out)
    assert artifact.report["bytes"]["vectors"] == 0
    assert artifact.report["bytes"]["nv"] >= 4 * 9_000
    assert any("no test vectors" in note for note in artifact.report["notes"])
    machine = finish(load(out / "firmware.elf"))
    assert machine.take_output().decode().splitlines()[-1] == "vectors 0 wrong bytes 0"
    assert build_firmware(out).bytes.vectors == 0


def test_vectors_are_in_the_table(tmp_path: Path) -> None:
    """They are kept where they fit, and counted where nothing does."""
    kept = compile_model(save(flat(5_000), tmp_path / "m.onnx"), options=Options()).report
    assert kept["bytes"]["vectors"] == 10_000
    with pytest.raises(DoesNotFitError, match=r"test vectors +52,000 bytes") as caught:
        compile_model(save(flat(26_000), tmp_path / "m.onnx"), options=Options())
    assert caught.value.details["fits"] is False


def test_figures_of_a_net_that_does_not_fit(tmp_path: Path) -> None:
    """With --json: the bytes that are known, the limits, and what the linker lacked."""
    path = save(deep(70, 4), tmp_path / "deep.onnx")
    result = run("compile", path, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert (document["kind"], document["fits"]) == ("DoesNotFitError", False)
    assert document["limits"] == {"flash": MSP430.nv_bytes, "sram": MSP430.sram_bytes}
    assert 20_000 < document["bytes"]["weights"] < 60_000
    lacking = document["overflow"]["FRAM"]
    assert lacking > 0
    assert f"FRAM overflows by {lacking:,} bytes when linked" in document["error"]


def test_figures_of_a_build_that_does_not_fit(compiled: Compiled) -> None:
    """`freeml build` answers in the same words: here the linker script has lost most of its memory."""
    script = compiled.folder / "board" / "msp430fr5994.ld"
    text = script.read_text()
    script.write_text(text.replace("ORIGIN = 0x04000, LENGTH = 0x0BF80", "ORIGIN = 0x04000, LENGTH = 0x00400"))
    assert script.read_text() != text
    result = run("build", compiled.folder, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert (document["kind"], document["fits"]) == ("DoesNotFitError", False)
    assert document["overflow"]["FRAM"] > 0
    assert "largest contributors" in document["error"]
    assert 0 < document["bytes"]["weights"] <= compiled.printed["bytes"]["weights"]


def test_stack_that_is_too_small(compiled: Compiled) -> None:
    script = compiled.folder / "board" / "msp430fr5994.ld"
    text = script.read_text()
    script.write_text(text.replace(">= 256,", ">= 9000,"))
    assert script.read_text() != text
    assert "left for the stack" in refusal("build", compiled.folder, kind="DoesNotFitError")


@pytest.mark.parametrize(
    "message",
    [
        "ld.lld: error: section '.fm_nv' will not fit in region 'FRAM': overflowed by 700 bytes\n"
        "ld.lld: error: section '.x' will not fit in region 'FRAM': overflowed by 712 bytes",
        "ld: region `FRAM' overflowed by 712 bytes\nld: firmware.elf section `.fm_nv' will not fit in region `FRAM'",
    ],
)
def test_what_linkers_say(message: str) -> None:
    assert linker_overflow(message) == {"FRAM": 712}
    assert linker_overflow("undefined reference to `overflowed'") == {}


@GCC
def test_gcc_with_large_weights(tmp_path: Path) -> None:
    """An array beyond what MSP430 GCC declares goes far, where it is declared in parts, even when there is room near."""
    artifact = compile_model(save(dense(900, 40), tmp_path / "m.onnx"), options=Options(toolchain="gcc"))
    assert artifact.report["toolchain"] == "gcc"
    assert list(artifact.report["far"]) == ["fm_dense_weights_0", "fm_dense_weights_1"]


@GCC
def test_gcc_with_a_large_arena(tmp_path: Path) -> None:
    """What cannot go far is refused before the compiler is asked, with the limit and a way out, which works."""
    path, out = save(flat(16_500, mean=True), tmp_path / "m.onnx"), tmp_path / "out"
    with pytest.raises(ToolchainError, match=r"at most 32,767 bytes .* arena .* 33,000; use --toolchain zig or clang"):
        compile_model(path, options=Options(toolchain="gcc"))
    compile_model(path, options=Options(toolchain="zig"), output=out)
    assert "--toolchain zig or clang" in refusal("build", out, "--toolchain", "gcc", kind="ToolchainError")


def test_small_nets_are_placed_as_before(tmp_path: Path) -> None:
    artifact = compile_model(save(small(), tmp_path / "m.onnx"), options=Options())
    assert artifact.report["far"] == {}
    assert artifact.report["bytes"]["vectors"] > 0
