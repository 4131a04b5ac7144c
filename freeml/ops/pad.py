"""Pad: a constant, or numbers of the tensor itself, around a tensor. Zero padding before a window is folded into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from freeml.errors import GraphError
from freeml.ir.types import FloatArray, QDType, QType, Shape, TensorType
from freeml.ops.base import FloatOp, Quantized, Quantizing, clamp_bounds
from freeml.ops.copying import FILL, axis_maps, quantize_copy


def pad_table(extent: int, before: int, after: int, mode: str) -> tuple[int, ...]:
    """Index that each position of a padded axis reads: FILL in mode constant, else as numpy's pad defines the modes."""
    positions = np.arange(extent)
    if mode == "constant":
        return tuple(int(i) for i in np.pad(positions, (before, after), constant_values=FILL))
    return tuple(int(i) for i in np.pad(positions, (before, after), mode=mode))  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(FloatOp):
    """y = x with pads[a] = (before, after) more positions along axis a; `value` is what mode constant puts there."""

    pads: tuple[tuple[int, int], ...]
    mode: Literal["constant", "edge", "reflect", "wrap"] = "constant"
    value: float = 0.0

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """Every extent plus its pads."""
        shape = inputs[0].shape
        if len(self.pads) != len(shape) or any(amount < 0 for pair in self.pads for amount in pair):
            raise GraphError(f"Pad expected two amounts of 0 or more for each of {len(shape)} axes, found {self.pads}")
        if self.mode not in ("constant", "edge", "reflect", "wrap"):
            raise GraphError(f"Pad expected mode constant, edge, reflect or wrap, found {self.mode}")
        if self.mode != "constant" and 0 in shape:
            raise GraphError(f"Pad with mode {self.mode} expected a tensor with elements, found shape {shape}")
        padded = tuple(extent + sum(pair) for extent, pair in zip(shape, self.pads, strict=True))
        return (TensorType(shape=padded, dtype=inputs[0].dtype),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """numpy's pad, axis by axis."""
        widths = ((0, 0), *self.pads)
        if self.mode == "constant":
            return (np.pad(inputs[0], widths, constant_values=self.value),)
        return (np.pad(inputs[0], widths, mode=self.mode),)

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """The input's format, unless it cannot hold the value (infinity stands for the largest number it has)."""
        x = inputs[0]
        assert x is not None
        largest, smallest = (x.qmax - x.zero_point) * x.scale, (x.qmin - x.zero_point) * x.scale
        holds = smallest - x.scale / 2 <= self.value <= largest + x.scale / 2
        if self.mode == "constant" and np.isfinite(self.value) and not holds:
            return None
        return x.with_shape(shape)

    def quantize(self, q: Quantizing) -> Quantized:
        """A copy that fills the border with the value in the output's format."""
        y = q.outputs[0]
        if np.isfinite(self.value):
            fill, _ = clamp_bounds((self.value, self.value), y)
        else:
            fill = y.qmax if self.value > 0 else y.qmin
        shape = q.input(0).shape
        tables = (pad_table(n, *pair, self.mode) for n, pair in zip(shape, self.pads, strict=True))
        return quantize_copy(q, axis_maps(tuple(tables)), fill)
