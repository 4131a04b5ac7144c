"""Emitted C and graph text of one small net, byte for byte; and the sizes of the examples.

Changed on purpose only: `pytest tests/golden --update-golden`, with the reason in the commit.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import pytest

from examples.data import MODEL_DATA
from examples.ledger import BOARDS, MODELS, compiled
from freeml.codegen.emit import emit
from freeml.ir.text import to_text
from freeml.making import lower_graph, test_vectors
from freeml.ops.add import Add
from freeml.ops.clip import Clip
from freeml.ops.maxpool import MaxPool
from freeml.ops.reshape import Reshape
from freeml.ops.tanh import Tanh
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from ops.sketch import Sketch

HERE = Path(__file__).parent
FILES = ("model.c", "model.h", "fm_memory.h", "weights.h", "weights.c", "vectors.c", "host/host_values.c")
LEDGER = HERE / "ledger.json"

test_vectors.__test__ = False


def small_net():
    """A pool fused into its convolution, a residual sum, a table, a flattening, a dense layer."""
    s = Sketch(seed=7)
    relu = Clip(low=0.0, high=float("inf"))
    pool = MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0)))
    x = s.add(pool, s.add(relu, s.conv(s.input(1, 2, 8, 8), 4, (3, 3), pads=((1, 1), (1, 1)))))
    x = s.add(relu, s.add(Add(), s.conv(x, 4, (3, 3), pads=((1, 1), (1, 1))), x))
    x = s.add(Tanh(), s.conv(x, 3, (1, 1)))
    y = s.dense(s.add(Reshape(shape=(1, 48)), x), 3)
    return s.graph(y), dict(s.samples(16))


def rounded(seen):
    """Ranges in eighths: a processor whose sums differ in the last bit gives the same golden files."""
    values = {k: replace(v, low=floor(8 * v.low) / 8, high=ceil(8 * v.high) / 8) for k, v in seen.values.items()}
    return replace(seen, values=values)


@pytest.fixture(scope="module")
def texts():
    graph, inputs = small_net()
    graph = run_passes(graph, PASSES)
    qgraph = quantize(
        graph, rounded(observe(graph, inputs)), precision=Precision(), method="minmax", groups=fusion_groups(graph)
    )
    planned, _, program = lower_graph(qgraph)
    found = emit(program, stamp="Generated for a golden file.", vectors=test_vectors(planned, inputs))
    return {**{name: found[name] for name in FILES}, "graph.txt": to_text(graph), "qgraph.txt": to_text(planned)}


@pytest.mark.parametrize("name", [*FILES, "graph.txt", "qgraph.txt"])
def test_text(texts, name, update_golden):
    path = HERE / "small" / Path(name).name
    if update_golden:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[name], encoding="utf-8")
    assert path.read_text(encoding="utf-8") == texts[name]


def sizes(name, target):
    report = compiled(name, target=target, precision="int8", with_data=False).report
    assert report["toolchain"] == "zig", "the ledger holds what the pinned zig makes"
    size = {key: report["bytes"][key] for key in ("weights", "code", "flash", "sram", "nv")}
    return {**size, "arena": report["arena"]["bytes"], "lower_bound": report["arena"]["lower_bound_bytes"]}


def test_ledger(update_golden):
    """Bytes of every example on both boards. Anyone who makes a net larger sees it here."""
    found = {f"{name} on {board}": sizes(name, board) for name in sorted(MODEL_DATA) for board in BOARDS}
    if update_golden:
        LEDGER.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert json.loads(LEDGER.read_text(encoding="utf-8")) == found
    assert all(row["arena"] <= 1.10 * row["lower_bound"] for row in found.values())


def test_same_input_same_bytes_in_another_process(tmp_path):
    folders = []
    for seed in ("1", "2"):
        folder = tmp_path / seed / "out"
        command = [sys.executable, "-m", "freeml", "compile", str(MODELS / "lenet5.onnx"), "--out", str(folder)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        folders.append({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert folders[0].keys() == folders[1].keys()
    assert [name for name in folders[0] if folders[0][name] != folders[1][name]] == []
    everything = b"".join(folders[0].values())
    assert str(tmp_path).encode() not in everything
    assert b"/tmp/" not in everything
