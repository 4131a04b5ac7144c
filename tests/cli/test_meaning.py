"""What a net's outputs, inputs and formats are taken for, and that the report says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refusal, run
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper
from small_models import initializer, save, save_data

import freeml
from freeml.verification import verify

WIDTH = 8


def net(
    nodes: Sequence[NodeProto],
    outputs: int,
    constants: dict[str, NDArray[Any]],
    *,
    batch: int | str = "batch",
    idle: Sequence[str] = (),
) -> ModelProto:
    """x (batch, 8) -> y (batch, outputs)."""
    shapes = {"x": [batch, WIDTH], **{name: [batch, 3] for name in idle}}
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, outputs])],
        [initializer(name, array) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights(outputs: int) -> dict[str, NDArray[Any]]:
    return {"w": np.random.default_rng(0).normal(size=(WIDTH, outputs))}


GEMM = helper.make_node("Gemm", ["x", "w"], ["a"], name="gemm")


def scorer(op: str) -> ModelProto:
    """One score per sample."""
    return net([GEMM, helper.make_node(op, ["a"], ["y"], name="score")], 1, weights(1))


def labelled() -> dict[str, NDArray[Any]]:
    """Samples on either side of the plane that `scorer` draws, all of them labelled right."""
    rng = np.random.default_rng(1)
    x = {part: rng.normal(size=(count, WIDTH)).astype(np.float32) for part, count in (("train", 200), ("test", 100))}
    plane = weights(1)["w"][:, 0]
    return {f"x_{p}": v for p, v in x.items()} | {f"y_{p}": (v @ plane > 0).astype(int) for p, v in x.items()}


@pytest.mark.parametrize(("op", "threshold"), [("Sigmoid", 0.5), ("HardSigmoid", 0.5), ("Identity", 0.0)])
def test_one_score_is_cut_where_it_decides(tmp_path: Path, op: str, threshold: float) -> None:
    """A probability at a half, a logit at zero; by every executor alike."""
    model, data = save(scorer(op), tmp_path / "m.onnx"), save_data(labelled(), tmp_path / "d.npz")
    result = run("compile", model, "--data", data, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["accuracy"]["threshold"] == threshold
    assert report["accuracy"]["float"] == 1.0
    assert report["accuracy"]["quantized"] > 0.95
    assert any(f"above {threshold:g}" in note for note in report["notes"])
    found = verify(tmp_path / "out", data=data, model=model, board_samples=0)
    assert found.accuracy["onnxruntime_float"] == 1.0
    assert found.accuracy["reference"] == found.accuracy["host"] == report["accuracy"]["quantized"]


def test_one_score_has_two_classes(tmp_path: Path) -> None:
    data = labelled()
    data["y_test"][3] = 2
    model, path = save(scorer("Sigmoid"), tmp_path / "m.onnx"), save_data(data, tmp_path / "d.npz")
    assert "expected labels 0..1" in refusal(
        "compile", model, "--data", path, "--out", tmp_path / "o", kind="DataError"
    )


def test_several_scores_have_no_threshold(tmp_path: Path) -> None:
    artifact = freeml.compile(
        save(net([helper.make_node("Gemm", ["x", "w"], ["y"])], 4, weights(4)), tmp_path / "m.onnx")
    )
    assert artifact.report["accuracy"]["threshold"] is None


def test_inputs_that_nothing_reads(tmp_path: Path) -> None:
    """Left out of the net, said so, and fed to the float model, which asks for them."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], name="gemm")]
    model = save(net(nodes, 4, weights(4), idle=["spare"]), tmp_path / "m.onnx")
    artifact = freeml.compile(model, out=tmp_path / "out")
    assert artifact.graph.inputs == ("x",)
    assert "input spare is left out: no output depends on it" in artifact.report["notes"]
    found = verify(tmp_path / "out", model=model, samples=5, board_samples=0)
    assert "onnxruntime_float" in found.executors


@pytest.mark.parametrize("op", ["Softmax", "ReduceMean"])
def test_operators_across_the_batch(tmp_path: Path, op: str) -> None:
    """A board knows one sample at a time; so does what it is compared with, whatever the model's batch axis."""
    across = {"axis": 0} if op == "Softmax" else {"axes": [0]}
    model = save(net([GEMM, helper.make_node(op, ["a"], ["y"], **across)], 4, weights(4)), tmp_path / "m.onnx")
    freeml.compile(model, out=tmp_path / "out", precision="int16")
    found = verify(tmp_path / "out", model=model, samples=20, board_samples=0)
    worst = {name: one.largest_steps for name, (one,) in found.differences.items()}
    assert worst["onnxruntime_quantized"] <= 1
    if op == "Softmax":  # of one sample: ones; the mean of random samples leaves the calibrated range
        assert worst["onnxruntime_float"] <= 1


@pytest.mark.parametrize("command", ["compile", "verify", "profile"])
def test_negative_seeds(tmp_path: Path, command: str) -> None:
    result = run(command, tmp_path, "--seed", "-1", "--json")
    assert result.exit_code == 2
    assert "-1 is not in the range" in json.loads(result.stdout)["error"]


def quantized(dtype: str, zero_point: int, *, axis: int | None = None) -> ModelProto:
    """A dense layer whose weights come through DequantizeLinear in that format."""
    rng, outputs = np.random.default_rng(0), 4
    info = np.iinfo(dtype)
    count = {None: 1, 0: WIDTH, 1: outputs}[axis]
    scale = (0.01 * (1 + np.arange(count)) / count).astype(np.float32)
    constants = {
        "q": rng.integers(info.min, info.max, size=(WIDTH, outputs), endpoint=True).astype(dtype),
        "scale": scale if axis is not None else scale[0],
        "zero": np.full(count, zero_point, dtype) if axis is not None else np.array(zero_point, dtype),
    }
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], name="dequantize", **attributes),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="dense"),
    ]
    model = net(nodes, outputs, constants)
    if dtype.endswith("16"):
        model.opset_import[0].version = 21
        model.ir_version = 10
    return model


@pytest.mark.parametrize(
    ("model", "weight_bits", "reason"),
    [
        (quantized("int8", 0), "int8", None),
        (quantized("uint8", 128), "int8", None),
        (quantized("int8", 0, axis=1), "int8", None),
        (quantized("int16", 0), "int16", None),
        (quantized("uint8", 117), "int8", "its zero point is not the middle"),
        (quantized("int8", 5), "int8", "its zero point is not the middle"),
        (quantized("int8", 0, axis=0), "int8", "along another axis"),
        (quantized("int16", 0), "int8", "weights have 8 bits (--weights), it has 16"),
    ],
)
def test_formats_that_are_not_kept(tmp_path: Path, model: ModelProto, weight_bits: Any, reason: str | None) -> None:
    """A format that the model brings for weights is theirs, or the report says why not."""
    report = freeml.compile(save(model, tmp_path / "m.onnx"), weights=weight_bits).report
    found = [note for note in report["notes"] if "is not kept" in note]
    assert len(found) == (reason is not None)
    if reason is not None:
        assert found[0].startswith("dense: the format of w is not kept")
        assert reason in found[0]
