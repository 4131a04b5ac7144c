"""Convolution: 1-D, 2-D, grouped, depthwise, dilated, padded; spatial rank 0 is a grouped dense layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from freeml.errors import GraphError
from freeml.fixedpoint.rounding import Requant
from freeml.ir.graph import QOp
from freeml.ir.types import FloatArray, IntArray, TensorType
from freeml.ops.base import (
    NO_CLAMP,
    Clamp,
    CRequant,
    FloatOp,
    Kernel,
    LoweredOp,
    Lowering,
    Quantized,
    Quantizing,
    Scratch,
    requant_tables,
    requant_view,
    weight_scratch,
)
from freeml.ops.linear import linear_matmul, quantize_linear
from freeml.ops.storage import Storage
from freeml.ops.windows import Plane, Window, channels_back, channels_last, plane


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(FloatOp):
    """y = clamp(conv(x, w) + b): x (N, C, *spatial), w (O, C/group, *kernel), b (O,) optional."""

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    group: int = 1
    clamp: Clamp = NO_CLAMP

    def _window(self, kernel: tuple[int, ...]) -> Window:
        return Window(kernel=kernel, strides=self.strides, dilations=self.dilations, pads=self.pads)

    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """(N, O, *out)."""
        x, w = inputs[0].shape, inputs[1].shape
        if len(x) != len(w) or len(x) > 4 or len(x) != len(self.strides) + 2:
            raise GraphError(f"Conv expected 1-D or 2-D maps and weights of the same rank, found {x} and {w}")
        if w[1] * self.group != x[1] or w[0] % self.group:
            raise GraphError(f"Conv with {self.group} groups expected weights for {x[1]} channels, found {w}")
        return (TensorType(shape=(x[0], w[0], *self._window(w[2:]).out_extents(x[2:]))),)

    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float convolution through windows and one matrix product per group."""
        x, w = channels_last(inputs[0], False), inputs[1][0]
        kernel = w.shape[2:]
        window, cg, og = self._window(kernel), w.shape[1], w.shape[0] // self.group
        patches = window.extract(x, 0.0)
        lead = patches.shape[: 2 + len(kernel)]
        grouped = patches.reshape(*lead, window.size, self.group, cg)
        by_group = np.moveaxis(grouped, -2, 0).reshape(self.group, -1, window.size * cg)
        weights = np.moveaxis(w, 1, -1).reshape(self.group, og, window.size * cg)
        y = np.matmul(by_group, weights.transpose(0, 2, 1))
        y = np.moveaxis(y, 0, 1).reshape(*lead, w.shape[0])
        if len(inputs) > 2:
            y = y + inputs[2][0]
        y = np.clip(y, *self.clamp) if self.clamp != NO_CLAMP else y
        return (np.ascontiguousarray(channels_back(y, False)),)

    def macs(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int:
        """One per output element and tap."""
        return outputs[0].size * inputs[1].size // inputs[1].shape[0]

    def quantize(self, q: Quantizing) -> Quantized:
        """Integer weights in the order the kernel reads them: (O, *kernel, C/group), depthwise (*kernel, C)."""
        w = q.constant(1)
        bias = q.constant(2) if len(q.inputs) > 2 else np.zeros(w.shape[0])
        linear = quantize_linear(q, w, bias, self.clamp)
        depthwise = self.group == w.shape[0] and w.shape[1] == 1
        values = np.moveaxis(linear.weights, 1, -1)
        if depthwise:
            values = np.moveaxis(values[..., 0], 0, -1)
        op = QConv(
            window=self._window(w.shape[2:]),
            group=self.group,
            depthwise=depthwise,
            pad_value=q.input(0).zero_point,
            requant=linear.requant,
            wide=linear.wide,
        )
        weights = linear.weight_constant(np.ascontiguousarray(values), q.weight_bits)
        return Quantized(op=op, inputs=(0, weights, linear.bias_constant()))


@dataclass(frozen=True, slots=True, kw_only=True)
class QConv(LoweredOp):
    """Integer convolution. Inputs: x, weights, bias. `channels_last` says how x and y are laid out, `packed` how the
    weights lie in flash where not as they are."""

    window: Window
    group: int
    depthwise: bool
    pad_value: int
    requant: Requant
    wide: bool
    channels_last: bool = False
    packed: Storage | None = None

    def weight_rows(self, shape: tuple[int, ...]) -> int:
        """How many dot products of weights of this shape there are; the weights of a depthwise one are never apart."""
        return 1 if self.depthwise else shape[0]

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Windows padded with the zero point, an exact product, requantize."""
        x, w, bias = channels_last(inputs[0], self.channels_last), inputs[1][0], inputs[2][0]
        rank, taps = len(self.window.kernel), self.window.size
        patches = self.window.extract(x, self.pad_value)
        lead = patches.shape[: 2 + rank]
        if self.depthwise:
            acc = (patches.reshape(*lead, taps, -1) * w.reshape(taps, -1)).sum(axis=-2)
        else:
            cg, og = w.shape[-1], w.shape[0] // self.group
            grouped = patches.reshape(*lead, taps, self.group, cg)
            parts = [
                linear_matmul(
                    grouped[..., g, :].reshape(*lead, taps * cg),
                    w[g * og : (g + 1) * og].reshape(og, taps * cg).T,
                )
                for g in range(self.group)
            ]
            acc = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        return (channels_back(self.requant.apply(acc + bias), self.channels_last),)

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """Channels-last, the only other layout a convolution takes."""
        rank = len(self.window.kernel)
        if self.channels_last or order != (0, *range(2, 2 + rank), 1):
            return None
        return replace(self, channels_last=True)

    def lower(self, c: Lowering) -> Kernel:
        """Gather a window, then one dot product per output channel."""
        x, w, y = c.inputs[0], c.inputs[1], c.outputs[0]
        geometry = plane(self.window, x.type.shape, y.type.shape)
        out_channels = y.type.shape[-1]
        cg = geometry.channels // self.group
        gathers = not geometry.direct or (self.group > 1 and not self.depthwise)
        patch_channels = geometry.channels if self.depthwise else cg
        view = ConvView(
            plane=geometry,
            group=self.group,
            group_channels=patch_channels,
            group_outputs=out_channels // self.group,
            out_channels=out_channels,
            depthwise=self.depthwise,
            gathers=gathers,
            depth=geometry.taps if self.depthwise else geometry.taps * cg,
            row=geometry.in_w * geometry.channels,
            patch_row=geometry.kernel_w * patch_channels,
            next_tap=geometry.dilation_w * geometry.channels,
            next_row=geometry.dilation_h * geometry.in_w * geometry.channels,
            pad_value=self.pad_value,
            dot=dot_name(x.ctype, w.ctype, self.wide),
            suffix=suffix(x.ctype),
            wide=self.wide,
            requant=requant_view(self.requant, c.table("multipliers")),
        )
        scratch: tuple[Scratch, ...] = ()
        if gathers:
            scratch = (Scratch(name="patch", ctype=x.ctype, count=geometry.taps * patch_channels),)
        scratch += weight_scratch(w, geometry.taps * cg)
        return Kernel(
            template="conv", inputs=c.inputs, outputs=c.outputs, view=view,
            tables=requant_tables(self.requant), scratch=scratch,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvView:
    """Values of codegen_templates/ops/conv.c.j2; `depth` is a dot product's length, `row` an input row's, and
    `next_tap`, `next_row` are distances in the input, all in elements."""

    plane: Plane
    group: int
    group_channels: int
    group_outputs: int
    out_channels: int
    depthwise: bool
    gathers: bool
    depth: int
    row: int
    patch_row: int
    next_tap: int
    next_row: int
    pad_value: int
    dot: str
    suffix: str
    wide: bool
    requant: CRequant


def suffix(ctype: str) -> str:
    """Suffix of the runtime's functions for an element type: int8_t -> s8."""
    return {"int8_t": "s8", "int16_t": "s16", "int32_t": "s32"}[ctype]


def dot_name(x: str, w: str, wide: bool) -> str:
    """The runtime's dot product for these element types."""
    return f"{suffix(x)}_{suffix(w)}" + ("_wide" if wide else "")
