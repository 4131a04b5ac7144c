"""A compiled net that tests copy, and a way to run the command line in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from small_models import arrays, save, save_data, small

from freeml.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A net compiled by the command line: its files, and the JSON object that was printed."""

    folder: Path
    model: Path
    data: Path
    printed: dict[str, Any]


def run(*arguments: object) -> Result:
    """`freeml ARGUMENTS` in this process, output and errors apart."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refusal(*arguments: object, kind: str) -> str:
    """The message of a command that must refuse: exit status 2, one JSON object on standard output, no traceback."""
    result = run(*arguments, "--json")
    assert result.exit_code == 2, result.output
    document = json.loads(result.stdout)
    assert document["kind"] == kind
    assert f"error: {document['error']}" in result.stderr
    assert "Traceback" not in result.output
    return str(document["error"])


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


Refuse = Callable[..., str]
