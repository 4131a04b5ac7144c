"""How often an inference writes each granule of non-volatile memory."""

from __future__ import annotations

from collections import Counter
from math import ceil

from freeml.codegen.program import CProgram

RECORDS = 8
"""Records of progress that go around on boards with large granules (firmware/common/fm_progress.c)."""

WORD_BYTES = 8
"""Identity, word of progress and its neighbour, on boards with granules of a word (the same file)."""


def progress_bytes(program: CProgram) -> int:
    """Non-volatile memory that the progress of an inference takes."""
    return WORD_BYTES if program.granule_bytes <= 2 else RECORDS * program.granule_bytes


def writes_per_granule(program: CProgram) -> float:
    """The most writes that any granule takes in one inference, on average where records go around.

    Results and inputs are written once in an inference. On boards whose arena is non-volatile itself, layers write it
    element by element: a granule of two bytes takes two stores of a byte for every layer whose output covers it.
    """
    commits = program.regions + 2  # the input's and the outputs'
    if program.granule_bytes <= 2:
        stores: Counter[int] = Counter()
        for layer in program.layers:
            places = range(layer.value_offset, layer.value_offset + layer.value_bytes, min(2, layer.out.item_bytes))
            stores.update(place // program.granule_bytes for place in places)
        return float(max(commits, *stores.values()))
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
