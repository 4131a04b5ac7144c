"""QDQ files of integer operators made by hand: forms that no calibrated net takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import normal
from qdq_checks import Compiled, exported, largest_steps, on_grid, output_steps, round_trip, shapes

from freeml.errors import FreemlError
from freeml.fixedpoint.rounding import INT32_MAX, make_requant
from freeml.frontend.qdq import to_qdq
from freeml.frontend.qdq_copies import border, is_spaced, repeats
from freeml.ir.graph import QGraph, QOp, single
from freeml.ir.types import Array, QDType, QType
from freeml.ops.averagepool import QAveragePool
from freeml.ops.base import LoweredOp
from freeml.ops.copying import AxisMap, QCopy
from freeml.ops.dense import QDense
from freeml.ops.lut import QTable
from freeml.ops.maxpool import QMaxPool
from freeml.ops.prelu import QPRelu
from freeml.ops.windows import Window
from freeml.quant.quantize import dequantize


def qtype(*shape: int, dtype: QDType = "int8", scale: float = 0.0625, zero_point: int = -7) -> QType:
    return QType(shape=shape, dtype=dtype, scale=scale, zero_point=zero_point)


def by_hand(op: QOp, x: QType, y: QType, constants: Mapping[str, tuple[Array, QType]] | None = None) -> Compiled:
    """One operator over every integer of its input's type."""
    held = constants or {}
    qgraph = QGraph(
        name="one",
        inputs=("x",),
        outputs=("y",),
        nodes=(single("op", op, ("x", *held), ("y",)),),
        types={"x": x, "y": y, **{name: type_ for name, (_, type_) in held.items()}},
        constants={name: array for name, (array, _) in held.items()},
    )
    rng = np.random.default_rng(8)
    integers = rng.integers(x.qmin, x.qmax, size=(300, *x.shape), endpoint=True)
    return on_grid(qgraph, {"x": dequantize(integers, x)})


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_table_of_no_known_function_is_looked_up(dtype: QDType) -> None:
    x, y = qtype(1, 5, dtype=dtype), qtype(1, 5, scale=0.3, zero_point=4)
    values = tuple(np.random.default_rng(2).integers(-128, 127, size=200, endpoint=True).tolist())
    net = by_hand(QTable(low=-90, values=values), x, y)
    model = exported(net.qgraph)
    assert "Gather" in {n.op_type for n in model.graph.node}
    assert largest_steps(net, model) < 1e-3


def test_a_bias_beyond_32_bits_is_a_float() -> None:
    """Only the folded bias has to fit; what it was before may not."""
    x, y = qtype(1, 100, zero_point=127), qtype(1, 2, scale=300.0, zero_point=0)
    requant = make_requant(
        np.array([1e-8, 1e-8]), accumulator_bound=INT32_MAX + 2**21, zero_point=0, low=-128, high=127, wide=True
    )
    assert requant is not None
    bias = np.array([INT32_MAX, -5], dtype=np.int64)
    constants = {
        "w": (np.full((2, 100), 127, dtype=np.int64), qtype(2, 100, zero_point=0)),
        "b": (bias, qtype(2, dtype="int32", scale=1.0, zero_point=0)),
    }
    net = by_hand(QDense(requant=requant, wide=True), x, y, constants)
    model = exported(net.qgraph)
    gemm = next(n for n in model.graph.node if n.op_type == "Gemm")
    assert gemm.input[2] in {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    assert largest_steps(net, model) <= 1.001


def test_a_copy_may_do_everything_at_once() -> None:
    """Axes in another order, taken backwards, repeated, reflected, gathered, filled; numbers in another format."""
    maps = (
        AxisMap(source=0, indices=(0,)),
        AxisMap(source=2, indices=(3, 2, 1, 0)),
        AxisMap(source=1, indices=(0, 0, 1, 1, 2, 2)),
        AxisMap(source=4, indices=(2, 1, 0, 1, 2, 3, 2)),
        AxisMap(source=3, indices=(-1, 0, 2, 2, 4, 1, -1, -1)),
    )
    x = qtype(1, 3, 4, 5, 4)
    net = by_hand(QCopy(maps=maps, fill=9), x, replace(x, shape=(1, 4, 6, 7, 8)))
    model = exported(net.qgraph)
    kinds = [n.op_type for n in model.graph.node if n.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    assert kinds == ["Transpose", "Slice", "Resize", "Pad", "Gather", "Pad"]
    assert largest_steps(net, model) < 1e-3
    assert output_steps(net, round_trip(net, model, "int8")) == 0


def test_a_copy_may_replace_the_batch() -> None:
    """Then the file has a batch of 1, though every first axis has extent 1."""
    maps = tuple(AxisMap(source=source, indices=(0,)) for source in (1, 0))
    x = qtype(1, 1)
    model = exported(by_hand(QCopy(maps=maps), x, x).qgraph)
    assert shapes(model) == {"x": [1, 1], "y": [1, 1]}


def test_a_window_with_nothing_in_it() -> None:
    """Dilated windows can reach around the whole input: the maximum is then the lowest number, the average zero."""
    window = Window(kernel=(2,), strides=(1,), dilations=(3,), pads=((3, 3),))
    x = qtype(1, 2, 2, scale=0.5, zero_point=3)
    pooled = by_hand(QMaxPool(window=window, lowest=-128), x, replace(x, shape=(1, 2, 5)))
    assert (pooled.reference.values["y"] == -128).any()
    assert largest_steps(pooled, exported(pooled.qgraph)) < 1e-3
    requant = make_requant(np.array([1.0, 0.5]), accumulator_bound=600, zero_point=3, low=-128, high=127)
    assert requant is not None
    average = QAveragePool(window=window, include_pad=False, input_zero=3, requant=requant)
    pooled = by_hand(average, x, replace(x, shape=(1, 2, 5)))
    assert (pooled.reference.values["y"][..., 2] == 3).all()
    assert largest_steps(pooled, exported(pooled.qgraph)) <= 1.001


def test_a_channel_whose_factor_vanished() -> None:
    """Its output is constant on the board, and nearly so in the file, whose scales must be above zero."""
    requant = make_requant(np.array([0.01, 1e-15]), accumulator_bound=10**6, zero_point=-7, low=-128, high=127)
    assert requant is not None and requant.multipliers[1] == 0
    constants = {
        "w": (normal(2, 6).round().astype(np.int64) * 30, qtype(2, 6, zero_point=0)),
        "b": (np.array([5, 7]), qtype(2, dtype="int32", scale=1.0, zero_point=0)),
    }
    net = by_hand(QDense(requant=requant, wide=False), qtype(1, 6), qtype(1, 2), constants)
    assert largest_steps(net, exported(net.qgraph)) <= 1.001


def test_prelu_of_other_axes() -> None:
    """Slopes along an axis other than 1 broadcast too."""
    x = qtype(1, 3, 4)
    positive = make_requant(np.array([1.0]), accumulator_bound=256, zero_point=-7, low=-128, high=127)
    negative = make_requant(np.array([0.1, 0.2, 0.3, 0.4]), accumulator_bound=256, zero_point=-7, low=-128, high=127)
    assert positive is not None and negative is not None
    net = by_hand(QPRelu(zero_point=-7, positive=positive, negative=negative, channel_axis=2), x, x)
    assert largest_steps(net, exported(net.qgraph)) <= 1.001


class Unknown(LoweredOp):
    """An operator that ONNX has no word for."""

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return inputs

    lower = None  # type: ignore[assignment]


def test_an_operator_without_a_form_is_named() -> None:
    x = qtype(1, 3)
    qgraph = QGraph(
        name="one", inputs=("x",), outputs=("y",), types={"x": x, "y": x}, constants={},
        nodes=(single("strange", Unknown(), ("x",), ("y",)),),
    )  # fmt: skip
    with pytest.raises(FreemlError, match=r"strange.*Unknown"):
        to_qdq(qgraph)


def test_index_tables() -> None:
    assert is_spaced((3, 2, 1)) and is_spaced((4,)) and not is_spaced((1, 1)) and not is_spaced((0, 1, 3))
    assert repeats((0, 0, 1, 1), 2) == 2 and repeats((0, 1, 1), 2) == 0 and repeats((0,), 2) == 0
    assert border((0, 0, 1, 2), 3, "edge") == (1, 0) and border((2, 0, 1, 2), 3, "wrap") == (1, 0)
    assert border((2, 1, 0, 1, 2, 1), 3, "reflect") == (2, 1) and border((1, 2, 0), 3, "edge") is None
