"""Average over a sliding window: exact sums, one rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freeml.errors import QuantizationError
from freeml.fixedpoint.rounding import Requant, make_requant
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import (
    NO_CLAMP,
    Clamp,
    FloatOp,
    Kernel,
    LoweredOp,
    Lowering,
    Quantized,
    Quantizing,
    clamp_bounds,
    requant_tables,
    requant_view,
)
from freeml.ops.conv import suffix
from freeml.ops.pool import PoolView, infer_pool, window_counts, window_sums
from freeml.ops.windows import Window, channels_back, channels_last, plane


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(FloatOp):
    """y = clamp(mean over windows of x (N, C, *spatial)); `count_include_pad` counts padding as zeros."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    ceil_mode: bool = False
    count_include_pad: bool = False
    clamp: Clamp = NO_CLAMP

    @property
    def window(self) -> Window:
        """The sliding window."""
        return Window(
            kernel=self.kernel, strides=self.strides, dilations=self.dilations, pads=self.pads, ceil_mode=self.ceil_mode
        )

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """(N, C, *out)."""
        return infer_pool(self.window, inputs[0], "AveragePool")

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        x = channels_last(inputs[0], False)
        counts = window_counts(self.window, inputs[0].shape[3:], self.count_include_pad)
        y = channels_back(window_sums(self.window, x) / counts[..., np.newaxis].astype(x.dtype), False)
        y = np.clip(y, *self.clamp) if self.clamp != NO_CLAMP else y
        return (np.ascontiguousarray(y),)

    def quantize(self, q: Quantizing) -> Quantized:
        """One multiplier per possible count; a single one when every window counts the same."""
        x, y = q.input(0), q.outputs[0]
        counts = window_counts(self.window, x.shape[2:], self.count_include_pad)
        uniform = bool((counts == counts.flat[0]).all())
        divisors = counts.flat[:1] if uniform else np.arange(1, int(counts.max()) + 1)
        low, high = clamp_bounds(self.clamp, y)
        bound = self.window.size * max(x.qmax - x.zero_point, x.zero_point - x.qmin)
        requant = make_requant(
            x.scale / (y.scale * divisors.astype(np.float64)),
            accumulator_bound=bound, zero_point=y.zero_point, low=low, high=high,
        )  # fmt: skip
        if requant is None:
            raise QuantizationError(
                f"node {q.node}: expected an average whose 32-bit sum can be scaled by {x.scale / y.scale:.3g}, found "
                f"sums up to {bound}; split the pool into two"
            )
        op = QAveragePool(
            window=self.window, include_pad=self.count_include_pad, input_zero=x.zero_point, requant=requant
        )
        return Quantized(op=op, inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QAveragePool(LoweredOp):
    """Integer average: multiplier number count - 1 serves a window of that count (or the only one serves all)."""

    window: Window
    include_pad: bool
    input_zero: int
    requant: Requant
    channels_last: bool = False

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact sums of x - zero point, then the one rounding."""
        x = channels_last(inputs[0], self.channels_last)
        sums = window_sums(self.window, x - self.input_zero)
        requant = self.requant
        if len(requant.multipliers) > 1:
            counts = window_counts(self.window, x.shape[2 : 2 + len(self.window.kernel)], self.include_pad)
            lookup = tuple(requant.multipliers[n - 1] for n in counts.ravel())
            by_position = np.moveaxis(sums, -1, 2).reshape(*sums.shape[:2], sums.shape[-1], -1)
            y = replace(requant, multipliers=lookup).apply(by_position)
            y = np.moveaxis(y.reshape(*sums.shape[:2], sums.shape[-1], *counts.shape), 2, -1)
        else:
            y = requant.apply(sums)
        return (channels_back(y, self.channels_last),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Channels-last."""
        if self.channels_last or order != (0, *range(2, 2 + len(self.window.kernel)), 1):
            return None
        return replace(self, channels_last=True)

    def lower(self, c: Lowering) -> Kernel:
        """Template averagepool.c.j2."""
        x, y = c.inputs[0], c.outputs[0]
        geometry = plane(self.window, x.type.shape, y.type.shape)
        (_, end_h), (_, end_w) = ((0, 0),) * (2 - len(self.window.kernel)) + self.window.pads
        view = PoolView(
            plane=geometry, kind="average", suffix=suffix(x.ctype), lowest=0, input_zero=self.input_zero,
            requant=requant_view(self.requant, c.table("multipliers"), "count - 1"),
            counted=len(self.requant.multipliers) > 1, include_pad=self.include_pad,
            counted_h=geometry.in_h + end_h, counted_w=geometry.in_w + end_w, channels=geometry.channels,
        )  # fmt: skip
        return Kernel(
            template="averagepool", inputs=c.inputs, outputs=c.outputs, view=view, tables=requant_tables(self.requant)
        )
