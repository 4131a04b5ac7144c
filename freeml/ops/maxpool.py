"""Maximum over a sliding window. The integers are those of the input: no rounding at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import Kernel, LoweredOp, Lowering, Quantized, Quantizing, SameFormat
from freeml.ops.conv import suffix
from freeml.ops.pool import PoolView, infer_pool, max_windows
from freeml.ops.windows import Window, plane


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(SameFormat):
    """y = max over windows of x (N, C, *spatial); padding never wins."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    ceil_mode: bool = False

    @property
    def window(self) -> Window:
        """The sliding window."""
        return Window(
            kernel=self.kernel, strides=self.strides, dilations=self.dilations, pads=self.pads, ceil_mode=self.ceil_mode
        )

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """(N, C, *out)."""
        return infer_pool(self.window, inputs[0], "MaxPool")

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference."""
        return (np.ascontiguousarray(max_windows(self.window, inputs[0], False, -np.inf)),)

    def quantize(self, q: Quantizing) -> Quantized:
        """The same window over integers."""
        return Quantized(op=QMaxPool(window=self.window, lowest=q.input(0).qmin), inputs=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class QMaxPool(LoweredOp):
    """Integer maximum. `lowest` is the smallest number of the type, which padding stands for."""

    window: Window
    lowest: int
    channels_last: bool = False

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Exact."""
        return (max_windows(self.window, inputs[0], self.channels_last, self.lowest),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Channels-last."""
        if self.channels_last or order != (0, *range(2, 2 + len(self.window.kernel)), 1):
            return None
        return replace(self, channels_last=True)

    def lower(self, c: Lowering) -> Kernel:
        """Template maxpool.c.j2."""
        x, y = c.inputs[0], c.outputs[0]
        geometry = plane(self.window, x.type.shape, y.type.shape)
        view = PoolView(
            plane=geometry, kind="max", suffix=suffix(x.ctype), lowest=self.lowest, input_zero=0, requant=None,
            counted=False, include_pad=False, counted_h=0, counted_w=0, channels=geometry.channels,
        )  # fmt: skip
        return Kernel(template="maxpool", inputs=c.inputs, outputs=c.outputs, view=view)
