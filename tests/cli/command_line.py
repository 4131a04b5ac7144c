"""The command line, run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

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
