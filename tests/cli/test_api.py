"""The Python API: the same reach as the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Compiled
from onnx import TensorProto, helper
from small_models import IMAGE, arrays, save, snapshot

import freeml


@pytest.fixture(scope="module")
def artifact(original: Compiled) -> freeml.Artifact:
    """The small net, compiled from arrays in memory."""
    return freeml.compile(original.model, data=arrays())


def images(count: int) -> np.ndarray:
    """Seeded samples."""
    return np.random.default_rng(5).normal(size=(count, *IMAGE)).astype(np.float32)


def test_arrays_are_as_good_as_a_file(artifact: freeml.Artifact, original: Compiled) -> None:
    """From the command line and from Python, from a file and from memory: the same bytes."""
    assert dict(artifact.files) == snapshot(original.folder)


def test_executors_agree_on_every_value(artifact: freeml.Artifact) -> None:
    x = images(9)
    reference = artifact.reference(x, intermediates=True)
    host = artifact.host(x, intermediates=True)
    assert set(host.integers) == {"logits", "p"} <= set(reference.integers)
    for name, values in host.integers.items():
        np.testing.assert_array_equal(values, reference.integers[name])
    assert list(artifact.reference(x).integers) == ["logits"]
    assert reference.real["logits"].shape == (9, 1, 4)
    assert reference.real["logits"].dtype == np.float32


def test_artifact_survives_the_disk(artifact: freeml.Artifact, tmp_path: Path) -> None:
    artifact.write(tmp_path / "out")
    loaded = freeml.load(tmp_path / "out")
    assert isinstance(loaded, freeml.Artifact)
    assert loaded.files == artifact.files
    assert loaded.report == artifact.report
    x = images(3)
    np.testing.assert_array_equal(loaded.reference(x).integers["logits"], artifact.reference(x).integers["logits"])


def test_out_is_written(original: Compiled, tmp_path: Path) -> None:
    artifact = freeml.compile(str(original.model), out=str(tmp_path / "out"), precision="int16", seed=3)
    assert snapshot(tmp_path / "out") == dict(artifact.files)
    assert artifact.graph.types["logits"].dtype == "int16"


def test_inspect(original: Compiled) -> None:
    found = freeml.inspect(str(original.model), "apollo4")
    assert found.supported
    assert list(found.estimates) == ["apollo4"]


@pytest.mark.parametrize(
    "options",
    [{"precision": "int4"}, {"weights": "auto"}, {"ranges": "best"}, {"target": "z80"}, {"seed": -1}, {"seed": "a"}],
)
def test_choices_that_are_none(original: Compiled, options: dict[str, str]) -> None:
    with pytest.raises(freeml.FreemlError, match=r"expected (one of|an integer of 0 or more)"):
        freeml.compile(original.model, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 1, 8, 9)), "expected samples of shape"),
        (np.zeros((3, 64)), "expected samples of shape"),
        ({"other": np.zeros((3, *IMAGE))}, "found none for image"),
        (np.zeros((0, *IMAGE)), "at least one sample"),
        (np.full((2, *IMAGE), np.nan), "expected finite numbers"),
        (np.full((2, *IMAGE), 1e300), "expected finite numbers"),
        (np.zeros((2, *IMAGE), complex), "expected numbers"),
        (np.full((2, *IMAGE), None, dtype=object), "expected numbers"),
        ("abc", "expected numbers"),
        (3, "a single number"),
        ([[1.0], [1.0, 2.0]], "expected an array of numbers"),
    ],
)
def test_inputs_that_do_not_fit(artifact: freeml.Artifact, x: object, message: str) -> None:
    """Every executor says the same, before anything is built."""
    for executor in (artifact.reference, artifact.host):
        with pytest.raises(freeml.FreemlError, match=message):
            executor(x)  # type: ignore[arg-type]


def test_inputs_with_unequal_numbers_of_samples(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("a", "b", "c")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "sum", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact = freeml.compile(save(model, tmp_path / "sum.onnx"))
    with pytest.raises(freeml.FreemlError, match="as many samples for every input, found 3 for a, 2 for b"):
        artifact.reference({"a": np.zeros((3, 4)), "b": np.zeros((2, 4))})


def test_one_sample_or_several(artifact: freeml.Artifact) -> None:
    """A sample may come alone, without an axis of samples, or with the batch axis of the model."""
    x = images(1)
    expected = artifact.reference(x).integers["logits"]
    for same in (x[0], x[np.newaxis], x.tolist(), {"image": x.astype(np.float64)}):
        np.testing.assert_array_equal(artifact.reference(same).integers["logits"], expected)


def test_load_of_what_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(freeml.FreemlError):
        freeml.load(tmp_path)


def test_names() -> None:
    assert set(freeml.__all__) == {"Artifact", "FreemlError", "__version__", "compile", "compress", "inspect", "load"}
    with pytest.raises(AttributeError, match="nonsense"):
        freeml.nonsense  # noqa: B018
