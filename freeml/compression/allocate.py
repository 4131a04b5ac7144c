"""Which channels and bits to give up for a budget: the least score for the bytes lacking, over all layers at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Protocol

from freeml.codegen.lower import lower
from freeml.compression.channels import Channels, remove
from freeml.compression.coarse import coarse_bits, coarsen, weight_axes
from freeml.compression.pruning import Zeros, board_rows, cut_masks
from freeml.ir.graph import Graph, QGraph
from freeml.ir.types import Array, IntArray
from freeml.ops.storage import PackedBits
from freeml.passes.fuse import fusion_groups
from freeml.plan.cost import CostModel
from freeml.plan.events import events_by_layer
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import arena_alignment, plan_memory
from freeml.plan.storage import pack_weights, reachable_bytes
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.targets import Board
from freeml.work import macs_by_value

SHARE_AT_ONCE = 0.08
"""Share of a family's units that are removed in one step."""

ZEROS_AT_ONCE = 2
"""Ways to set weights to zero that are planned in one step: the best by what they are expected to save."""

PROBES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a net takes: bytes of flash (image and persistent data), bytes of RAM, cost of an inference in cycles (as
    the cost model says, else multiply-accumulates)."""

    flash: int
    ram: int
    cycles: int


class Estimates(Protocol):
    """Counts what a net takes without building it, and learns by how much it is wrong."""

    @property
    def flash_offset(self) -> int:
        """Bytes of flash beyond what it counts."""
        ...

    @property
    def ram_offset(self) -> int:
        """Bytes of RAM beyond what it counts."""
        ...

    @property
    def limits(self) -> tuple[int, int]:
        """Bytes of flash and of RAM that there are, whatever a budget says."""
        ...

    @property
    def packs(self) -> bool:
        """Whether weights of fewer bits take fewer bytes."""
        ...

    def shifted(self, flash_offset: int, ram_offset: int) -> Estimates:
        """The same with other offsets."""
        ...

    def rows(self, graph: Graph) -> Mapping[str, IntArray]:
        """The weights that can be read without their zeros: see `board_rows`."""
        ...

    def need(self, graph: Graph) -> Need:
        """What the net takes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Plans a net as a compile does and counts: weights, persistent data and scratch to the byte; of code and stack,
    which hardly change with the number of channels, only `flash_offset` and `ram_offset`, learned from real builds.
    `whole_bytes` are those of `pack_weights`; None where weights stay plain."""

    board: Board
    precision: Precision
    prices: CostModel | None
    inputs: Mapping[str, Array]
    whole_bytes: int | None = None
    flash_offset: int = 0
    ram_offset: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        """The board's memories."""
        return self.board.nv_bytes, self.board.sram_bytes

    @property
    def packs(self) -> bool:
        """Where they are int8 before, and packed."""
        return self.precision.weight_bits == 8 and self.whole_bytes is not None

    def shifted(self, flash_offset: int, ram_offset: int) -> Estimator:
        """The same with other offsets."""
        return replace(self, flash_offset=flash_offset, ram_offset=ram_offset)

    def rows(self, graph: Graph) -> dict[str, IntArray]:
        """Those that are packed."""
        return board_rows(graph, self._integers(graph)) if self.packs else {}

    def _integers(self, graph: Graph) -> QGraph:
        seen = observe(graph, {name: array[:PROBES] for name, array in self.inputs.items()})
        return quantize(graph, seen, precision=self.precision, method="minmax", groups=fusion_groups(graph))

    def need(self, graph: Graph) -> Need:
        """What the net takes."""
        planned = to_channels_last(self._integers(graph))
        memory = plan_memory(planned, arena_alignment(self.board))
        if self.whole_bytes is not None:
            planned = pack_weights(planned, self.whole_bytes, reachable_bytes(self.board, memory))
        program = lower(planned, memory, board=self.board)
        in_ram = 0 if self.board.activations == "nv" else program.arena_bytes
        costs = [self.prices.predict(e) if self.prices else None for e in events_by_layer(program.layers)]
        known = [cost for cost in costs if cost is not None]
        return Need(
            flash=program.weight_bytes + program.nv_bytes + self.flash_offset,
            ram=program.scratch_bytes + in_ram + self.ram_offset,
            cycles=round(sum(known)) if len(known) == len(costs) else sum(macs_by_value(graph).values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """What is given up: units of channels, and by constant name bits of layers' weights and those that become zero."""

    units: frozenset[int] = frozenset()
    bits: Mapping[str, PackedBits] = field(default_factory=dict)
    kept: Mapping[str, Zeros] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.units or self.bits or self.kept)

    @property
    def layers(self) -> Set[str]:
        """The weights that lose bits, or become zero."""
        return {*self.bits, *self.kept}

    def apply(self, graph: Graph, channels: Channels) -> Graph:
        """The graph without it."""
        for zeros in self.kept.values():
            graph = zeros.apply(graph)
        smaller = remove(graph, channels, self.units) if self.units else graph
        for name, bits in self.bits.items():
            smaller = coarsen(smaller, name, bits)
        return smaller

    def masks(self, before: Mapping[str, Array], channels: Channels) -> dict[str, Array]:
        """Which weights may differ from zero then, of those layers where not all may; `before` says the same of the
        graph as it is. Fewer bits have room for all weights again."""
        masks = {**before, **{name: zeros.mask for name, zeros in self.kept.items()}}
        return cut_masks({name: mask for name, mask in masks.items() if name not in self.bits}, channels, self.units)


def fewer_bits(graph: Graph) -> list[tuple[str, PackedBits]]:
    """Every layer's weights with the next fewer bits: 4, then 2."""
    now = coarse_bits(graph)
    return [(name, 2 if name in now else 4) for name in weight_axes(graph) if now.get(name) != 2]


def floor(graph: Graph, channels: Channels, *, packs: bool) -> Graph:
    """The least net: one channel wherever channels can go and, where it `packs`, the fewest bits."""
    bits: dict[str, PackedBits] = dict.fromkeys(weight_axes(graph), 2) if packs else {}
    return Cuts(units=channels.floor(), bits=bits).apply(graph, channels)


def allocate(
    graph: Graph,
    channels: Channels,
    scores: Mapping[int, float],
    coarse: Mapping[tuple[str, PackedBits], float],
    zeros: Mapping[Zeros, float],
    estimator: Estimates,
    *,
    flash: float,
    ram: float,
    ram_weight: float = 1.0,
) -> Cuts:
    """What to give up until the net is estimated to take at most so many bytes; as far as it goes where it cannot.

    In each step some units of one family go, or bits of one layer's weights, or some of them become zero (`coarse` and
    `zeros` have what that costs): that whose score, for what it saves of what is lacking, is least. Bytes that only
    fall when several families shrink together (two layers that share the peak) are approached by cycles. A share of the
    RAM that is lacking counts as `ram_weight` of the same share of the flash.
    """
    cuts = Cuts()
    now = estimator.need(graph)
    weights = {"flash": 1.0, "ram": ram_weight}
    while True:
        lacking = {"flash": now.flash - flash, "ram": now.ram - ram}
        if max(lacking.values()) <= 0:
            return cuts
        options: list[tuple[float, float, int, Cuts, Need]] = []
        steps = chain(_steps(channels, scores, coarse, cuts), _zero_steps(zeros, cuts, lacking["flash"]))
        for index, (cost, then) in enumerate(steps):
            need = estimator.need(then.apply(graph, channels))
            saved = {"flash": now.flash - need.flash, "ram": now.ram - need.ram}
            benefit = sum(weights[k] * min(1.0, saved[k] / lacking[k]) for k in lacking if lacking[k] > 0)
            cheaper = max(now.cycles - need.cycles, 0) / max(now.cycles, 1)
            worse = need.flash > max(flash, now.flash) or need.ram > max(ram, now.ram)
            if then.layers != cuts.layers and (benefit <= 0 or worse):  # rows to unpack take RAM
                continue
            options.append(
                (cost / benefit if benefit > 0 else float("inf"), cost / (cheaper + 1e-9), index, then, need)
            )
        if not options:
            return cuts
        *_, cuts, now = min(options, key=lambda option: option[:3])


def _steps(
    channels: Channels,
    scores: Mapping[int, float],
    coarse: Mapping[tuple[str, PackedBits], float],
    cuts: Cuts,
) -> Iterator[tuple[float, Cuts]]:
    """What can go next, each with its score."""
    for family in channels.families:
        left = sorted((u for u in family if u not in cuts.units), key=lambda unit: (scores[unit], unit))
        taken = left[: max(1, round(SHARE_AT_ONCE * len(left)))]
        while taken and channels.empties(cuts.units | set(taken)):
            taken = taken[:-1]
        if taken:
            yield sum(scores[u] for u in taken) + 1e-12, replace(cuts, units=cuts.units | set(taken))
    for (name, bits), score in coarse.items():
        if name not in cuts.layers:
            yield score + 1e-12, replace(cuts, bits={**cuts.bits, name: bits})


def _zero_steps(zeros: Mapping[Zeros, float], cuts: Cuts, lacking: float) -> Iterator[tuple[float, Cuts]]:
    """The zeros that cost least for what they save of the bytes of flash that are lacking."""
    if lacking <= 0:
        return
    free = [way for way in zeros if way.name not in cuts.layers]
    free.sort(key=lambda way: zeros[way] / min(way.saved_bytes, lacking))
    for way in free[:ZEROS_AT_ONCE]:
        yield zeros[way] + 1e-12, replace(cuts, kept={**cuts.kept, way.name: way})
