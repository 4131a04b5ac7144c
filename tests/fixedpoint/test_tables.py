"""Functions by table: Python against C for every argument, and both against the real function."""

from __future__ import annotations

import numpy as np
import pytest

from freeml.ir.types import QType
from freeml.ops.base import Quantizing
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish, QHardSwish
from freeml.ops.logsoftmax import LOG_BITS, LOG_KNOTS, LOG_SHIFT, log2_fixed
from freeml.ops.lut import MAX_KNOTS, QInterpolated, QTable, tabulate
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.softmax import EXP_BITS, MAX_LENGTH, Softmax, exponential
from freeml.ops.tanh import Tanh

INT16 = np.arange(-32768, 32768)
SCALES = (1e-6, 3e-5, 2.0**-12, 7e-4, 0.013, 1.0)


def int16_type(scale, shape=(1,), zero_point=0):
    return QType(shape=shape, dtype="int16", scale=scale, zero_point=zero_point)


def int8_type(scale, shape=(1,), zero_point=0):
    return QType(shape=shape, dtype="int8", scale=scale, zero_point=zero_point)


def quantized(op, x, y=None):
    y = y or op.output_format((x,), x.shape, x.dtype)
    return op.quantize(Quantizing(node="n", inputs=(x,), outputs=(y,), constants=(None,), brought=(None,))).op, y


# --- interpolation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("out", ["int8", "int16"])
@pytest.mark.parametrize("function", [Sigmoid(), Tanh()])
def test_interpolation_python_is_c_and_near_the_function(probe, function, out, scale):
    x = int16_type(scale, zero_point=0 if out == "int16" else -77)
    y = function.output_format((x,), x.shape, out)
    op, _ = quantized(function, x, y)
    results = op.run((INT16,))[0]
    ideal = np.clip(function.function((INT16 - x.zero_point) * scale) / y.scale + y.zero_point, y.qmin, y.qmax)
    # int16: at most 1 unit off the correctly rounded value; int8 has 8 more bits inside, so only near ties can differ
    assert np.abs(results - ideal).max() <= (1.5 if out == "int16" else 0.5 + 1.5 / 256)
    if isinstance(op, QTable):
        assert np.abs(results - ideal).max() <= 0.5
        return
    assert len(op.knots) <= MAX_KNOTS
    positions = np.clip(INT16, op.low, op.high) - op.low
    assert (positions.max() >> op.shift) + 1 < len(op.knots), "the last position reads beyond the last knot"
    found = probe("interpolate_s32", positions, op.shift, op.shift + op.fraction, table=op.knots)
    assert np.array_equal(np.clip(found, y.qmin, y.qmax), results)
    if max(map(abs, op.knots)) < 2**15:
        narrow = probe("interpolate_s16", positions, op.shift, op.shift + op.fraction, table=op.knots)
        assert np.array_equal(narrow, found)


def test_tables_are_as_small_as_the_function_allows():
    """Nearly straight over the input's range: a few knots. Steep: an exact table of the range that matters."""
    straight, _ = quantized(Sigmoid(), int16_type(1e-6))
    steep, _ = quantized(Sigmoid(), int16_type(1.0))
    assert isinstance(straight, QInterpolated) and len(straight.knots) <= 5
    assert isinstance(steep, QTable) and len(steep.values) <= 24


def test_constant_function_needs_one_number():
    x = int16_type(1.0)
    op = tabulate(np.full(65536, 5.0), x, x)
    assert (op.run((INT16,))[0] == 5).all()
    assert isinstance(op, QTable) and len(op.values) == 1


@pytest.mark.parametrize("function", [Sigmoid(), Tanh(), HardSigmoid(), HardSwish()])
@pytest.mark.parametrize("out", ["int8", "int16"])
def test_int8_tables_are_exact(function, out):
    x = int8_type(0.05, zero_point=13)
    free = QType(shape=(1,), dtype=out, scale=0.02, zero_point=-7)
    y = function.output_format((x,), x.shape, out) or free
    op, _ = quantized(function, x, y)
    q = np.arange(-128, 128)
    ideal = np.clip(function.function((q - 13) * 0.05) / y.scale + y.zero_point, y.qmin, y.qmax)
    assert isinstance(op, QTable) and np.abs(op.run((q,))[0] - ideal).max() <= 0.5


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.2, 0.5), (-0.7, 0.1), (1 / 6, 0.5), (1e-9, 0.3), (0.0, 0.7), (5.0, -40.0)]
)
def test_hard_sigmoid_turns_its_corners_exactly(alpha, beta, scale):
    x = int16_type(scale)
    op, y = quantized(HardSigmoid(alpha=alpha, beta=beta), x)
    ideal = np.clip(np.clip(alpha * INT16 * scale + beta, 0, 1) / y.scale, y.qmin, y.qmax)
    assert np.abs(op.run((INT16,))[0] - ideal).max() <= 0.51


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("zero_point", [0, -5000])
def test_hard_swish_is_within_half_a_unit_of_input_and_output(scale, zero_point):
    x = int16_type(scale, zero_point=zero_point)
    real = (INT16 - zero_point) * scale
    want = HardSwish().function(real)
    y = int16_type(float(np.abs(want).max()) / 32767)
    op, _ = quantized(HardSwish(), x, y)
    assert isinstance(op, QHardSwish)
    gate_bits = 15 if zero_point == 0 else 14
    gate_error = 0.51 * 2.0**-gate_bits * np.abs(INT16 - zero_point) * scale / y.scale
    assert (np.abs(op.run((INT16,))[0] - np.clip(want / y.scale, -32768, 32767)) <= 0.51 + gate_error).all()


# --- softmax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("make", [int8_type, int16_type])
def test_exponential_python_is_c_and_near_exp(probe, make, scale):
    x = make(scale, shape=(1, 4))
    table = exponential("n", x, 1)
    distance = np.arange(x.qmax - x.qmin + 1)
    results = table.apply(distance)
    assert results[0] == 2**EXP_BITS
    assert (np.diff(results) <= 0).all()
    assert np.abs(results * 2.0**-EXP_BITS - np.exp(-scale * distance)).max() < 2.0**-26
    assert np.array_equal(probe("exp", distance, table.digits, table=table.factors), results)


def test_logarithm_python_is_c_and_near_log2(probe):
    powers = 2 ** np.arange(16, 33)
    rng = np.random.default_rng(0)
    spread = rng.integers(2**16, 2**32, size=500_000) >> rng.integers(0, 16, size=500_000)
    dense = np.arange(2**16, 2**18)
    values = np.unique(np.concatenate([powers - 1, powers, powers + 1, spread, dense]))
    values = values[(values >= 2**16) & (values < 2**32)]
    results = log2_fixed(values)
    error = results * 2.0**-LOG_BITS - np.log2(values * 2.0**-16)
    assert np.abs(error).max() < (3.1e-5 + 1.6e-5) / np.log(2)
    assert np.array_equal(probe("log2", values, table=LOG_KNOTS), results)
    assert len(LOG_KNOTS) == (1 << 16 >> LOG_SHIFT) + 1


@pytest.mark.parametrize("scale", [0.0004, 0.01, 0.2])
@pytest.mark.parametrize("length", [1, 2, 10, 300])
@pytest.mark.parametrize(("make", "unit"), [(int8_type, 8), (int16_type, 15)])
def test_softmax_is_within_its_bound(make, unit, length, scale):
    """The bound that softmax.py derives."""
    x = make(scale, shape=(1, length))
    op, y = quantized(Softmax(axis=1), x)
    rng = np.random.default_rng(length)
    q = rng.integers(x.qmin, x.qmax + 1, size=(400, 1, length))
    q[:100] //= 16  # close calls too
    (want,) = Softmax(axis=1).run((q * scale,))
    ideal = np.clip(want / y.scale + y.zero_point, y.qmin, y.qmax)
    bound = {8: 0.505 + length * 2.0**-18, 15: 1.001 + length * 2.0**-11}[unit]
    assert np.abs(op.run((q,))[0] - ideal).max() <= bound


def test_softmax_of_the_longest_axis_stays_within_32_bits():
    """All elements equal is the largest sum there is; one dominant element the largest numerator."""
    x = int8_type(0.1, shape=(1, MAX_LENGTH))
    op, _ = quantized(Softmax(axis=1), x)
    q = np.zeros((2, 1, MAX_LENGTH), dtype=np.int64)
    q[1, 0, 0] = 127
    _, values, total = op.exponential.normalized(q, 2)
    numerators = ((values + 2**13) >> 14) << 15
    assert (numerators + total // 2).max() < 2**32 and total.max() < 2**32
    assert (values >> 14).sum(axis=2).max() < 2**32 and (values & 0x3FFF).sum(axis=2).max() + 2**13 < 2**32
