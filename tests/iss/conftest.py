"""The oracles, as far as they are here."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import gdbsim


@pytest.fixture(scope="session")
def gdb() -> Path | None:
    """GDB's msp430 simulator; None where it was not built."""
    return gdbsim.find()


@pytest.fixture(scope="session")
def gdb_required(gdb: Path | None) -> Path:
    """The same for tests that are about nothing else."""
    if gdb is None:
        pytest.skip(gdbsim.MISSING)
    return gdb
