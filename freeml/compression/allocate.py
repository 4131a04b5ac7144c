"""What to give up for a budget, channels, bits or weights: the least score for what is lacking, all layers at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf
from typing import Protocol

from freeml.arranging import LAYER_BYTES, arrange, arrange_again
from freeml.codegen.lower import lower
from freeml.compression.channels import Channels, remove
from freeml.compression.coarse import Rounding, coarse_bits, coarsen, weight_axes, with_all_bits
from freeml.compression.pruning import Zeros, board_rows, cut_masks
from freeml.intermittent import Granularity, predicted_cycles
from freeml.ir.graph import Graph, QGraph
from freeml.ir.types import Array, IntArray
from freeml.ops.storage import PackedBits
from freeml.passes.fuse import fusion_groups
from freeml.plan.cost import CostModel
from freeml.plan.storage import pack_weights, reachable_bytes
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.regions.supply import Supply
from freeml.targets import Board
from freeml.work import macs_by_value, work_by_value

SHARE_AT_ONCE = 0.08
"""Share of a family's units that are removed in one step."""

FOLLOWS = 0.52
"""The part of the share of multiply-accumulates removed that must be saved of the cycles, too, before fewer bits may
cost any: half, and a little for what predictions of a whole net are off by."""

ZEROS_AT_ONCE = 2
"""Ways to set weights to zero that are planned in one step: the best by what they are expected to save."""

PROBES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a net takes: bytes of flash (image and persistent data), bytes of RAM, and of an inference the cycles,
    multiply-accumulates and joules. Without a board cycles are multiply-accumulates, and joules 0."""

    flash: int
    ram: int
    cycles: int
    macs: int = 0
    joules: float = 0.0


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
    def joules_per_cycle(self) -> float:
        """What a cycle takes, accesses to memory included; 0 before the first build."""
        ...

    @property
    def limits(self) -> tuple[int, int]:
        """Bytes of flash and of RAM that there are, whatever a budget says."""
        ...

    @property
    def packs(self) -> bool:
        """Whether weights of fewer bits take fewer bytes."""
        ...

    def shifted(self, flash_offset: int, ram_offset: int, joules_per_cycle: float) -> Estimates:
        """The same with other offsets."""
        ...

    def rows(self, graph: Graph) -> Mapping[str, IntArray]:
        """The weights that can be read without their zeros: see `board_rows`."""
        ...

    def need(self, graph: Graph) -> Need:
        """What the net takes."""
        ...

    def rounding(self, graph: Graph) -> Rounding:
        """What of the net will be rounded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """Plans a net as a compile does and counts: weights, persistent data and scratch to the byte; of code and stack,
    which hardly change with the number of channels, only `flash_offset` and `ram_offset`, learned from real builds, as
    `joules_per_cycle` is. Cycles are those of the net as `supply` and `regions` have it cut, commits included.
    `whole_bytes` are those of `pack_weights`; None where weights stay plain. With `again` layers may run twice, as
    `arrange_again` has it."""

    board: Board
    precision: Precision
    prices: CostModel | None
    inputs: Mapping[str, Array]
    whole_bytes: int | None = None
    again: bool = False
    flash_is_short: bool = True
    flash_offset: int = 0
    ram_offset: int = 0
    joules_per_cycle: float = 0.0
    supply: Supply = field(default_factory=Supply)
    regions: Granularity = "budget"

    @property
    def limits(self) -> tuple[int, int]:
        """The board's memories."""
        return self.board.nv_bytes, self.board.sram_bytes

    @property
    def packs(self) -> bool:
        """Where they are int8 before, and packed."""
        return self.precision.weight_bits == 8 and self.whole_bytes is not None

    def shifted(self, flash_offset: int, ram_offset: int, joules_per_cycle: float) -> Estimator:
        """The same with other offsets."""
        return replace(self, flash_offset=flash_offset, ram_offset=ram_offset, joules_per_cycle=joules_per_cycle)

    def rows(self, graph: Graph) -> dict[str, IntArray]:
        """Those that are packed."""
        return board_rows(graph, self._integers(graph)) if self.packs else {}

    def _integers(self, graph: Graph) -> QGraph:
        seen = observe(graph, {name: array[:PROBES] for name, array in self.inputs.items()})
        return quantize(graph, seen, precision=self.precision, method="minmax", groups=fusion_groups(graph))

    def need(self, graph: Graph) -> Need:
        """What the net takes."""
        found = arrange(self._integers(graph), self.board)
        if self.again:
            found = arrange_again(found, self.board, self.prices, flash_is_short=self.flash_is_short)
        planned, memory = found.graph, found.memory
        if self.whole_bytes is not None:
            planned = pack_weights(planned, self.whole_bytes, reachable_bytes(self.board, memory))
        program = lower(planned, memory, board=self.board)
        in_ram = 0 if self.board.activations == "nv" else program.arena_bytes
        cycles = predicted_cycles(
            program, board=self.board, prices=self.prices, work=work_by_value(graph, planned), supply=self.supply,
            granularity=self.regions,
        )  # fmt: skip
        return Need(
            flash=program.weight_bytes + program.nv_bytes + LAYER_BYTES * len(found.again) + self.flash_offset,
            ram=program.scratch_bytes + in_ram + self.ram_offset,
            cycles=round(cycles),
            macs=sum(macs_by_value(graph).values()),
            joules=cycles * self.joules_per_cycle,
        )

    def rounding(self, graph: Graph) -> Rounding:
        """What will have 8 bits: rounding to 16 is not worth training for."""
        seen, groups = observe(graph, self.inputs), fusion_groups(graph)
        found = quantize(graph, seen, precision=self.precision, method="mse", groups=groups)
        values = {name: type_ for name, type_ in found.types.items() if name in graph.types and type_.dtype == "int8"}
        return Rounding(values=values, weights=self.precision.weight_bits == 8)


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
    energy: float = inf,
    ram_weight: float = 1.0,
    start: Need | None = None,
) -> Cuts:
    """What to give up until the net is estimated to take at most so many bytes, and an inference so many joules; as far
    as it goes where it cannot.

    In each step some units of one family go, or bits of one layer's weights, or some of them become zero (`coarse` and
    `zeros` have what that costs): that whose score, for what it saves of what is lacking, is least. Bytes that only
    fall when several families shrink together (two layers that share the peak) are approached by cycles. A share of the
    RAM that is lacking counts as `ram_weight` of the same share of the flash.

    Unpacking takes time, and so does finding weights that are not zero. Where it is given what the net took at the
    `start` of the search, bits and zeros that would leave the net slower than `follows` allows go only where no channel
    can.
    """
    cuts = Cuts()
    now = estimator.need(graph)
    weights = {"flash": 1.0, "ram": ram_weight, "energy": 1.0}
    while True:
        lacking = {"flash": now.flash - flash, "ram": now.ram - ram, "energy": now.joules - energy}
        if max(lacking.values()) <= 0:
            return cuts
        options: list[tuple[bool, float, float, int, Cuts, Need]] = []
        steps = chain(_steps(channels, scores, coarse, cuts), _zero_steps(zeros, cuts, lacking["flash"]))
        for index, (cost, then) in enumerate(steps):
            need = estimator.need(then.apply(graph, channels))
            saved = {"flash": now.flash - need.flash, "ram": now.ram - need.ram, "energy": now.joules - need.joules}
            benefit = sum(weights[k] * min(1.0, saved[k] / lacking[k]) for k in lacking if lacking[k] > 0)
            cheaper = max(now.cycles - need.cycles, 0) / max(now.cycles, 1)
            worse = need.flash > max(flash, now.flash) or need.ram > max(ram, now.ram)
            worse = worse or need.joules > max(energy, now.joules)
            if then.layers != cuts.layers and (benefit <= 0 or worse):  # rows to unpack take RAM, and time
                continue
            slow = then.layers != cuts.layers and start is not None and not follows(need, start)
            ratio = cost / benefit if benefit > 0 else inf
            options.append((slow, ratio, cost / (cheaper + 1e-9), index, then, need))
        if not options:
            return cuts
        *_, cuts, now = min(options, key=lambda option: option[:4])


def follows(need: Need, start: Need) -> bool:
    """Whether cycles have fallen in proportion to the multiply-accumulates removed, by `FOLLOWS` of it."""
    return need.cycles <= start.cycles * (1 - FOLLOWS * (1 - need.macs / max(1, start.macs)))


def quicker(graph: Graph, estimator: Estimates, start: Need) -> Graph:
    """The graph with all their bits again for layers that are slow to unpack, those first that save most time, until
    time follows; as far as that goes."""
    now = estimator.need(graph)
    while not follows(now, start):
        options = []
        for name in coarse_bits(graph):
            then = with_all_bits(graph, name)
            options.append((estimator.need(then), name, then))
        if not options:
            return graph
        need, _, then = min(options, key=lambda option: (option[0].cycles, option[1]))
        if need.cycles >= now.cycles:
            return graph
        graph, now = then, need
    return graph


def refined(graph: Graph, spare_bytes: float) -> Graph:
    """The graph with more bits for weights that had to give up bits, as far as so many bytes of flash go: those layers
    first that take most. What fewer bits save comes in large pieces, so that it may be more than was lacking."""
    for name, bits in sorted(coarse_bits(graph).items(), key=lambda item: -graph.constants[item[0]].size):
        size = graph.constants[name].size
        if (whole := size * (8 - bits) / 8) <= spare_bytes:
            spare_bytes -= whole
            graph = with_all_bits(graph, name)
        elif bits == 2 and size / 4 <= spare_bytes:
            spare_bytes -= size / 4
            graph = coarsen(graph, name, 4)
    return graph


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
