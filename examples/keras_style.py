"""Rebuild the watch HAR net as a Keras exporter would write it: ``python -m examples.keras_style``.

The weights come from ``models/har.onnx``; the graph is what a channels-last Keras net with ``Conv1D``, inference-time
``BatchNormalization``, ``MaxPooling1D``, ``GlobalAveragePooling1D`` and ``Dense`` becomes in ONNX: 1-D layers run as
2-D ones on a height of 1, with a transposition before and after each of them, batch norm is a multiplication and an
addition along the last axis, biases are additions of their own. The logits are checked against the original's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from examples.data import DataError, FloatArray, watch_har, watch_har_channels_last

MODELS = Path(__file__).resolve().parent / "models"
_OPSET = 13
_TO_CHANNELS_FIRST, _TO_CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
_TOLERANCE = 1e-4  # of the logits, whose size is about 1: float32 summed in another order


class _Builder:
    """Appends nodes to a chain: each call reads the value that the one before it wrote."""

    def __init__(self, first: str) -> None:
        self.value = first
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self,
        op: str,
        name: str,
        *constants: npt.NDArray[np.float32] | npt.NDArray[np.int64],
        **attributes: int | str | list[int],
    ) -> None:
        """One node: its first input is the chain's value, the others are constants."""
        inputs = [self.value]
        for number, constant in enumerate(constants):
            inputs.append(f"{name}/const_{number}")
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(constant), inputs[-1]))
        self.value = f"{name}:0"
        self.nodes.append(helper.make_node(op, inputs, [self.value], name, None, None, None, **attributes))

    def channels_first(self, op: str, name: str, *constants: FloatArray, **attributes: int | str | list[int]) -> None:
        """A 1-D layer as a 2-D one: add a height of 1, turn ``NHWC`` to ``NCHW``, run, turn back, drop the height."""
        height = np.array([1], dtype=np.int64)
        self.add("Unsqueeze", f"{name}/ExpandDims", height)
        self.add("Transpose", f"{name}/transpose_in", perm=_TO_CHANNELS_FIRST)
        self.add(op, name, *constants, **attributes)
        self.add("Transpose", f"{name}/transpose_out", perm=_TO_CHANNELS_LAST)
        self.add("Squeeze", f"{name}/Squeeze", height)


def build(original: onnx.ModelProto) -> onnx.ModelProto:
    """The Keras-style twin of ``models/har.onnx``: input ``(batch, 100, 6)``, output ``(batch, 7)``."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in original.graph.initializer}
    epsilon = {
        node.input[1].removesuffix(".weight"): helper.get_node_attr_value(node, "epsilon")
        for node in original.graph.node
        if node.op_type == "BatchNormalization"
    }

    chain = _Builder("input")

    def batch_norm(layer: int, name: str) -> None:
        gamma, beta, mean, variance = (
            weights[f"{layer}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + epsilon[str(layer)])
        chain.add("Mul", f"{name}/batchnorm/mul_1", scale.astype(np.float32))
        chain.add("Add", f"{name}/batchnorm/add_1", (beta - mean * scale).astype(np.float32))

    batch_norm(0, "har/batch_normalization")
    for number, (conv, norm, pool) in enumerate(((1, 2, 4), (5, 6, 2), (9, 10, 0)), start=1):
        name = f"har/conv1d_{number}"
        kernel = weights[f"{conv}.weight"][:, :, None, :]  # (out, in, 5) -> (out, in, height 1, 5)
        window = {"kernel_shape": [1, 5], "strides": [1, 1]}
        chain.channels_first("Conv", f"{name}/Conv1D", kernel, auto_pad="SAME_UPPER", **window)
        chain.add("Add", f"{name}/BiasAdd", weights[f"{conv}.bias"])
        batch_norm(norm, f"har/batch_normalization_{number}")
        chain.add("Relu", f"har/re_lu_{number}/Relu")
        if pool:
            window = {"kernel_shape": [1, pool], "strides": [1, pool]}
            chain.channels_first("MaxPool", f"har/max_pooling1d_{number}/MaxPool", auto_pad="VALID", **window)
    chain.add("ReduceMean", "har/global_average_pooling1d/Mean", axes=[1], keepdims=0)
    chain.add("MatMul", "har/dense/MatMul", weights["15.weight"].T)
    chain.add("Add", "har/dense/BiasAdd", weights["15.bias"])
    chain.nodes[-1].output[0] = "logits"

    graph = helper.make_graph(
        chain.nodes,
        "har_keras",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 100, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])],
        chain.constants,
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=7, producer_name="examples.keras_style")
    onnx.checker.check_model(model, full_check=True)
    return model


def check(original: Path, twin: Path) -> float:
    """Run both nets over the whole HAR test split; the largest difference of a logit. Both must decide the same."""
    import onnxruntime as ort

    run, run_twin = (ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run for path in (original, twin))
    (logits,) = run(None, {"input": watch_har().x_test})
    (twin_logits,) = run_twin(None, {"input": watch_har_channels_last().x_test})
    worst = float(np.max(np.abs(logits - twin_logits)))
    if worst > _TOLERANCE or not np.array_equal(logits.argmax(1), twin_logits.argmax(1)):
        raise SystemExit(f"error: {twin.name} is not {original.name}: logits differ by up to {worst:.3g}")
    return worst


def main() -> int:
    """Write ``models/har_keras.onnx`` and check it."""
    original, twin = MODELS / "har.onnx", MODELS / "har_keras.onnx"
    twin.write_bytes(build(onnx.load(original)).SerializeToString(deterministic=True))
    try:
        worst = check(original, twin)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{twin.name}: {twin.stat().st_size} bytes, logits within {worst:.2g} of {original.name}'s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
