"""The Python API: the same reach as the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Compiled
from small_models import IMAGE, arrays, snapshot

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


@pytest.mark.parametrize("options", [{"precision": "int4"}, {"weights": "auto"}, {"ranges": "best"}, {"target": "z80"}])
def test_choices_that_are_none(original: Compiled, options: dict[str, str]) -> None:
    with pytest.raises(freeml.FreemlError, match="expected one of"):
        freeml.compile(original.model, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("x", [np.zeros((3, 1, 8, 9)), np.zeros((3, 64)), {"other": np.zeros((3, *IMAGE))}])
def test_inputs_that_do_not_fit(artifact: freeml.Artifact, x: object) -> None:
    with pytest.raises(freeml.FreemlError, match="expected"):
        artifact.reference(x)  # type: ignore[arg-type]


def test_load_of_what_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(freeml.FreemlError):
        freeml.load(tmp_path)


def test_names() -> None:
    assert set(freeml.__all__) == {"Artifact", "FreemlError", "__version__", "compile", "inspect", "load"}
    with pytest.raises(AttributeError, match="nonsense"):
        freeml.nonsense  # noqa: B018
