"""`survey`: every node with its verdict, without raising for what is not supported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from onnx_models import build, node, normal

from freeml.errors import ModelFileError, UnsupportedModelError
from freeml.frontend.onnx_reader import import_onnx
from freeml.frontend.problems import survey, survey_model


def mixed_model() -> ModelProto:
    nodes = [
        node("Shape", "x", "shape", name="arithmetic"),
        node("Relu", "x", "r", name="act"),
        node("GRU", "r a b", "g", name="memory", hidden_size=2),
        node("Tanh", "g", "t", name="after"),
        node("Erf", "t", "h", name="second"),
        node("Resize", "r - s", "y", name="up", mode="linear"),
        node("Sigmoid", "x", "unread", name="dead"),
        node("Reshape", "r shape", "z", name="same"),
    ]
    constants = {"a": normal(1, 6, 3), "b": normal(1, 6, 2), "s": np.float32([1, 1, 2])}
    model = build(nodes, {"x": ("N", 2, 3)}, ["h", "y", "z"], constants, opset=13)
    model.producer_name, model.producer_version = "pytorch", "2.9"
    return model


def test_every_node_has_a_verdict() -> None:
    found = survey_model(mixed_model(), None, "mixed")
    verdicts = {n.name: (n.op_type, n.supported, n.reason) for n in found.nodes}
    assert list(verdicts) == ["arithmetic", "act", "memory", "after", "second", "up", "dead", "same"]
    assert verdicts["arithmetic"] == ("Shape", True, "")
    assert verdicts["act"] == ("Relu", True, "")
    assert verdicts["memory"][1] is False
    assert "the operator is not supported" in verdicts["memory"][2]
    assert verdicts["after"] == ("Tanh", True, "not examined: nothing is known of its input g")
    assert verdicts["second"][1] is False
    assert verdicts["up"][1] is False
    assert "only nearest is supported" in verdicts["up"][2]
    assert verdicts["dead"] == ("Sigmoid", True, "no output depends on it")
    assert verdicts["same"] == ("Reshape", True, "")
    assert len(found.problems) == 3
    assert not found.supported
    assert found.operators() == dict.fromkeys(
        ("Erf", "GRU", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Tanh"), 1
    )


def test_the_model_at_a_glance() -> None:
    found = survey_model(mixed_model(), None, "mixed")
    assert (found.name, found.producer, found.opset, found.ir_version) == ("mixed", "pytorch 2.9", 13, 8)
    assert [(port.name, port.dtype, port.shape) for port in found.inputs] == [("x", "float", (1, 2, 3))]
    assert [(port.name, port.shape) for port in found.outputs] == [("h", None), ("y", None), ("z", (1, 2, 3))]


def test_a_dynamic_input_is_shown_as_it_is_declared() -> None:
    found = survey_model(build([node("Relu", "x", "y")], {"x": ("N", "W")}, ["y"]), None)
    assert found.inputs[0].shape == ("N", "W")
    assert found.problems == ('input x: axis 1 is dynamic ("W"); export the model with that axis fixed',)
    assert found.nodes[0].reason == "not examined: nothing is known of its input x"


def test_a_supported_model_has_no_problems(tmp_path: Path) -> None:
    path = tmp_path / "good.onnx"
    path.write_bytes(build([node("Relu", "x", "y")], {"x": ("N", 4)}, ["y"]).SerializeToString())
    found = survey(path)
    assert found.supported
    assert found.problems == ()
    assert found.operators() == {"Relu": 1}


def test_problems_are_those_of_the_import(tmp_path: Path) -> None:
    path = tmp_path / "mixed.onnx"
    path.write_bytes(mixed_model().SerializeToString())
    with pytest.raises(UnsupportedModelError) as caught:
        import_onnx(path)
    assert survey(path).problems == caught.value.problems


def test_outputs_that_cannot_be_are_problems_too() -> None:
    found = survey_model(build([node("Shape", "x", "s")], {"x": ("N", 4)}, ["s"]), None)
    assert found.problems == ("output s does not depend on any input; remove it from the model",)


def test_a_broken_file_is_still_an_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x00\x01")
    with pytest.raises(ModelFileError):
        survey(path)
    model = build([node("Relu", "x", "y")], {"x": ("N", 4)}, ["y"])
    del model.graph.output[:]
    with pytest.raises(ModelFileError, match="has no outputs"):
        survey_model(model, None)
