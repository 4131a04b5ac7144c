"""A net without a board: what it takes as float32, and what a search builds instead of a firmware."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from freeml.compression.allocate import Need
from freeml.compression.budget import Budget
from freeml.compression.coarse import NO_ROUNDING, Rounding
from freeml.errors import FreemlError
from freeml.evaluate import float_predictions
from freeml.ir.graph import Graph
from freeml.ir.types import Array, IntArray
from freeml.ops.reshape import Reshape
from freeml.work import macs_by_value

ITEM_BYTES = 4
NO_LIMIT = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleBudget(Budget):
    """Bytes of float32 weights (`flash_bytes`) and of activations at their peak (`ram_bytes`), called as
    `freeml.compress` calls them."""

    FLASH: ClassVar[str] = "budget"
    RAM: ClassVar[str] = "activations"
    DROP: ClassVar[str] = "max_drop"
    EFFORT: ClassVar[str] = "effort"
    SIZES: ClassVar[tuple[str, str]] = ("weights", "activations")

    def __post_init__(self) -> None:
        """Raise FreemlError for what is no budget."""
        Budget.__post_init__(self)
        if self.energy_joules is not None:
            raise FreemlError("energy: expected a board to go with, found none; compile the ONNX file under --energy")

    def words(self) -> str:
        """The limits, for messages."""
        pairs = zip((self.flash_bytes, self.ram_bytes), self.SIZES, strict=True)
        return "of " + " and ".join(f"{size:,} B of {name}" for size, name in pairs if size is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatNet:
    """A float net as what a search builds: it takes what is counted, and answers as it is."""

    graph: Graph
    flash_bytes: int
    ram_bytes: int

    @property
    def energy_joules(self) -> float:
        """There is no board."""
        return 0.0

    def predictions(self, x: Array, threshold: float | None) -> Array:
        """The class of every sample, (n,). The net knows its own decision point."""
        return float_predictions(self.graph, x)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatEstimator:
    """Counts to the byte, so that the offsets stay zero. Costs are multiply-accumulates, which take no energy."""

    flash_offset: int = 0
    ram_offset: int = 0
    joules_per_cycle: float = 0.0

    @property
    def limits(self) -> tuple[int, int]:
        """There is no board."""
        return NO_LIMIT, NO_LIMIT

    @property
    def packs(self) -> bool:
        """Weights are float32."""
        return False

    def shifted(self, flash_offset: int, ram_offset: int, joules_per_cycle: float) -> FloatEstimator:
        """The same with other offsets."""
        return replace(self, flash_offset=flash_offset, ram_offset=ram_offset, joules_per_cycle=joules_per_cycle)

    def rows(self, graph: Graph) -> dict[str, IntArray]:
        """None are read without their zeros."""
        return {}

    def need(self, graph: Graph) -> Need:
        """What the net takes."""
        macs = sum(macs_by_value(graph).values())
        return Need(
            flash=weight_bytes(graph) + self.flash_offset, ram=peak_activation_bytes(graph) + self.ram_offset,
            cycles=macs, macs=macs,
        )  # fmt: skip

    def rounding(self, graph: Graph) -> Rounding:
        """Nothing: the net stays float32."""
        return NO_ROUNDING


def float_net(graph: Graph) -> FloatNet:
    """What a search calls in place of a build."""
    return FloatNet(graph=graph, flash_bytes=weight_bytes(graph), ram_bytes=peak_activation_bytes(graph))


def weight_bytes(graph: Graph) -> int:
    """Bytes of all constants as float32."""
    return ITEM_BYTES * sum(array.size for array in graph.constants.values())


def peak_activation_bytes(graph: Graph) -> int:
    """Most bytes of float32 values of one sample that are alive at once, run node by node in the graph's order.

    A value lives from the stage that makes it to the last one that reads it; outputs to the end. A reshaped value
    shares its source's bytes.
    """
    stages = tuple(graph.stages())
    store: dict[str, str] = {name: name for name in graph.inputs}
    born: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    died: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for step, stage in enumerate(stages):
        for name in stage.inputs:
            if name in store:
                died[store[name]] = step
        for name in stage.outputs:
            shared = isinstance(stage.op, Reshape) and stage.inputs[0] in store
            store[name] = store[stage.inputs[0]] if shared else name
            if not shared:
                born[name] = died[name] = step
    died |= {store[name]: len(stages) for name in graph.outputs}
    return max(
        sum(ITEM_BYTES * graph.types[name].size for name in born if born[name] <= step <= died[name])
        for step in range(len(stages))
    )
