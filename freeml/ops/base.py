"""What every operator file offers: a float `Op` that can be quantized, and an integer `QOp` that can be written as C.

One file per operator holds: the `Op` (attributes, shapes, float reference, how it becomes integers), the `QOp` (integer
reference, the values its template needs), and `from_onnx`. See CONTRIBUTING.md, "Adding an operator".
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from freeml.fixedpoint.rounding import Requant, nearest
from freeml.ir.graph import Brought, Op, QOp
from freeml.ir.types import ITEM_BYTES, FloatArray, IntArray, QDType, QType, Shape
from freeml.ops.storage import Packed, Sparse, Storage

Clamp: TypeAlias = tuple[float, float]
NO_CLAMP: Clamp = (float("-inf"), float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantizing:
    """What an operator is told when it becomes an integer operator.

    `inputs` / `outputs` are the formats of its activations, None standing for a constant input, whose float value is in
    `constants` (None standing for an activation). `brought[i]` is the format the model brings for constant input i.
    """

    node: str
    inputs: tuple[QType | None, ...]
    outputs: tuple[QType, ...]
    constants: tuple[FloatArray | None, ...]
    brought: tuple[Brought | None, ...]
    weight_bits: Literal[8, 16] = 8

    def input(self, index: int) -> QType:
        """Format of activation input `index`."""
        found = self.inputs[index]
        assert found is not None, f"{self.node}: input {index} is a constant"
        return found

    def constant(self, index: int) -> FloatArray:
        """Value of constant input `index` in float64."""
        found = self.constants[index]
        assert found is not None, f"{self.node}: input {index} is not a constant"
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class QConstant:
    """An integer constant that an integer operator reads."""

    values: IntArray
    type: QType


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """An integer operator and its inputs in order: an int keeps an input of the float operator, a QConstant is new."""

    op: QOp
    inputs: tuple[int | QConstant, ...]


class FloatOp(Op):
    """A float operator that knows how to become an integer one."""

    __slots__ = ()

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """Format of output 0 when the operator fixes it; None lets calibration choose. `dtype` is the wanted width."""
        return None

    @abstractmethod
    def quantize(self, q: Quantizing) -> Quantized:
        """The integer operator. Raises QuantizationError naming the node."""


class SameFormat(FloatOp):
    """An operator whose output has the very number format of its (first) input: it moves or selects numbers."""

    __slots__ = ()

    def output_format(self, inputs: tuple[QType | None, ...], shape: Shape, dtype: QDType) -> QType | None:
        """The input's format."""
        first = inputs[0]
        assert first is not None
        return first.with_shape(shape)


def clamp_bounds(clamp: Clamp, out: QType) -> tuple[int, int]:
    """A real clamp in the integers of `out`, within its type."""

    def quantized(bound: float, missing: int) -> int:
        if not np.isfinite(bound):
            return missing
        return min(max(nearest(bound / out.scale) + out.zero_point, out.qmin), out.qmax)

    return quantized(clamp[0], out.qmin), quantized(clamp[1], out.qmax)


# --- what an integer operator hands to its C template
# -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """A tensor as C sees it: an expression for its first element, its element type, and its QType.

    A constant with a `far_address` lies beyond the reach of pointers: its rows are copied to scratch before use. One
    that is `packed` is unpacked to scratch by the numbers in the array `table`, or, where sparse, has its rows' ends
    there; `ctype` is that of the numbers.
    """

    expr: str
    ctype: str
    type: QType
    is_constant: bool = False
    far_address: int | None = None
    packed: Storage | None = None
    table: str = ""

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self.type.dtype]

    @property
    def by_row(self) -> bool:
        """Whether each row is brought to scratch before use."""
        return self.far_address is not None or (isinstance(self.packed, Packed) and not self.packed.whole)

    @property
    def whole(self) -> bool:
        """Whether all of it is unpacked to scratch when its layer is called."""
        return isinstance(self.packed, Packed) and self.packed.whole

    @property
    def sparse(self) -> bool:
        """Whether its zeros are left out."""
        return isinstance(self.packed, Sparse)


@dataclass(frozen=True, slots=True, kw_only=True)
class CArray:
    """A constant array the layer needs besides the graph's constants: lookup table, multipliers, offsets."""

    suffix: str
    ctype: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CRequant:
    """A Requant as C sees it. `multiplier` is an expression (an array element where there is one per channel)."""

    multiplier: str
    pre_shift: int
    shift: int
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """SRAM that a kernel needs only while it runs: the pointer `name` to `count` elements, declared by the caller."""

    name: str
    ctype: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLoop:
    """How an elementwise operator with per-channel numbers walks its tensor: outer x channels x inner elements."""

    outer: int
    channels: int
    inner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Everything a template sees of one stage.

    `view` is the operator's own frozen dataclass of numbers and names, `tables` the arrays it wants placed beside the
    weights. The template of an elementwise operator is a macro on the number `v`, element `i`, channel `c` (`channels`
    says it uses `c`); any other template is the body of a loop nest.
    """

    template: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    view: object
    tables: tuple[CArray, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    elementwise: bool = False
    channels: ChannelLoop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """What an integer operator is told when it becomes C: the layer's C name and its operands.

    `flowing` is the input that an elementwise operator finds in the C variable `v` (the others are read from memory).
    """

    layer: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    flowing: int = 0

    def table(self, suffix: str) -> str:
        """C name of the extra array `suffix` of this layer."""
        return f"fm_{self.layer}_{suffix}"


class LoweredOp(QOp):
    """An integer operator that can be written as C."""

    __slots__ = ()

    @abstractmethod
    def lower(self, c: Lowering) -> Kernel:
        """The values for the operator's template."""

    def permuted(self, order: tuple[int, ...]) -> QOp | None:
        """The operator acting on activations whose axes are reordered so that new axis i is old axis order[i].

        None when it cannot act on them. Layout planning uses this to keep maps channels-last without copies.
        """
        return None


def requant_view(requant: Requant, table: str, index: str = "c") -> CRequant:
    """C form of a requantization; its multipliers are in array `table` when there is one per channel."""
    per_channel = len(requant.multipliers) > 1
    return CRequant(
        multiplier=f"{table}[{index}]" if per_channel else str(requant.multipliers[0]),
        pre_shift=requant.pre_shift,
        shift=requant.shift,
        zero_point=requant.zero_point,
        low=requant.low,
        high=requant.high,
    )


def requant_tables(requant: Requant, suffix: str = "multipliers") -> tuple[CArray, ...]:
    """The array of multipliers, when there is one per channel."""
    if len(requant.multipliers) == 1:
        return ()
    return (CArray(suffix=suffix, ctype="int32_t", values=requant.multipliers),)


ROW = "row"
"""Scratch that holds a row of weights that are far or packed."""

UNPACKED = "weights"
"""Scratch that holds all the weights of a layer."""


def weight_scratch(weights: Operand, row_length: int) -> tuple[Scratch, ...]:
    """Room for one row of weights, or for all of them, where they are not used in place."""
    if weights.by_row:
        return (Scratch(name=ROW, ctype=weights.ctype, count=row_length),)
    if weights.whole:
        return (Scratch(name=UNPACKED, ctype=weights.ctype, count=weights.type.size),)
    return ()
