"""The emitted C on the host: a shared library (firmware/host/batch.c) or a program (firmware/host/main.c)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from freeml.errors import ArtifactError
from freeml.ir.graph import QGraph
from freeml.ir.types import ITEM_BYTES, Array, QType
from freeml.sim.trace import Trace, stored_values

CHUNK_BYTES = 64 * 2**20
DTYPE = {"int8": "<i1", "int16": "<i2", "int32": "<i4"}


def run_host(program: Path, graph: QGraph, inputs: Mapping[str, Array], *, every_value: bool = False) -> Trace:
    """Run a host build (a library ending in .so, or a program) over all samples.

    `inputs` are integers in the graph's input formats, (samples, *shape).

    Raises ArtifactError with the program's own words when it does not end well.
    """
    samples = next(iter(inputs.values())).shape[0]
    shown = (*stored_values(graph), *graph.outputs) if every_value else graph.outputs
    sizes = [graph.types[name].size * ITEM_BYTES[graph.types[name].dtype] for name in shown]
    parts: dict[str, list[Array]] = {}
    chunk = max(1, CHUNK_BYTES // max(1, sum(sizes)))
    for start in range(0, samples, chunk):
        stop = min(samples, start + chunk)
        packed = [_bytes(inputs[name][start:stop], graph.types[name]) for name in graph.inputs]
        answer = _run(program, np.concatenate(packed, axis=1).tobytes(), "trace" if every_value else "run")
        expected = (stop - start) * sum(sizes)
        if len(answer) != expected:
            raise ArtifactError(f"{program.name}: expected {expected} bytes, found {len(answer)}; build it anew")
        rows = np.frombuffer(answer, dtype=np.uint8).reshape(stop - start, -1)
        position = 0
        for name, size in zip(shown, sizes, strict=True):
            type_ = graph.types[name]
            block = np.ascontiguousarray(rows[:, position : position + size]).view(DTYPE[type_.dtype])
            position += size
            if len(parts.get(name, ())) * chunk <= start:  # an output is shown twice: as a layer's value and at the end
                parts.setdefault(name, []).append(block.reshape(stop - start, *type_.shape))
    return Trace(values={name: np.concatenate(chunks).astype(np.int64) for name, chunks in parts.items()})


def _bytes(values: Array, type_: QType) -> Array:
    integers = np.asarray(values).astype(DTYPE[type_.dtype])
    return np.ascontiguousarray(integers.reshape(integers.shape[0], -1)).view(np.uint8)


def _run(program: Path, stdin: bytes, mode: str) -> bytes:
    script = str(Path(__file__).with_name("host_process.py"))
    runner = [sys.executable, "-I", script] if program.suffix == ".so" else []
    try:
        done = subprocess.run([*runner, str(program), mode], input=stdin, capture_output=True, check=False)
    except OSError as error:
        raise ArtifactError(f"{program}: cannot be run: {error}; build it anew with freeml build --host") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()[-2000:]
        raise ArtifactError(f"{program.name} ended with status {done.returncode}:\n{words}")
    return done.stdout
