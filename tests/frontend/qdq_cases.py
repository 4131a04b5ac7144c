"""One net for every operator, and for every form that an operator takes in a QDQ file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx_models import build, ints, node, normal

from freeml.frontend.onnx_reader import import_model
from freeml.ir.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Case:
    """A net, the operators its file ends with (`narrow`: with 8 bits), and whether its batch stays symbolic."""

    nodes: list[onnx.NodeProto]
    inputs: dict[str, tuple[int | str, ...]]
    constants: dict[str, NDArray[Any]]
    shown: str
    narrow: str
    batched: bool = True

    def graph(self) -> Graph:
        return import_model(build(self.nodes, self.inputs, ["y"], self.constants, opset=21), None)


def case(
    *nodes: onnx.NodeProto, x: tuple[int | str, ...] = ("N", 4, 9, 8), shown: str, narrow: str = "",
    batched: bool = True, more: dict[str, tuple[int | str, ...]] | None = None, **constants: NDArray[Any],
) -> Case:  # fmt: skip
    inputs = {"x": x} | (more or {})
    return Case(
        nodes=list(nodes), inputs=inputs, constants=constants, shown=shown, narrow=narrow or shown, batched=batched
    )


CASES = {
    "conv 1-D": case(
        node("Conv", "x w b", "y", pads=[2, 1], strides=[2], dilations=[2]),
        x=("N", 3, 20), w=normal(4, 3, 3), b=normal(4, seed=1), shown="Conv",
    ),
    "conv 2-D without bias": case(node("Conv", "x w", "y", pads=[0, 1, 2, 0]), w=normal(5, 4, 3, 2), shown="Conv"),
    "conv grouped": case(node("Conv", "x w", "y", group=2), w=normal(6, 2, 3, 3), shown="Conv"),
    "conv depthwise": case(node("Conv", "x w b", "y", group=4), w=normal(4, 1, 3, 3), b=normal(4), shown="Conv"),
    "conv depthwise twofold": case(node("Conv", "x w", "y", group=4), w=normal(8, 1, 3, 3), shown="Conv"),
    "conv and clip": case(
        node("Conv", "x w", "c"), node("Clip", "c low high", "y"),
        w=normal(5, 4, 3, 3), low=np.float32(-0.5), high=np.float32(1.5), shown="Conv Clip",
        narrow="Conv",  # the range is all that 8 bits hold
    ),
    "batch norm of a vector": case(
        node("BatchNormalization", "x s b m v", "y"),
        x=("N", 5), s=normal(5), b=normal(5, seed=1), m=normal(5, seed=2), v=np.abs(normal(5, seed=3)),
        shown="Unsqueeze Conv Squeeze",
    ),
    "gemm": case(node("Gemm", "x w b", "y"), x=("N", 30), w=normal(30, 7), b=normal(7), shown="Gemm"),
    "matmul of rank 3": case(node("MatMul", "x w", "y"), x=("N", 5, 6), w=normal(6, 7), shown="Reshape Gemm Reshape"),
    "matmul of rank 1": case(
        node("MatMul", "x w", "y"), x=(1,), w=normal(1, 1), shown="Reshape Gemm Reshape", batched=False
    ),
    "max pool": case(
        node("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1], ceil_mode=1), shown="MaxPool"
    ),
    "max pool dilated": case(
        node("MaxPool", "x", "y", kernel_shape=[2, 2], dilations=[3, 2], pads=[2, 1, 2, 2]), shown="Pad MaxPool"
    ),
    "global max pool": case(node("GlobalMaxPool", "x", "y"), x=("N", 3, 17), shown="MaxPool"),
    "average pool": case(
        node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), shown="AveragePool"
    ),
    "average pool counting its pads": case(
        node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), shown="AveragePool"
    ),
    "average pool past the end": case(
        node("AveragePool", "x", "y", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1), shown="AveragePool"
    ),
    "average pool past its counted pads": case(
        node("AveragePool", "x", "y", kernel_shape=[3, 3], strides=[2, 3], pads=[1, 1, 0, 1], ceil_mode=1,
             count_include_pad=1), shown="AveragePool Mul",
    ),
    "average pool dilated": case(
        node("AveragePool", "x", "y", kernel_shape=[2, 2], dilations=[3, 3], pads=[2, 2, 2, 2]),
        shown="Pad AveragePool Mul",
    ),
    "average pool and clip": case(
        node("AveragePool", "x", "a", kernel_shape=[2, 2]), node("Clip", "a low high", "y"),
        low=np.float32(-0.2), high=np.float32(0.1), shown="AveragePool Clip", narrow="AveragePool",
    ),
    "global average pool": case(node("GlobalAveragePool", "x", "y"), shown="AveragePool"),
    "add": case(node("Relu", "x", "r"), node("Add", "x r", "y"), shown="Add"),
    "add of a constant": case(node("Add", "x c", "y"), c=normal(8), shown="Add"),
    "sub": case(node("Sub", "x z", "y"), more={"z": ("N", 1, 9, 8)}, shown="Sub"),
    "sub from a constant": case(node("Sub", "c x", "y"), c=normal(9, 8), shown="Sub"),
    "mul": case(node("Tanh", "x", "t"), node("Mul", "x t", "y"), shown="Tanh Mul"),
    "add over the batch": case(
        node("Add", "x z", "y"), x=(1, 4, 3), more={"z": (1, 3)}, shown="Add", batched=False
    ),
    "clip": case(node("Clip", "x low high", "y"), low=np.float32(-1), high=np.float32(1), shown="Clip"),
    "relu": case(node("Relu", "x", "y"), shown="Relu"),
    "relu with a ceiling": case(node("Clip", "x low high", "y"), low=np.float32(0), high=np.float32(1), shown="Clip"),
    "leaky relu": case(node("LeakyRelu", "x", "y", alpha=0.1), shown="LeakyRelu"),
    "prelu": case(node("PRelu", "x s", "y"), s=normal(4, 1, 1), shown="PRelu"),
    "prelu of slope 0": case(node("PRelu", "x s", "y"), s=np.zeros((1,), dtype=np.float32), shown="LeakyRelu"),
    "sigmoid": case(node("Sigmoid", "x", "y"), shown="Sigmoid"),
    "tanh": case(node("Tanh", "x", "y"), shown="Tanh"),
    "hard swish": case(node("HardSwish", "x", "y"), shown="HardSwish"),
    "hard sigmoid": case(node("HardSigmoid", "x", "y"), shown="HardSigmoid"),
    "hard sigmoid of torch": case(node("HardSigmoid", "x", "y", alpha=1 / 6), shown="HardSigmoid"),
    "hard sigmoid, its own slope": case(node("HardSigmoid", "x", "y", alpha=0.37, beta=0.4), shown="HardSigmoid"),
    "reshape": case(node("Reshape", "x s", "y"), s=ints(-1, 12, 24), shown="Reshape"),
    "reshape of the batch": case(
        node("Reshape", "x s", "y"), x=(1, 4, 6), s=ints(4, 6), shown="Reshape", batched=False
    ),
    "transpose": case(node("Transpose", "x", "y", perm=[0, 2, 3, 1]), shown="Transpose"),
    "transpose of the batch": case(
        node("Transpose", "x", "y", perm=[1, 0, 2]), x=(1, 1, 5), shown="Transpose", batched=False
    ),
    "slice": case(
        node("Slice", "x a b c d", "y"), a=ints(1, -1), b=ints(9, -100), c=ints(2, 3), d=ints(3, -2), shown="Slice"
    ),
    "pad": case(
        node("Pad", "x p v", "y"), p=ints(0, 1, 0, 2, 0, 0, 3, 0), v=np.float32(0.7), shown="Pad"
    ),
    "pad edge": case(node("Pad", "x p", "y", mode="edge"), p=ints(0, 0, 2, 1, 0, 0, 3, 0), shown="Pad"),
    "pad reflect": case(node("Pad", "x p", "y", mode="reflect"), p=ints(0, 0, 2, 1, 0, 0, 3, 0), shown="Pad"),
    "pad wrap": case(node("Pad", "x p", "y", mode="wrap"), p=ints(0, 0, 2, 1, 0, 0, 3, 0), shown="Pad"),
    "resize by whole factors": case(
        node("Resize", "x - s", "y", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        s=np.array([1, 1, 2, 3], dtype=np.float32), shown="Resize",
    ),
    "resize by others": case(
        node("Resize", "x - s", "y", mode="nearest"),
        s=np.array([1, 1, 1.5, 0.6], dtype=np.float32), shown="Gather Gather",
    ),
    "concat": case(node("Relu", "x", "r"), node("Concat", "x r x", "y", axis=1), shown="Concat"),
    "concat with a constant": case(
        node("Concat", "x c", "y", axis=2), x=(1, 3, 5), c=normal(1, 3, 2), shown="Concat", batched=False
    ),
    "reduce mean": case(node("ReduceMean", "x a", "y", keepdims=0), a=ints(1, 3), shown="ReduceMean Reshape"),
    "reduce mean over the batch": case(
        node("ReduceMean", "x a", "y"), x=(1, 3, 5), a=ints(0, 1), shown="ReduceMean", batched=False
    ),
    "softmax": case(node("Softmax", "x", "y", axis=1), shown="Softmax"),
    "softmax over the batch": case(
        node("Softmax", "x", "y", axis=0), x=(1, 3), shown="Softmax", batched=False
    ),
    "log softmax": case(node("LogSoftmax", "x", "y"), shown="LogSoftmax"),
    "argmax": case(node("ArgMax", "x", "y", axis=1), shown="ArgMax"),
    "argmax, last, reshaped": case(
        node("ArgMax", "x", "a", axis=2, keepdims=0, select_last_index=1), node("Reshape", "a s", "y"),
        s=ints(-1, 32), shown="ArgMax Reshape",
    ),
}  # fmt: skip
