"""The C program as data: what the templates print. No policy is left to them."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.ir.types import QType
from freeml.ops.base import Kernel, Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A local pointer a layer function starts with: `const int8_t *in0 = ...;`."""

    name: str
    ctype: str
    expr: str
    reads: bool
    moves: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CLayer:
    """One function: a head kernel, elementwise stages on its numbers, and a pool at the end, where there is one."""

    name: str
    comment: tuple[str, ...]
    pointers: tuple[Pointer, ...]
    head: Kernel
    elementwise: tuple[tuple[Kernel, str], ...]
    pool: Kernel | None
    pool_accumulators: bool
    needs_index: bool
    out: Operand
    value: str
    value_bytes: int
    value_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CData:
    """A constant array of the firmware."""

    name: str
    ctype: str
    values: tuple[int, ...]
    comment: str
    layer: str

    @property
    def size_bytes(self) -> int:
        """Bytes in flash."""
        return len(self.values) * {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2}.get(self.ctype, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class CTensor:
    """An input or output of the model as its user sees it."""

    index: int
    name: str
    type: QType
    ctype: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CProgram:
    """Everything that is printed. Sizes are exact: they are those of the arrays the C declares."""

    name: str
    layers: tuple[CLayer, ...]
    data: tuple[CData, ...]
    inputs: tuple[CTensor, ...]
    outputs: tuple[CTensor, ...]
    arena_bytes: int
    scratch_bytes: int

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constant arrays: weights, biases, multipliers, tables."""
        return sum(d.size_bytes for d in self.data)
