"""The blobs net, as it is and compressed."""

from __future__ import annotations

from pathlib import Path

import pytest

from blobs import save_model
from compiling import compiled, quarter
from freeml.artifact import Artifact


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("blobs") / "blobs.onnx")


@pytest.fixture(scope="session")
def plain(model: Path) -> Artifact:
    return compiled(model, None)


@pytest.fixture(scope="session")
def half(model: Path, plain: Artifact) -> Artifact:
    """Compressed to a quarter of its weights and less RAM."""
    return compiled(model, quarter(plain))
