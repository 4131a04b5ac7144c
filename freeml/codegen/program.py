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


FAR_PART_BYTES = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FarPart:
    """One C array of a far constant, at its address."""

    name: str
    address: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CData:
    """A constant array of the firmware."""

    name: str
    ctype: str
    values: tuple[int, ...]
    comment: str
    layer: str
    far_address: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes in flash."""
        return len(self.values) * self.item_bytes

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2}.get(self.ctype, 4)

    @property
    def parts(self) -> tuple[FarPart, ...]:
        """A far array as C declares it: in parts, because no object may be larger than a 16-bit size_t counts."""
        assert self.far_address is not None
        step = FAR_PART_BYTES // self.item_bytes
        starts = range(0, len(self.values), step)
        return tuple(
            FarPart(
                name=self.name if len(starts) == 1 else f"{self.name}_{number}",
                address=self.far_address + start * self.item_bytes,
                values=self.values[start : start + step],
            )
            for number, start in enumerate(starts)
        )


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
    def near_data(self) -> tuple[CData, ...]:
        """Arrays within reach of pointers."""
        return tuple(d for d in self.data if d.far_address is None)

    @property
    def far_data(self) -> tuple[CData, ...]:
        """Arrays beyond it, in ascending order of address."""
        return tuple(d for d in self.data if d.far_address is not None)

    @property
    def far_symbols(self) -> dict[str, int]:
        """Address of every C array of the far constants, by name."""
        return {part.name: part.address for data in self.far_data for part in data.parts}

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constant arrays: weights, biases, multipliers, tables."""
        return sum(d.size_bytes for d in self.data)
