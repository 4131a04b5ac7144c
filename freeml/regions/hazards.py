"""The proof that a region may run again: it reads nothing that it writes (no write-after-read hazard).

Every region of the program is checked, on the arena's bytes: what it reads are the whole inputs of its layer, what it
writes are its units' output. Where a region's output is copied to non-volatile memory, the copy's granules must not
reach what an earlier region committed either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from freeml.codegen.program import CProgram
from freeml.errors import FreemlError
from freeml.ir.graph import QGraph
from freeml.plan.memory import MemoryPlan, is_view


class HazardError(FreemlError):
    """A region that would not give the same result when it runs again: a fault of the planner."""


@dataclass(frozen=True, slots=True)
class Access:
    """A region's accesses in the arena as [start, end) in bytes; `kept` is what is written of its copy."""

    layer: str
    region: int
    reads: tuple[tuple[int, int], ...]
    writes: tuple[int, int]
    kept: tuple[int, int]


def accesses(graph: QGraph, memory: MemoryPlan, program: CProgram) -> Iterator[Access]:
    """Of every region, in order."""
    nodes = {node.outputs[0]: node for node in graph.nodes if not is_view(node.op)}
    for layer in program.layers:
        split = layer.split
        reads = tuple(
            (memory.offset(value), memory.offset(value) + graph.types[value].size_bytes)
            for value in graph.activations(nodes[layer.value])
        )
        for region, first in enumerate(range(0, split.units, split.per_region)):
            start, end = layer.written(first, min(first + split.per_region, split.units))
            granule = program.granule_bytes if program.mirrored else 1
            kept = (start // granule * granule, -(-end // granule) * granule)
            yield Access(layer.name, region, reads, (start, end), kept)


def prove(graph: QGraph, memory: MemoryPlan, program: CProgram) -> int:
    """Regions proved free of write-after-read. Raises HazardError."""
    found = tuple(accesses(graph, memory, program))
    for access in found:
        for read in access.reads:
            _apart(access, read, access.writes, "reads")
            _apart(access, read, access.kept, "reads")
    _check_cover(found, program)
    return len(found)


def _apart(access: Access, one: tuple[int, int], other: tuple[int, int], what: str) -> None:
    if one[0] < other[1] and other[0] < one[1]:
        raise HazardError(
            f"layer {access.layer}, region {access.region}: expected that it writes nothing it {what}, found bytes "
            f"{one[0]}..{one[1]} {what.rstrip('s')} and {other[0]}..{other[1]} written"
        )


def _check_cover(found: Sequence[Access], program: CProgram) -> None:
    """The regions of a layer write its whole output, each byte once, and granules of the copy once."""
    for layer in program.layers:
        split = layer.split
        elements = split.lead + split.units * split.elements + split.tail
        if split.units > 1 and elements != layer.out.type.size:
            raise HazardError(
                f"layer {layer.name}: expected {layer.out.type.size} elements in its units, found {elements}"
            )
        position = layer.value_offset
        kept = layer.value_offset
        for access in (a for a in found if a.layer == layer.name):
            if access.writes[0] != position or access.kept[0] < kept:
                raise HazardError(
                    f"layer {layer.name}, region {access.region}: expected to write from byte {position} on, found "
                    f"{access.writes[0]}, in granules from {access.kept[0]} on"
                )
            position, kept = access.writes[1], access.kept[1]
        if position != layer.value_offset + layer.value_bytes:
            raise HazardError(f"layer {layer.name}: expected that its regions write all of its output, found a rest")
