"""ONNX models through onnxruntime: batches, errors that say what is wrong, and the distance from the reference."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from freeml.ir.graph import QGraph
from freeml.ir.types import Array, QType
from freeml.sim.onnx_run import OnnxRunError, differences, run_onnx
from freeml.sim.trace import Trace


def doubled(shape: tuple[int | str, ...], *, op: str = "Add", dtype: int = TensorProto.FLOAT) -> bytes:
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", dtype, shape)],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize("shape", [("n", 3), (1, 3)])
@pytest.mark.parametrize("given", [(5, 3), (5, 1, 3)])
def test_run_onnx_batches_or_not(shape: tuple[int | str, ...], given: tuple[int, ...]) -> None:
    x = np.arange(15, dtype=np.float64).reshape(given)
    found = run_onnx(doubled(shape), {"x": x}, batch=2)["y"]
    assert found.shape == (5, 1, 3)
    np.testing.assert_array_equal(found, 2 * x.reshape(5, 1, 3))


def test_run_onnx_reads_a_file_in_several_batches(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(doubled(("n", 2), dtype=TensorProto.DOUBLE))
    x = np.random.default_rng(0).normal(size=(300, 2))
    np.testing.assert_array_equal(run_onnx(path, {"x": x}, batch=128)["y"][:, 0], 2 * x)


def test_run_onnx_keeps_samples_apart() -> None:
    """Operators across the batch axis see one sample, as on a board."""
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(run_onnx(model.SerializeToString(), {"x": x})["y"], np.ones((5, 1, 3)))


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL])
def test_run_onnx_feeds_zeros_to_idle_inputs(dtype: int) -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "net",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3)),
            helper.make_tensor_value_info("idle", dtype, ("n", 2)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3))],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(run_onnx(model, {"x": x}, idle=("idle",))["y"][:, 0], -x)
    with pytest.raises(OnnxRunError, match="input idle: expected an array for it"):
        run_onnx(model, {"x": x})


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (b"no model", {}, "cannot load"),
        (Path("missing.onnx"), {}, "cannot load missing.onnx"),
        (doubled(("n", 3)), {"z": np.zeros((2, 3))}, "input x: expected an array for it, found z"),
        (doubled(("n", 3)), {"x": np.zeros((2, 4))}, r"expected samples of shape \[1, 3\], found \[4\]"),
        (doubled((2, 3)), {"x": np.zeros((2, 3))}, r"expected samples of shape \[2, 3\], found \[3\]"),
        (doubled(("n", 3)), {"x": np.zeros((0, 3))}, "at least one"),
        (doubled(("n", 3), dtype=TensorProto.INT64), {"x": np.zeros((2, 3))}, "expected a tensor of floats"),
        (doubled(("n", "n"), op="MatMul"), {"x": np.zeros((2, 3))}, "cannot run"),
        (doubled(("n", 1, 3, 3), op="Gather"), {"x": np.zeros((2, 1, 3, 3))}, "cannot load"),
    ],
)
def test_run_onnx_says_what_is_wrong(model: Path | bytes, inputs: dict[str, Array], message: str) -> None:
    with pytest.raises(OnnxRunError, match=message):
        run_onnx(model, inputs)


def test_run_onnx_refuses_a_batch_that_is_none() -> None:
    """An axis that is declared symbolic but does not follow the samples."""
    graph = helper.make_graph(
        [helper.make_node("Compress", ["x", "kept"], ["y"], axis=0)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("m", 3))],
        [numpy_helper.from_array(np.array([True, False]), "kept")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(OnnxRunError, match="output y: expected 2 samples"):
        run_onnx(model.SerializeToString(), {"x": np.zeros((2, 3))}, batch=2)


def test_run_onnx_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxRunError, match=r"pip install 'freeml\[verify\]'"):
        run_onnx(doubled(("n", 3)), {"x": np.zeros((2, 3))})


def test_differences_count_steps_and_places() -> None:
    types = {
        "y": QType(shape=(1, 3), dtype="int8", scale=0.5, zero_point=1),
        "i": QType(shape=(1,), dtype="int32", scale=1.0, zero_point=0),
    }
    qgraph = QGraph(name="g", inputs=("y", "i"), outputs=(), nodes=(), types=types, constants={})
    trace = Trace(values={"y": np.array([[[1, 3, 5]], [[9, 1, 1]]]), "i": np.array([[2], [3]])})
    found = {"y": np.array([[[0, 1, 2]], [[3.5, 5, 0]]]), "i": np.array([[2], [4]]), "other": np.zeros(2)}
    of_y, of_i = differences(qgraph, trace, found)
    assert (of_y.value, of_y.largest_steps, of_y.agreement) == ("y", 10.0, 0.5)
    assert of_y.mean_steps == pytest.approx(11 / 6)
    assert (of_i.value, of_i.largest_steps, of_i.agreement) == ("i", 1.0, 0.5)
