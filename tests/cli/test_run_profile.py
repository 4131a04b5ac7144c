"""`freeml run` and `freeml profile`: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Compiled, refusal, run
from onnx import TensorProto, numpy_helper
from onnx import helper as nodes
from small_models import arrays

RUN_KEYS = {"outputs", "cycles", "instructions"}
LAYER_KEYS = {"name", "op", "macs", "cycles", "instructions", "energy_nj", "nv_writes"}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, arrays()["x_test"][:3])
    return path


def test_three_executors_print_the_same_numbers(compiled: Compiled, samples: Path) -> None:
    found = {
        on: json.loads(run("run", compiled.folder, "--on", on, "--input", samples, "--json").stdout)
        for on in ("reference", "host", "board")
    }
    assert all(document.keys() >= RUN_KEYS for document in found.values())
    assert found["reference"]["outputs"] == found["host"]["outputs"] == found["board"]["outputs"]
    assert found["reference"]["integers"] == found["host"]["integers"] == found["board"]["integers"]
    assert np.shape(found["board"]["outputs"]["logits"]) == (3, 4)
    assert found["reference"]["cycles"] is found["host"]["instructions"] is None
    assert found["board"]["cycles"] > found["board"]["instructions"] > 3 * 2000


def test_run_writes_outputs(compiled: Compiled, samples: Path, tmp_path: Path) -> None:
    result = run("run", compiled.folder, "--input", samples, "--output", tmp_path / "y.npz")
    assert result.exit_code == 0, result.output
    assert "3 samples on the board" in result.stdout
    assert "cycles" in result.stdout
    with np.load(tmp_path / "y.npz") as written:
        assert written["logits"].shape == (3, 1, 4)
        shown = f"{written['logits'][2, 0, 0]:.4g}"
    assert shown in result.stdout


def test_one_sample_without_its_axis(compiled: Compiled, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", arrays()["x_test"][0])
    found = json.loads(run("run", compiled.folder, "--on", "reference", "--input", tmp_path / "x.npy", "--json").stdout)
    assert found["samples"] == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (np.zeros((2, 5)), "expected samples of shape"),
        (np.zeros((0, 1, 8, 8)), "sample"),
        (np.full((1, 1, 8, 8), np.nan), "NaN"),
        (np.array(["a"]), "expected numbers"),
    ],
)
def test_bad_inputs(compiled: Compiled, tmp_path: Path, content: np.ndarray, expected: str) -> None:
    np.save(tmp_path / "x.npy", content)
    assert expected in refusal("run", compiled.folder, "--input", tmp_path / "x.npy", kind="DataError")


def test_an_output_without_a_batch_axis_is_printed_whole(tmp_path: Path) -> None:
    """A Squeeze at the end: the first axis of the output is not a batch of 1, and nothing of it may be left out."""
    chain = [
        nodes.make_node("MatMul", ["x", "w"], ["scores"], name="product"),
        nodes.make_node("Squeeze", ["scores", "axes"], ["y"], name="squeeze"),
    ]
    constants = [
        numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(4, 5), "w"),
        numpy_helper.from_array(np.array([0]), "axes"),
    ]
    inputs = [nodes.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))]
    outputs = [nodes.make_tensor_value_info("y", TensorProto.FLOAT, (5,))]
    graph = nodes.make_graph(chain, "squeezed", inputs, outputs, constants)
    onnx.save(nodes.make_model(graph, opset_imports=[nodes.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    assert run("compile", tmp_path / "m.onnx", "--out", tmp_path / "out").exit_code == 0
    np.save(tmp_path / "x.npy", np.ones((2, 4), dtype=np.float32))
    for on in ("reference", "board"):
        done = run("run", tmp_path / "out", "--on", on, "--input", tmp_path / "x.npy", "--json")
        assert np.shape(json.loads(done.stdout)["outputs"]["y"]) == (2, 5)


def test_damaged_archives(compiled: Compiled, tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", image=np.zeros((1, 1, 8, 8)))
    content = (tmp_path / "whole.npz").read_bytes()
    for name, damaged in (("short.npz", content[:200]), ("header.npz", content.replace(b"'shape'", b"'sha\"e'"))):
        (tmp_path / name).write_bytes(damaged)
        refusal("run", compiled.folder, "--input", tmp_path / name, kind="DataError")


def test_files_that_are_no_arrays(compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"not numpy")
    for name in ("x.npy", "missing.npy"):
        refusal("run", compiled.folder, "--input", tmp_path / name, kind="DataError")
    np.savez(tmp_path / "y.npz", other=np.zeros(3))
    assert "found other" in refusal("run", compiled.folder, "--input", tmp_path / "y.npz", kind="DataError")


def test_profile(compiled: Compiled) -> None:
    found = json.loads(run("profile", compiled.folder, "--json").stdout)
    report = json.loads((compiled.folder / "report.json").read_text())
    assert [layer["name"] for layer in found["layers"]] == [layer["name"] for layer in report["layers"]]
    assert all(layer.keys() >= LAYER_KEYS for layer in (*found["layers"], found["total"]))
    for count in ("cycles", "instructions", "nv_writes"):
        inside = sum(layer[count] for layer in found["layers"])
        # what fm_run does between regions: to find the layer, to commit
        assert inside <= found["total"][count] <= inside + 500 + 250 * report["power"]["regions"]
    # the firmware's own functions account for every cycle of the inference
    assert sum(function["cycles"] for function in found["functions"]) == found["total"]["cycles"]
    assert found["total"]["energy_nj"] > 0.1 * found["total"]["cycles"]
    assert "SLASE54" in found["energy_source"]
    shown = run("profile", compiled.folder, "--functions").stdout
    assert "energy is an estimate" in shown
    assert "fm_infer" in shown


def test_a_rebuilt_image_is_the_one_that_runs(compiled: Compiled) -> None:
    """After `freeml build` the board runs what was built; a broken image is an error that names it."""
    assert run("build", compiled.folder).exit_code == 0
    built = compiled.folder / "build" / "firmware.elf"
    assert json.loads(run("profile", compiled.folder, "--json").stdout)["image"] == str(built)
    built.write_bytes(built.read_bytes()[:700])
    assert str(built) in refusal("profile", compiled.folder, kind="ImageError")


def test_limit_of_instructions_names_the_place(compiled: Compiled, samples: Path) -> None:
    message = refusal(
        "run", compiled.folder, "--input", samples, "--max-instructions", 500, kind="MachineFaultError"
    )  # fmt: skip
    assert "the firmware hangs" in message
    assert "fm_layer_" in message or "fm_" in message


def test_an_image_for_another_board(compiled: Compiled, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("compile", compiled.model, "--target", "apollo4", "--out", other).exit_code == 0
    (compiled.folder / "firmware.elf").write_bytes((other / "firmware.elf").read_bytes())
    message = refusal("profile", compiled.folder, kind="ImageError")
    assert "expected an image for TI MSP430FR5994, found one for Ambiq Apollo4" in message
