"""How integer weights lie in flash: as they are, or several to a byte. Lossless: what is computed is the same.

Packed weights are numbers of a *book*: 4 bits choose one of 16, 2 bits one of 4. The book is that of the signed numbers
of so many bits, which all layers share, or a layer's own, when its weights take few values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from freeml.ir.types import IntArray

PackedBits = Literal[2, 4]
SIGNED: dict[PackedBits, tuple[int, ...]] = {
    2: (0, 1, -2, -1),
    4: (*range(8), *range(-8, 0)),
}
"""The shared books: two's complement numbers by their bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """int8 weights in `bits` each, numbers of `book` (empty: the signed numbers of so many bits).

    Unpacked to SRAM a row at a time before each use, or, where `whole`, all at once whenever the layer is called.
    """

    bits: PackedBits
    whole: bool
    book: tuple[int, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """What the bits stand for."""
        return self.book or SIGNED[self.bits]

    def row_bytes(self, length: int) -> int:
        """Bytes of so many weights that are unpacked together."""
        return -(-length * self.bits // 8)

    def stored_bytes(self, rows: int, length: int) -> int:
        """Bytes of `rows` rows of `length` weights, with the book."""
        return (self.row_bytes(rows * length) if self.whole else rows * self.row_bytes(length)) + len(self.book)

    def encode(self, weights: IntArray) -> tuple[int, ...]:
        """Bytes of weights (rows, length); the first weight has the lowest bits of the first byte."""
        places = {number: place for place, number in reversed(tuple(enumerate(self.numbers)))}
        lines = weights.reshape(1, -1) if self.whole else weights
        each = 8 // self.bits
        found: list[int] = []
        for line in lines.tolist():
            indices = [places[number] for number in line] + [0] * (-len(line) % each)
            for start in range(0, len(indices), each):
                found.append(sum(index << (self.bits * i) for i, index in enumerate(indices[start : start + each])))
        return tuple(found)

    def decode(self, data: Sequence[int], rows: int, length: int) -> IntArray:
        """Weights (rows, length) of those bytes: `encode` undone."""
        counts = [rows * length] if self.whole else [length] * rows
        mask, found, position = (1 << self.bits) - 1, [], 0
        for count in counts:
            for i in range(count):
                byte = data[position + i * self.bits // 8]
                found.append(self.numbers[byte >> (i * self.bits % 8) & mask])
            position += self.row_bytes(count)
        return np.array(found, dtype=np.int64).reshape(rows, length)


def packings(weights: IntArray, *, whole: bool) -> tuple[Packed, ...]:
    """Every way to pack these weights (any shape)."""
    values = tuple(sorted({int(v) for v in np.unique(weights)}))
    found = []
    for bits, numbers in SIGNED.items():
        if set(values) <= set(numbers):
            found.append(Packed(bits=bits, whole=whole))
        elif len(values) <= len(numbers):
            book = (*values, *(values[-1],) * (len(numbers) - len(values)))
            found.append(Packed(bits=bits, whole=whole, book=book))
    return tuple(found)
