"""How often an inference writes each granule of non-volatile memory."""

from __future__ import annotations

from collections import Counter
from math import ceil

from freeml.codegen.program import CProgram

RECORDS = 8
"""Records of progress that go around on boards with large granules (firmware/common/fm_progress.c)."""


def writes_per_granule(program: CProgram) -> float:
    """The most writes that any granule takes in one inference, on average where records go around.

    On boards whose arena is non-volatile itself, layers write it element by element; there it is the word of progress
    that is written most, once for every commit, unless an element is written more often: never, by more than one layer
    at a time.
    """
    commits = program.regions + 2  # the input's and the outputs'
    if program.granule_bytes <= 2:
        values = Counter(
            place
            for layer in program.layers
            for place in range(layer.value_offset, layer.value_offset + layer.value_bytes)
        )
        return float(max(commits, *(values.values() or (0,))))
    granules: Counter[int] = Counter()
    for layer in program.layers:
        split = layer.split
        for first in range(0, split.units, split.per_region):
            start, end = layer.written(first, min(first + split.per_region, split.units))
            granules.update(range(start // program.granule_bytes, ceil(end / program.granule_bytes)))
    for tensor in program.inputs:
        start = tensor.offset // program.granule_bytes
        granules.update(range(start, start + program.span_bytes(tensor) // program.granule_bytes))
    return max(commits / RECORDS, *granules.values())
