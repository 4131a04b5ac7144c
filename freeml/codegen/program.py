"""The C program as data: what the templates print. No policy is left to them."""

from __future__ import annotations

from dataclasses import dataclass

from freeml.ir.exits import Policy, Reliability
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
class Split:
    """How a layer's output is divided: into `units` of `elements` output elements each, `per_region` of them between
    two commits.

    `lead` elements of padding lie ahead of unit 0's own, `tail` behind the last unit's. `block` is the number of
    channels of a unit that is less than a pixel, `depth` the number of loops that units number, of those a template
    nests; 0 where neither applies.
    """

    units: int
    elements: int
    lead: int = 0
    tail: int = 0
    block: int = 0
    depth: int = 0
    per_region: int = 1

    @property
    def regions(self) -> int:
        """Commits of an inference in this layer."""
        return -(-self.units // self.per_region)


WHOLE = Split(units=1, elements=0)
"""A layer in one piece."""


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
    split: Split = WHOLE

    @property
    def unit_bytes(self) -> int:
        """What each unit writes."""
        return self.split.elements * self.out.item_bytes

    @property
    def lead_bytes(self) -> int:
        """What unit 0 writes besides, ahead of it."""
        return self.split.lead * self.out.item_bytes

    def written(self, first: int, end: int) -> tuple[int, int]:
        """[start, stop) in the arena, in bytes, of what units [first, end) write."""
        start = 0 if first == 0 else self.lead_bytes + first * self.unit_bytes
        stop = self.value_bytes if end == self.split.units else self.lead_bytes + end * self.unit_bytes
        return self.value_offset + start, self.value_offset + stop


FAR_PART_BYTES = 32_000
RESULT_ALIGNMENT_BYTES = 4
"""Of each output in a result: that of the widest element."""


def rounded(size: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-size // unit) * unit


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
    layer: int = 0
    """Number of the layer that ends an output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CExit:
    """An exit, or the net's own output behind them: the layer that ends its scores, where these lie in the arena."""

    name: str
    layer: int
    offset: int
    wide: bool
    steps: int
    reliability: Reliability


@dataclass(frozen=True, slots=True, kw_only=True)
class CExits:
    """Exits in order, and the net's own output as the last of `entries`."""

    classes: int
    entries: tuple[CExit, ...]
    policy: Policy

    @property
    def count(self) -> int:
        """Exits before the end."""
        return len(self.entries) - 1

    def policy_bytes(self, granule_bytes: int) -> int:
        """Of the rule that is kept in non-volatile memory: `fm_policy`, in whole granules."""
        return rounded(2 * (5 + self.count), granule_bytes)


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
    granule_bytes: int = 2
    mirrored: bool = False
    exits: CExits | None = None
    region_nj: tuple[int, ...] = ()
    """What a region of each layer is estimated to take, nanojoules; only where there are exits."""

    @property
    def regions(self) -> int:
        """Regions of all layers."""
        return sum(layer.split.regions for layer in self.layers)

    def span_bytes(self, tensor: CTensor) -> int:
        """Bytes of an input or output, rounded up to whole granules."""
        return rounded(tensor.type.size_bytes, self.granule_bytes)

    def result_offset(self, tensor: CTensor) -> int:
        """Where an output lies in a result, in bytes."""
        return sum(self._result_span(other) for other in self.outputs[: tensor.index])

    @property
    def result_bytes(self) -> int:
        """Bytes of one result: all outputs."""
        return sum(self._result_span(tensor) for tensor in self.outputs)

    def _result_span(self, tensor: CTensor) -> int:
        return rounded(tensor.type.size_bytes, max(RESULT_ALIGNMENT_BYTES, self.granule_bytes))

    @property
    def nv_bytes(self) -> int:
        """Non-volatile memory that the net's values take: the arena or its copy, and two results."""
        rule = self.exits.policy_bytes(self.granule_bytes) if self.exits is not None else 0
        return 2 * self.result_bytes + rule + (self.kept_bytes if self.mirrored else self.arena_bytes)

    @property
    def kept_bytes(self) -> int:
        """Non-volatile copy of the arena, where that is volatile."""
        return rounded(self.arena_bytes, self.granule_bytes) if self.mirrored else 0

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
