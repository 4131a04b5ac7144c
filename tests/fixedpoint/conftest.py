"""The firmware's fixed-point functions as a program of this machine, called with arrays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent
COMMON = HERE.parents[1] / "firmware" / "common"
FLAGS = (
    "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wsign-conversion", "-Wshadow",
    "-Wmissing-prototypes", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error",
)  # fmt: skip

Probe = Callable[..., NDArray[np.int64]]


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """call(function, column, ..., table=...): its results for the rows made of the (broadcast) columns, int64."""
    compiler = [shutil.which("cc")] if shutil.which("cc") else [sys.executable, "-m", "ziglang", "cc"]
    program = tmp_path_factory.mktemp("probe") / "probe"
    sources = [str(HERE / "probe.c"), str(COMMON / "fm_tables.c")]
    subprocess.run(
        [*compiler, *FLAGS, f"-I{COMMON}", f"-I{COMMON.parent / 'host'}", *sources, "-o", str(program)], check=True
    )

    def call(function: str, *columns: NDArray[np.int64] | int, table: Sequence[int] = ()) -> NDArray[np.int64]:
        records = np.stack(np.broadcast_arrays(*(np.asarray(c, dtype=np.int64) for c in columns)), axis=-1)
        stdin = np.asarray(table, dtype=np.int64).tobytes() + records.tobytes()
        done = subprocess.run([str(program), function, str(len(table))], input=stdin, capture_output=True, check=True)
        results = np.frombuffer(done.stdout, dtype=np.int64)
        assert results.size == records.size // records.shape[-1], "the program ended early"
        return results.reshape(records.shape[:-1])

    return call
