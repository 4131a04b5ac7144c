"""Bad models and wrong usage: one clear message, exit status 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import refusal, run
from onnx import helper
from onnx.external_data_helper import set_external_data
from small_models import initializer, model, nodes, save, small, weights


def model_refusal(path: Path, *, kind: str = "ModelFileError") -> str:
    """The message about a model, from compile as from inspect; nothing is left beside it."""
    before = sorted(p.name for p in path.parent.iterdir())
    message = refusal("compile", path, "--out", path.parent / "out", kind=kind)
    if kind == "ModelFileError":
        assert refusal("inspect", path, kind=kind) == message
    assert sorted(p.name for p in path.parent.iterdir()) == before
    return message


def test_missing_file(tmp_path: Path) -> None:
    message = model_refusal(tmp_path / "absent.onnx")
    assert "absent.onnx" in message
    assert "no such file" in message


def test_folder_in_place_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    assert "folder" in model_refusal(tmp_path / "model.onnx")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    assert "empty" in model_refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file(tmp_path: Path, share: float) -> None:
    content = small().SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[: int(share * len(content))])
    assert "export" in model_refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 a zip file", b"\x00" * 100, b"import torch\n", b"\xff\xd8\xff\xe0 JFIF", b"\x08\x08"]
)
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "not an ONNX model" in model_refusal(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("location", "expected"),
    [("weights.bin", "missing"), ("../outside.bin", "outside"), ("/etc/hostname", "outside"), ("", "outside")],
)
def test_external_data(tmp_path: Path, location: str, expected: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(4 * 27))
    proto = small()
    tensor = next(t for t in proto.graph.initializer if t.name == "conv.weight")
    set_external_data(tensor, location=location or "x")
    if not location:
        del tensor.external_data[:]
    tensor.ClearField("raw_data")
    message = model_refusal(save(proto, folder / "m.onnx"))
    assert expected in message
    assert "conv.weight" in message


def test_external_data_through_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.bin").write_bytes(bytes(4 * 27))
    (folder / "weights.bin").symlink_to(tmp_path / "outside.bin")
    proto = small()
    tensor = next(t for t in proto.graph.initializer if t.name == "conv.weight")
    set_external_data(tensor, location="weights.bin")
    tensor.ClearField("raw_data")
    assert "outside" in model_refusal(save(proto, folder / "m.onnx"))


def test_everything_unsupported_is_listed_at_once(tmp_path: Path) -> None:
    """Two unknown operators, one of a foreign domain and one attribute: one message names all four nodes."""
    chain = nodes()
    chain[1] = helper.make_node("Erf", ["c"], ["r"], name="the_erf")
    chain[2] = helper.make_node("MaxPool", ["r"], ["p"], name="the_pool", kernel_shape=[2, 2], strides=[0, 2])
    chain.append(helper.make_node("Det", ["image"], ["d"], name="the_det"))
    chain.append(helper.make_node("Sparkle", ["image"], ["s"], name="the_sparkle", domain="com.example"))
    chain.append(helper.make_node("LRN", ["image"], ["l"], name="the_lrn", size=3))
    proto = model(chain, weights(), outputs=("logits", "d", "s", "l"))
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    path = save(proto, tmp_path / "m.onnx")
    message = model_refusal(path, kind="UnsupportedModelError")
    for name in ("the_erf", "the_det", "the_sparkle", "the_lrn"):
        assert name in message
    problems = json.loads(run("compile", path, "--out", tmp_path / "out", "--json").stdout)["problems"]
    assert len(problems) >= 4


def test_unsupported_attribute_names_its_node(tmp_path: Path) -> None:
    chain = nodes()
    chain[2] = helper.make_node("MaxPool", ["r"], ["p"], name="the_pool", kernel_shape=[2, 2], strides=[0, 2])
    message = model_refusal(save(model(chain, weights()), tmp_path / "m.onnx"), kind="UnsupportedModelError")
    assert "the_pool" in message


@pytest.mark.parametrize("shape", [("batch", 1, "height", 8), ("batch", 1, 8, None), (None, "c", "h", "w")])
def test_dynamic_shapes(tmp_path: Path, shape: tuple[int | str | None, ...]) -> None:
    path = save(small(shape=shape), tmp_path / "m.onnx")
    message = model_refusal(path, kind="UnsupportedModelError")
    assert "dynamic" in message
    assert "image" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv.weight", "dense.bias"])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, name: str) -> None:
    constants = weights()
    constants[name].flat[3] = value
    message = model_refusal(save(model(nodes(), constants), tmp_path / "m.onnx"), kind="UnsupportedModelError")
    assert name in message
    assert "finite" in message


@pytest.mark.parametrize("opset", [10, 99])
def test_opsets_out_of_reach(tmp_path: Path, opset: int) -> None:
    message = model_refusal(save(small(opset=opset), tmp_path / "m.onnx"), kind="UnsupportedModelError")
    assert f"opset {opset}" in message


def test_model_without_outputs(tmp_path: Path) -> None:
    model_refusal(save(small(outputs=()), tmp_path / "m.onnx"))


def test_model_that_does_not_depend_on_its_input(tmp_path: Path) -> None:
    proto = model([helper.make_node("Identity", ["k"], ["logits"])], {"k": np.zeros((1, 4))})
    assert "logits" in model_refusal(save(proto, tmp_path / "m.onnx"), kind="UnsupportedModelError")


@pytest.mark.parametrize(
    "arguments",
    [
        ("compile",), ("frobnicate",), ("compile", "m.onnx", "--precision", "int4"), ("compile", "m.onnx", "--nope"),
        ("verify", "d", "--samples", "0"), ("verify", "d", "--samples", "many"), ("inspect", "a", "b"),
    ],
)  # fmt: skip
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert result.stdout == ""
    with_json = run(*arguments, "--json")
    assert json.loads(with_json.stdout)["kind"] == "UsageError"


def test_nan_in_an_initializer_that_nothing_reads_is_no_harm(tmp_path: Path) -> None:
    proto = small()
    proto.graph.initializer.append(initializer("unread", np.array([np.nan])))
    assert run("inspect", save(proto, tmp_path / "m.onnx")).exit_code == 0
