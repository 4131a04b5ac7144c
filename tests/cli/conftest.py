"""A compiled net, and copies of it to do anything with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import Compiled, run
from small_models import arrays, save, save_data, small


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The small net for the MSP430; nobody changes it."""
    folder = tmp_path_factory.mktemp("compiled")
    model, data = save(small(), folder / "small.onnx"), save_data(arrays(), folder / "data.npz")
    result = run("compile", model, "--data", data, "--out", folder / "out", "--json")
    assert result.exit_code == 0, result.output
    return Compiled(folder=folder / "out", model=model, data=data, printed=json.loads(result.stdout))


@pytest.fixture
def compiled(original: Compiled, tmp_path: Path) -> Compiled:
    """A copy of the compiled net to do anything with."""
    folder = tmp_path / "compiled"
    shutil.copytree(original.folder, folder)
    return Compiled(folder=folder, model=original.model, data=original.data, printed=original.printed)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """The small net as a file."""
    return save(small(), tmp_path / "small.onnx")
