"""Small ONNX models for tests, and the comparison of what freeml imports with what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import Graph, execute

Shape = Sequence[int | str]


def node(op_type: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    """A node; input and output names are separated by spaces, "-" is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), **attributes)


def ints(*values: int) -> NDArray[np.int64]:
    """A vector of int64."""
    return np.array(values, dtype=np.int64)


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build(
    nodes: Iterable[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    constants: Mapping[str, NDArray[np.generic]] | None = None,
    *,
    opset: int = 17,
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with float inputs; the shapes of its outputs are left undeclared."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, output_type, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def compare(model: onnx.ModelProto, *, samples: int = 3, rtol: float = 1e-4, atol: float = 1e-5) -> Graph:
    """Import the model and hold the float path, in double precision, against onnxruntime. Returns the graph."""
    graph = import_model(model, None)
    rng = np.random.default_rng(7)
    data = {name: rng.normal(size=(samples, *graph.types[name].shape)).astype(np.float32) for name in graph.inputs}
    values = execute(graph, {name: array.astype(np.float64) for name, array in data.items()})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for sample in range(samples):
        unread = {v.name: np.zeros([1] * len(v.shape), np.float32) for v in session.get_inputs() if v.name not in data}
        feed = unread | {name: array[sample] for name, array in data.items()}
        for name, expected in zip(graph.outputs, session.run(list(graph.outputs), feed), strict=True):
            assert values[name][sample].shape == expected.shape, name
            np.testing.assert_allclose(values[name][sample], expected, rtol=rtol, atol=atol, err_msg=name)
    return graph


def kinds(graph: Graph) -> list[str]:
    """Operators of the graph in order."""
    return [stage.op.kind for stage in graph.stages()]
