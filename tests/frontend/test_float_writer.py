"""The float graph as an ONNX file: onnxruntime computes what the reference computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings

from freeml.compression.twin import FORMS
from freeml.frontend.float_writer import to_onnx
from freeml.frontend.onnx_reader import import_model, import_onnx
from freeml.ir.graph import Graph, execute
from freeml.ops.averagepool import AveragePool
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.slice import Slice
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from ops.nets import nets
from ops.sketch import Sketch

MODELS = sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx"))
APART = {"BatchNorm"}
"""What random nets do not hold, and tests of its own do."""


def session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def check(graph: Graph, samples: dict[str, np.ndarray]) -> None:
    """Each sample by itself, and all at once where the file says that it can; within 1e-5 of the largest number."""
    data = to_onnx(graph)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    assert to_onnx(graph) == data
    expected, runtime = execute(graph, samples), session(data)
    batched = runtime.get_inputs()[0].shape[0] == "batch"
    count = len(samples[graph.inputs[0]])
    single = [runtime.run(graph.outputs, {n: samples[n][i] for n in graph.inputs}) for i in range(count)]
    found = [np.stack([row[k] for row in single]) for k in range(len(graph.outputs))]
    if batched:
        whole = runtime.run(graph.outputs, {n: samples[n].reshape(count, *samples[n].shape[2:]) for n in graph.inputs})
        for one, all_ in zip(found, whole, strict=True):
            np.testing.assert_allclose(all_.reshape(one.shape), one, rtol=1e-4, atol=1e-4)
    for name, values in zip(graph.outputs, found, strict=True):
        assert values.shape == expected[name].shape, name
        if graph.types[name].dtype == "int64":
            continue  # an index of a maximum may fall to either of two that differ by rounding
        scale = max(1.0, float(np.abs(expected[name]).max()))
        assert float(np.abs(values - expected[name]).max()) <= 1e-5 * scale, name


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_example_nets(path: Path) -> None:
    graph = run_passes(import_onnx(path), PASSES)
    rng = np.random.default_rng(0)
    check(graph, {n: rng.normal(size=(3, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs})
    again = run_passes(import_model(onnx.load_from_string(to_onnx(graph)), None), PASSES)
    assert [s.op.kind for s in again.stages()] == [s.op.kind for s in graph.stages()], (
        "and freeml reads back what it wrote"
    )


def test_random_nets_hold_every_operator() -> None:
    """What no net here holds is not known to be written right."""
    seen = set(APART)

    @settings(max_examples=120, derandomize=True)
    @given(nets())
    def written(net: tuple[Graph, dict[str, np.ndarray]]) -> None:
        check(*net)
        seen.update(stage.op.kind for stage in net[0].stages())

    written()
    assert {kind.__name__ for kind in FORMS} - seen == set()


def test_a_batch_norm_that_was_not_folded() -> None:
    sketch = Sketch()
    shift = [sketch.constant(np.array(row, dtype=np.float32)) for row in ((1, 2), (3, -1), (0.5, 0), (0.25, 4))]
    sketch.add(BatchNorm(epsilon=1e-3), sketch.input(1, 2, 5, 4), *shift)
    check(sketch.graph(), sketch.samples())


def test_windows_that_count_oddly() -> None:
    """Average pools over borders, by the positions inside and by all, rounded up; wide and narrow."""
    for include in (False, True):
        for kernel, pads, ceil in (
            ((2, 2), ((1, 1), (0, 1)), True), ((2, 2), ((0, 0), (0, 0)), True), ((3, 2), ((2, 2), (1, 1)), False),
            ((3, 3), ((0, 1), (2, 2)), True),
        ):  # fmt: skip
            sketch = Sketch()
            pool = AveragePool(
                kernel=kernel, strides=(2, 2), dilations=(1, 1), pads=pads, ceil_mode=ceil, count_include_pad=include
            )
            sketch.add(pool, sketch.input(1, 2, 7, 5))
            check(sketch.graph(), sketch.samples())


def test_a_slice_that_runs_backwards() -> None:
    sketch = Sketch()
    x = sketch.input(1, 5, 4)
    sketch.add(Slice(starts=(0, 4, 3), steps=(1, -2, -1), sizes=(1, 3, 4)), x)
    check(sketch.graph(), sketch.samples())


def test_names_that_meet() -> None:
    """Values called as the writer would call its own."""
    sketch = Sketch()
    sketch.dense(sketch.conv(sketch.input(1, 2, 6), 3, (3,)), 4)
    graph = sketch.graph()
    kinds = {type(stage.op) for stage in graph.stages()}
    assert {Conv, Dense} <= kinds
    names = [name for node in onnx.load_from_string(to_onnx(graph)).graph.node for name in node.output]
    assert len(names) == len(set(names))
