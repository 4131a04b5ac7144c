"""Nets as exporters write them: both exporters of torch, every opset, and a Keras graph in NHWC."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import version_converter
from onnx_models import build, compare, ints, kinds, node, normal

from freeml.frontend.onnx_reader import import_model, import_onnx

nn = torch.nn

NEWEST = onnx.defs.onnx_opset_version()
# What onnxruntime executes; newer opsets are imported and compared with the oldest instead.
RUNS = 22


class Residual(nn.Module):  # type: ignore[misc, name-defined]
    """A small image net with everything that exporters like to decorate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.act = nn.Hardswish()
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.adaptive = nn.AdaptiveAvgPool2d((2, 2))
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(32, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = x + self.act(self.pointwise(torch.relu(self.norm(self.depthwise(x)))))
        x = self.pool(x)
        x = self.adaptive(x)
        x = x.view(x.size(0), -1)
        x = nn.functional.leaky_relu(self.hidden(self.drop(x)), 0.1)
        return torch.softmax(self.head(x), dim=1)


class Series(nn.Module):  # type: ignore[misc, name-defined]
    """A net over a time series: 1-D convolutions, statistics over time, slices, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(6, 8, 5, padding=2)
        self.second = nn.Conv1d(8, 8, 3, dilation=2)
        self.slope = nn.PReLU(8)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        x = nn.functional.pad(x, (1, 2))
        x = self.slope(self.first(x))
        x = torch.cat([torch.sigmoid(self.second(x)), torch.tanh(x[:, :, 2:-2])], dim=1)
        halves = torch.chunk(nn.functional.avg_pool1d(x, 3, 2), 2, dim=1)
        x = halves[0] - 0.5 * halves[1]
        features = torch.cat(
            [x.mean(dim=2), x[:, :, -1], torch.flatten(nn.functional.adaptive_max_pool1d(x, 1), 1)], dim=1
        )
        return self.out(features), features.unsqueeze(1).transpose(1, 2)


def randomized(module: Any) -> Any:
    """The module in evaluation mode with batch norms that are not the identity."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.normal_(part.bias)
    return module.eval()


def export(
    module: Any, example: Any, path: Path, *, dynamo: bool, opset: int | None = None, batch: bool = True
) -> Path:
    """Export with one of torch's two exporters."""
    shapes: dict[str, Any] = {}
    if batch and dynamo:
        shapes = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    elif batch:
        shapes = {"dynamic_axes": {"x": {0: "batch"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            randomized(module), (example,), str(path), dynamo=dynamo, opset_version=opset, input_names=["x"],
            verbose=False, **shapes,
        )  # fmt: skip
    return path


NETS = {"residual": (Residual, (2, 3, 16, 24)), "series": (Series, (2, 6, 33))}


@pytest.mark.parametrize(
    ("net", "batch", "dynamo"),
    [
        pytest.param("residual", False, False, id="residual-fixed-torchscript"),
        pytest.param("residual", True, False, id="residual-dynamic-torchscript"),
        pytest.param("residual", True, True, id="residual-dynamic-dynamo"),
        pytest.param("series", False, False, id="series-fixed-torchscript"),
        pytest.param("series", True, False, id="series-dynamic-torchscript"),
        pytest.param("series", False, True, id="series-fixed-dynamo"),
    ],
)
def test_torch_export(net: str, batch: bool, dynamo: bool, tmp_path: Path) -> None:
    """Imported from the file (external data and all), compared with onnxruntime and with torch itself."""
    make, shape = NETS[net]
    torch.manual_seed(1)
    module = make()
    example = torch.randn(shape if batch else (1, *shape[1:]))
    path = export(module, example, tmp_path / "net.onnx", dynamo=dynamo, batch=batch)
    graph = import_onnx(path)
    compare(onnx.load(path))
    x = torch.randn((4, 1, *shape[1:]))
    from freeml.ir.graph import execute

    values = execute(graph, {graph.inputs[0]: x.numpy().astype(np.float64)})
    with torch.no_grad():
        expected = module(x[:, 0])
    for name, array in zip(graph.outputs, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(values[name][:, 0], array.numpy(), rtol=1e-4, atol=1e-5)
    assert not {"Identity", "Shape", "Gather"} & set(kinds(graph))


def test_shape_arithmetic_of_a_dynamic_batch_folds_away(tmp_path: Path) -> None:
    path = export(Residual(), torch.randn(2, 3, 16, 24), tmp_path / "net.onnx", dynamo=False)
    assert "Shape" in {n.op_type for n in onnx.load(path).graph.node}
    assert [kind for kind in kinds(import_onnx(path)) if kind == "Reshape"] == ["Reshape"]


@pytest.mark.parametrize("opset", range(11, 21))
def test_torchscript_opsets(opset: int, tmp_path: Path) -> None:
    path = export(Residual(), torch.randn(2, 3, 16, 24), tmp_path / "net.onnx", dynamo=False, opset=opset)
    assert onnx.load(path).opset_import[0].version == opset
    compare(onnx.load(path))


def small_net(opset: int) -> onnx.ModelProto:
    """A net of operators that changed their form over the years."""
    nodes = [
        node("Pad", "x p", "padded"),
        node("Conv", "padded w", "c"),
        node("Clip", "c low", "r"),
        node("MaxPool", "r", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Split", "m", "left right", axis=1),
        node("Concat", "right left", "cat", axis=1),
        node("ReduceMean", "cat", "mean", axes=[2], keepdims=0),
        node("Unsqueeze", "mean", "u", axes=[1]),
        node("Squeeze", "u", "s", axes=[1]),
        node("Slice", "s from to over", "part"),
        node("Reshape", "part flat", "f"),
        node("Dropout", "f", "d"),
        node("Gemm", "d g b", "h", transB=1),
        node("Softmax", "h", "y", axis=1),
    ]
    constants = {
        "p": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": normal(4, 2, 3, 3), "low": np.float32(0), "from": ints(0),
        "to": ints(3), "over": ints(2), "flat": ints(0, -1), "g": normal(5, 12), "b": normal(5, seed=1),
    }  # fmt: skip
    return build(nodes, {"x": (1, 2, 8, 8)}, ["y"], constants, opset=opset)


def converted() -> Iterator[tuple[int, onnx.ModelProto]]:
    """The small net in every opset from 11 on that onnx itself can convert it to."""
    model = onnx.shape_inference.infer_shapes(small_net(11))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 5]))
    for opset in range(11, NEWEST + 1):
        yield opset, version_converter.convert_version(model, opset)


def test_every_opset_gives_the_same_graph() -> None:
    oldest = import_model(small_net(11), None)
    compare(small_net(11))
    for opset, model in converted():
        assert model.opset_import[0].version == opset
        graph = import_model(model, None)
        assert [stage.op for stage in graph.stages()] == [stage.op for stage in oldest.stages()], opset
        for found, expected in zip(graph.constants.values(), oldest.constants.values(), strict=True):
            np.testing.assert_array_equal(found, expected)
        if opset <= RUNS:
            compare(model)


def test_keras_graph() -> None:
    """NHWC at the borders, transposes around the layers, bias as Add, flattened in NHWC order: as tf2onnx writes it."""
    nodes = [
        node("Transpose", "image", "nchw", perm=[0, 3, 1, 2], name="conv/transpose"),
        node(
            "Conv", "nchw w1 b1", "c1", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", name="conv/Conv2D"
        ),
        node("Relu", "c1", "r1"),
        node("Transpose", "r1", "h1", perm=[0, 2, 3, 1]),
        node("Transpose", "h1", "h2", perm=[0, 3, 1, 2]),
        node("Conv", "h2 w2", "c2", kernel_shape=[3, 3], group=8, pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Add", "c2 bias", "a2"),
        node("Transpose", "a2", "h3", perm=[0, 2, 3, 1]),
        node("Mul", "h3 scale", "s3"),
        node("Min", "s3 six", "m3"),
        node("Max", "m3 zero", "r3"),
        node("ReduceMean", "r3", "gap", axes=[1, 2], keepdims=0),
        node("Transpose", "r3", "n3", perm=[0, 3, 1, 2]),
        node("MaxPool", "n3", "p3", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "p3", "h4", perm=[0, 2, 3, 1]),
        node("Shape", "h4", "shape"),
        node("Cast", "shape", "shape32", to=onnx.TensorProto.INT32),
        node("Slice", "shape32 begin end axes", "batch"),
        node("Concat", "batch rest", "target32", axis=0),
        node("Cast", "target32", "target", to=onnx.TensorProto.INT64),
        node("Reshape", "h4 target", "flat"),
        node("MatMul", "flat dense", "d"),
        node("Add", "d dense_bias", "logits"),
        node("Softmax", "logits", "probabilities", axis=-1),
    ]
    constants = {
        "w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(8, 1, 3, 3, seed=1), "bias": normal(1, 8, 1, 1, seed=2),
        "scale": normal(8, seed=3), "six": np.float32(6), "zero": np.float32(0), "begin": ints(0), "end": ints(1),
        "axes": ints(0), "rest": np.int32([-1]), "dense": normal(32, 5, seed=4), "dense_bias": normal(5, seed=5),
    }  # fmt: skip
    model = build(nodes, {"image": ("unk__5", 16, 16, 3)}, ["probabilities", "gap"], constants, opset=13)
    graph = compare(model)
    assert kinds(graph).count("Transpose") == 6
    assert graph.types["image"].shape == (1, 16, 16, 3)
    assert graph.nodes[0].source == "conv/transpose"


def test_a_model_in_memory_equals_the_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    onnx.save(small_net(11), buffer)
    path = tmp_path / "net.onnx"
    path.write_bytes(buffer.getvalue())
    first, second = import_onnx(path), import_model(onnx.load(path), None)
    assert first.nodes == second.nodes
    assert dict(first.types) == dict(second.types)
