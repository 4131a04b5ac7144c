"""Names of layers and constants that would meet in C: the firmware builds, and the C equals the reference."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from freeml.options import Options
from freeml.pipeline import compile_model


def net(path, first, second, fused, other):
    """Two branches: a dense layer called `first` with a fused `fused`, and the operator `other` called `second`."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(8, 4)), "s1": np.abs(rng.normal(size=4)), "s2": np.abs(rng.normal(size=8))}

    def branch(op, source, slope, target, name):
        inputs = [source, slope] if op == "PRelu" else ["x", "w"] if op == "Gemm" else [source]
        return helper.make_node(op, inputs, [target], name=name)

    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], name=first),
        branch(fused, "a", "s1", "b", "act"),
        branch(other, "x", "s2", "c", second),
    ]
    width = 4 if other == "Gemm" else 8
    graph = helper.make_graph(
        nodes, "names",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, e]) for n, e in (("b", 4), ("c", width))],
        [numpy_helper.from_array(a.astype(np.float32), k) for k, a in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


CASES = {
    "a type of the runtime": ("fn", "step", "Sigmoid", "Tanh"),
    "a table and a fused table": ("conv", "conv_sigmoid", "Sigmoid", "Sigmoid"),
    "a table of a layer, the layer's number": ("conv", "conv_table", "Sigmoid", "Tanh"),
    "multipliers of a fused operator": ("fc", "fc_prelu", "PRelu", "PRelu"),
    "a function and a constant": ("layer_a", "a_weights", "Sigmoid", "Gemm"),
    "a function and a fused constant": ("layer_a", "a_sigmoid_table", "Sigmoid", "Gemm"),
    "a number that another has": ("a", "a_2", "Sigmoid", "Gemm"),
}


@pytest.mark.parametrize("case", CASES)
def test_names_that_meet(tmp_path, case):
    artifact = compile_model(net(tmp_path / "net.onnx", *CASES[case]), options=Options(target="msp430"))
    x = np.random.default_rng(1).normal(size=(20, 1, 8)).astype(np.float32)
    reference, host = artifact.reference(x, intermediates=True), artifact.host(x, intermediates=True)
    for name, values in host.integers.items():
        np.testing.assert_array_equal(values, reference.integers[name])
