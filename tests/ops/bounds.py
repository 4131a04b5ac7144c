"""How far the integer path may be from the float path: a bound for every element of every value, derived and not tuned.

The bound of a value is carried from its inputs, in real units, by one rule per operator. A rule answers two questions:
how far the *unrounded* result moves when the inputs move by their bounds and the constants by their rounding
(`propagated`), and by how many units of the output's format the integer operator then errs (`units`). Hence

    |real(q_y) - y| <= propagated + units * s_y + |y - clip(y)|

where clip is into what the output's format can represent: saturation moves every number towards the same interval, so
it never drives two numbers apart, and what y itself lies outside of it is known exactly. The bound of a fused clamp is
rounded to the grid by at most half a unit, which `units` >= 1/2 covers, a clamp being 1-Lipschitz in its bounds too.

Requantization (fixedpoint/rounding.py): the multiplier is a 31-bit integer off by at most one half (by one where it would
be 2**31), the shifted accumulator is below 2**31, so the product is off by at most 2**31 * 2**-(32 + shift) units before
the one rounding of 1/2: REQUANT = 1/2 + 2**-(1 + shift) units with shift >= 1. A 64-bit accumulator drops bits worth
less than one unit of the shifted accumulator, which adds at most as much again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from freeml.ir.graph import Graph, Op, QGraph, execute
from freeml.ir.types import QRANGE, QType
from freeml.ops.add import Add
from freeml.ops.averagepool import AveragePool
from freeml.ops.base import NO_CLAMP
from freeml.ops.binary import align
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish
from freeml.ops.linear import weight_scales
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.slice import Slice
from freeml.ops.softmax import Softmax
from freeml.ops.sub import Sub
from freeml.ops.tanh import Tanh
from freeml.ops.transpose import Transpose

Real = NDArray[np.float64]

REQUANT = 0.5 + 2.0**-2
"""Units of the output that one requantization errs by, shift = 1 being the worst; see the module."""

WIDE_REQUANT = REQUANT + 2.0**-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One operator and what is known around it. `x` are exact inputs, `e` bounds on how far the integers are from them
    (for a constant: how far its integers are, 0 where a rule derives it), `formats` the inputs' formats."""

    x: tuple[Real, ...]
    e: tuple[Real, ...]
    formats: tuple[QType | None, ...]
    out: QType
    limit: int

    def format(self, index: int) -> QType:
        """Format of an activation or of a quantized constant."""
        found = self.formats[index]
        assert found is not None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """See the module."""

    propagated: Real
    units: float


@singledispatch
def rule(op: Op, site: Site) -> Rule:
    """The rule of an operator."""
    raise NotImplementedError(f"no error bound was derived for {op.kind}")


def error_bounds(
    graph: Graph,
    qgraph: QGraph,
    inputs: Mapping[str, Real],
    integers: Mapping[str, NDArray[np.int64]],
    weight_bits: int,
) -> tuple[dict[str, Real], dict[str, Real]]:
    """(float values, bounds) by value name, for real inputs and the integers they became."""
    values = {name: np.asarray(array, dtype=np.float64) for name, array in execute(graph, inputs).items()}
    bounds = {name: np.abs(real(integers[name], qgraph.types[name]) - values[name]) for name in graph.inputs}
    sources = {stage.outputs[0]: stage for stage in qgraph.stages()}
    for stage in graph.stages():
        name = stage.outputs[0]
        if graph.types[name].dtype != "float32":
            continue
        x: list[Real] = []
        e: list[Real] = []
        formats: list[QType | None] = []
        for index, value in enumerate(stage.inputs):
            if value in graph.constants:
                exact = np.asarray(graph.constants[value], dtype=np.float64)[np.newaxis]
                stored = sources[name].inputs[index] if index < len(sources[name].inputs) else ""
                format_ = qgraph.types.get(stored)
                same = (
                    format_ is not None and format_.shape == exact.shape[1:] and not isinstance(stage.op, (Conv, Dense))
                )
                x.append(exact)
                if same and format_ is not None:
                    e.append(np.abs(real(qgraph.constants[stored], format_)[np.newaxis] - exact))
                    formats.append(format_)
                else:
                    e.append(np.zeros_like(exact))
                    formats.append(None)
            else:
                x.append(values[value])
                e.append(bounds[value])
                formats.append(qgraph.types[value])
        out = qgraph.types[name]
        site = Site(x=tuple(x), e=tuple(e), formats=tuple(formats), out=out, limit=127 if weight_bits == 8 else 32767)
        found = rule(stage.op, site)
        low, high = ((q - out.zero_point) * out.scale for q in QRANGE[out.dtype])
        outside = np.abs(values[name] - np.clip(values[name], low, high))
        bounds[name] = found.propagated + found.units * out.scale + outside
    return values, bounds


def real(integers: NDArray[np.generic], type_: QType) -> Real:
    """Integers as real numbers, float64."""
    return np.asarray((np.asarray(integers, dtype=np.float64) - type_.zero_point) * type_.scale)


# --- rules ------------------------------------------------------------------------------------------------------------


@rule.register
def _linear(op: Conv | Dense, site: Site) -> Rule:
    """|sum(w x) + b - (sum(w' x') + b')| <= sum(|w| e) + sum(s_w / 2 (|x| + e)) + s_x s_w / 2, with s_w per channel:
    every weight and the bias are off by half a unit. Padding is exact: the zero point stands for 0."""
    free = replace(op, clamp=NO_CLAMP)
    x, w = site.x[0], site.x[1]
    s_x = site.format(0).scale
    by_output = w[0].T if isinstance(op, Dense) else w[0]
    bias = site.x[2][0] if len(site.x) > 2 else np.zeros(by_output.shape[0])
    scales = weight_scales(by_output, bias, s_x, site.out.scale, site.limit)
    halves = scales.reshape(-1, *(1,) * (by_output.ndim - 1)) * np.ones_like(by_output) / 2
    halves = (halves.T if isinstance(op, Dense) else halves)[np.newaxis]
    (moved,) = free.run((site.e[0], np.abs(w)))
    (rounded,) = free.run((np.abs(x) + site.e[0], halves, (s_x * scales / 2 * (np.abs(bias) > 0))[np.newaxis]))
    return Rule(propagated=np.asarray(moved + rounded), units=WIDE_REQUANT)


@rule.register
def _sum(op: Add | Sub, site: Site) -> Rule:
    """e1 + e2, and the factors A and B, integers of a common unit, are each off by one half: acc moves by half of
    (|q1 - z1| + |q2 - z2|) in its unit, the largest sum being 2**29 of these (ops/binary.py)."""
    one, two = site.format(0), site.format(1)
    sums = sum((max(t.qmax - t.zero_point, t.zero_point - t.qmin) + 2) * t.scale for t in (one, two))
    step = (sums + 2 * max(one.scale, two.scale)) / 2.0**29
    (x1, x2), (e1, e2) = align(site.x), align(site.e)
    moved = e1 + e2 + step / 2 * ((np.abs(x1) + e1) / one.scale + (np.abs(x2) + e2) / two.scale)
    return Rule(propagated=np.asarray(moved), units=REQUANT)


@rule.register
def _mul(op: Mul, site: Site) -> Rule:
    """|x1 x2 - x1' x2'| <= |x1| e2 + |x2| e1 + e1 e2; the product of the integers is exact."""
    (x1, x2), (e1, e2) = align(site.x), align(site.e)
    return Rule(propagated=np.asarray(np.abs(x1) * e2 + np.abs(x2) * e1 + e1 * e2), units=REQUANT)


@rule.register
def _selection(op: MaxPool | Slice | Transpose | Reshape | Resize, site: Site) -> Rule:
    """Numbers are moved, or the largest is taken: |max a - max b| <= max |a - b|. Nothing is rounded."""
    assert (site.out.scale, site.out.zero_point) == (site.format(0).scale, site.format(0).zero_point)
    return Rule(propagated=np.asarray(op.run((site.e[0],))[0]), units=0.0)


@rule.register
def _pad(op: Pad, site: Site) -> Rule:
    """Numbers are moved; the value put around them is rounded by half a unit. Another format costs a requantization."""
    same = (site.out.scale, site.out.zero_point) == (site.format(0).scale, site.format(0).zero_point)
    (moved,) = replace(op, value=site.out.scale / 2).run((site.e[0],))
    return Rule(propagated=np.asarray(moved), units=0.0 if same else REQUANT)


@rule.register
def _clip(op: Clip, site: Site) -> Rule:
    """A clamp moves nothing further apart than its own bounds, each rounded by half a unit."""
    assert site.out.scale == site.format(0).scale
    return Rule(propagated=np.maximum(site.e[0], site.out.scale / 2), units=0.0)


@rule.register
def _average(op: AveragePool, site: Site) -> Rule:
    """The mean of the bounds: the sum is exact, the division is part of the multiplier."""
    return Rule(propagated=np.asarray(replace(op, clamp=NO_CLAMP).run((site.e[0],))[0]), units=REQUANT)


@rule.register
def _mean(op: ReduceMean, site: Site) -> Rule:
    """The mean of the bounds."""
    return Rule(propagated=np.asarray(op.run((site.e[0],))[0]), units=REQUANT)


@rule.register
def _concat(op: Concat, site: Site) -> Rule:
    """The bounds one after the other; every part may be requantized once."""
    return Rule(propagated=np.asarray(op.run(site.e)[0]), units=REQUANT)


@rule.register
def _prelu(op: PRelu, site: Site) -> Rule:
    """The steeper side of the corner decides: max(1, |slope|) e."""
    e, slope = align((site.e[0], site.x[1]))
    return Rule(propagated=np.asarray(e * np.maximum(1.0, np.abs(slope))), units=REQUANT)


@rule.register
def _monotone(op: Sigmoid | Tanh | HardSigmoid, site: Site) -> Rule:
    """A monotone function over x - e ... x + e is farthest from f(x) at an end. A table of an 8-bit input rounds once;
    interpolation for a 16-bit one is within one unit of the correctly rounded knot value (ops/lut.py). The straight line
    of a 16-bit HardSigmoid rounds beta / alpha to a whole unit of x at worst, and requantizes."""
    x, e = site.x[0], site.e[0]
    if isinstance(op, HardSigmoid) and site.format(0).dtype == "int16":
        e = e + site.format(0).scale / 2
    middle = op.function(x)
    moved = np.maximum(np.abs(op.function(x + e) - middle), np.abs(op.function(x - e) - middle))
    return Rule(propagated=np.asarray(moved), units=_table_units(site))


@rule.register
def _hardswish(op: HardSwish, site: Site) -> Rule:
    """The steepest slope of x * clip(x / 6 + 1/2, 0, 1) is 3/2, at x = 3. A 16-bit input goes through a gate of at least
    14 bits, off by REQUANT of its units, times |x|."""
    gate = (np.abs(site.x[0]) + site.e[0]) * REQUANT * 2.0**-14 if site.format(0).dtype == "int16" else 0.0
    return Rule(propagated=1.5 * site.e[0] + gate, units=max(REQUANT, _table_units(site)))


def _table_units(site: Site) -> float:
    return 0.5 if site.format(0).dtype == "int8" else 1.5


@rule.register
def _softmax(op: Softmax, site: Site) -> Rule:
    """When no exponent moves by more than e, numerator and sum move by factors within exp(-e) ... exp(e), so y by one
    within exp(-2 e) ... exp(2 e). The integer arithmetic adds what ops/softmax.py derives, in units of the output."""
    largest = site.e[0].max(axis=op.axis + 1, keepdims=True)
    (y,) = op.run((site.x[0],))
    length = site.x[0].shape[op.axis + 1]
    units = 0.505 + length * 2.0**-18 if site.out.dtype == "int8" else 1.001 + length * 2.0**-11
    return Rule(propagated=np.asarray(y * np.expm1(2 * largest)), units=units)


@rule.register
def _logsoftmax(op: LogSoftmax, site: Site) -> Rule:
    """x moves by e and the logarithm of the sum by the largest e at most. The logarithm itself is off by 5.5e-5
    (ops/logsoftmax.py) and rounded to the accumulator's unit, which is no coarser than the input's."""
    largest = site.e[0].max(axis=op.axis + 1, keepdims=True)
    extra = 5.5e-5 + REQUANT * site.format(0).scale
    return Rule(propagated=site.e[0] + largest + extra, units=REQUANT)
