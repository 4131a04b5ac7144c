"""Sliding windows: geometry and reference helpers shared by convolutions and pools (spatial rank 0, 1 or 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freeml.errors import GraphError
from freeml.ir.types import Array, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A kernel sliding over the spatial axes. `pads` holds (before, after) per axis.

    With `ceil_mode` the last window may hang over the padded end (pools only).
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    ceil_mode: bool = False

    @property
    def size(self) -> int:
        """Taps of the kernel."""
        return int(np.prod(self.kernel, dtype=np.int64))

    @property
    def reach(self) -> tuple[int, ...]:
        """Extent of the dilated kernel per axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def out_extents(self, extents: Shape) -> Shape:
        """Output extents for input extents; raises GraphError when the kernel is larger than the padded input."""
        result = []
        for extent, reach, stride, (before, after) in zip(extents, self.reach, self.strides, self.pads, strict=True):
            span = extent + before + after - reach
            if span < 0:
                raise GraphError(f"expected a kernel within the padded extent {extent + before + after}, found {reach}")
            steps = -(-span // stride) if self.ceil_mode else span // stride
            if (
                self.ceil_mode and steps * stride >= extent + before
            ):  # a window that starts in the end padding is dropped
                steps -= 1
            result.append(steps + 1)
        return tuple(result)

    def extract(self, x: Array, fill: float | int) -> Array:
        """Windows of x (samples, batch, *spatial, channels) as (samples, batch, *out, *kernel, channels)."""
        rank = len(self.kernel)
        if rank == 0:
            return x
        out = self.out_extents(x.shape[2 : 2 + rank])
        pads = [(0, 0), (0, 0)]
        for extent, count, reach, stride, (before, _) in zip(
            x.shape[2 : 2 + rank], out, self.reach, self.strides, self.pads, strict=True
        ):
            pads.append((before, max(0, (count - 1) * stride + reach - extent - before)))
        padded = np.pad(x, [*pads, (0, 0)], constant_values=fill) if any(p != (0, 0) for p in pads) else x
        spatial = tuple(range(2, 2 + rank))
        view = np.lib.stride_tricks.sliding_window_view(padded, self.reach, axis=spatial)
        steps = tuple(slice(0, (o - 1) * s + 1, s) for o, s in zip(out, self.strides, strict=True))
        taps = tuple(slice(None, None, d) for d in self.dilations)
        chosen = (slice(None), slice(None), *steps, slice(None), *taps)
        # (samples, batch, *out, channels, *kernel) -> channels last
        return np.moveaxis(view[chosen], 2 + rank, -1)


def channels_last(x: Array, already: bool) -> Array:
    """(samples, batch, channels, *spatial) -> (samples, batch, *spatial, channels)."""
    return x if already else np.moveaxis(x, 2, -1)


def channels_back(x: Array, already: bool) -> Array:
    """Inverse of `channels_last`."""
    return x if already else np.moveaxis(x, -1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A window brought to two spatial axes for C (a 1-D map is a map of height 1, a vector one of 1 x 1)."""

    in_h: int
    in_w: int
    out_h: int
    out_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    top: int
    left: int
    channels: int

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.kernel_h * self.kernel_w

    @property
    def reach_w(self) -> int:
        """Columns from the first tap to the last."""
        return (self.kernel_w - 1) * self.dilation_w

    @property
    def direct(self) -> bool:
        """Whether a window is one contiguous, never padded run of the channels-last input."""
        whole_rows = self.kernel_h == 1 or (self.kernel_w == self.in_w and self.dilation_h == 1)
        return whole_rows and (self.kernel_w == 1 or self.dilation_w == 1) and not self.padded

    @property
    def padded(self) -> bool:
        """Whether any window reaches outside the input."""
        last_y = (self.out_h - 1) * self.stride_h - self.top + (self.kernel_h - 1) * self.dilation_h
        last_x = (self.out_w - 1) * self.stride_w - self.left + (self.kernel_w - 1) * self.dilation_w
        return self.top > 0 or self.left > 0 or last_y >= self.in_h or last_x >= self.in_w


def plane(window: Window, in_shape: Shape, out_shape: Shape) -> Plane:
    """The `Plane` of a window over channels-last shapes (1, *spatial, channels)."""
    rank = len(window.kernel)
    ones, zeros = (1,) * (2 - rank), ((0, 0),) * (2 - rank)
    in_h, in_w = ones + in_shape[1 : 1 + rank]
    out_h, out_w = ones + out_shape[1 : 1 + rank]
    kernel_h, kernel_w = ones + window.kernel
    stride_h, stride_w = ones + window.strides
    dilation_h, dilation_w = ones + window.dilations
    (top, _), (left, _) = zeros + window.pads
    return Plane(
        in_h=in_h, in_w=in_w, out_h=out_h, out_w=out_w, kernel_h=kernel_h, kernel_w=kernel_w,
        stride_h=stride_h, stride_w=stride_w, dilation_h=dilation_h, dilation_w=dilation_w,
        top=top, left=left, channels=in_shape[-1],
    )  # fmt: skip
