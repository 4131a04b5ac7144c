"""How integer weights lie in flash: as they are, several to a byte, or without their zeros. Lossless: what is computed
is the same.

Packed weights are numbers of a *book*: 4 bits choose one of 16, 2 bits one of 4. The book is that of the signed numbers
of so many bits, which all layers share, or a layer's own, when its weights take few values. Sparse weights are read
where they lie, without their zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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

    def stored_bytes(self, weights: IntArray) -> int:
        """Bytes of weights (rows, length), with the book."""
        rows, length = weights.shape
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


SparseKind = Literal["delta", "bitmap"]
FARTHEST = 255
"""Zeros that an entry of a delta row may skip at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """int8 weights without their zeros.

    `delta`: entries of two bytes, how many zeros to skip and the weight behind them; where more than 255 zeros follow
    one another, entries of weight 0 bridge them. `bitmap`: a bit for each weight, the lowest of a byte first, a row
    beginning with a byte, and behind those of all rows the weights that are not zero. In both, a table of row ends
    tells the rows' entries (or weights) apart. `entries` are those of all rows.
    """

    kind: SparseKind
    entries: int

    def row_bytes(self, length: int) -> int:
        """Bytes of a row's bits."""
        return -(-length // 8)

    def stored_bytes(self, weights: IntArray) -> int:
        """Bytes of weights (rows, length), with the table of row ends."""
        ends = 2 * (len(weights) + 1)
        if self.kind == "delta":
            return 2 * self.entries + ends
        return len(weights) * self.row_bytes(weights.shape[1]) + self.entries + ends

    def encode(self, weights: IntArray) -> tuple[int, ...]:
        """Bytes of weights (rows, length)."""
        if self.kind == "delta":
            return tuple(byte for row in weights for skip, weight in _delta(row) for byte in (skip, weight & 0xFF))
        bits = np.packbits(weights != 0, axis=1, bitorder="little").ravel().tolist()
        return (*bits, *(int(weight) & 0xFF for weight in weights[weights != 0]))

    def ends(self, weights: IntArray) -> tuple[int, ...]:
        """Where each row's entries begin, and the last's end."""
        counts = [len(_delta(row)) if self.kind == "delta" else int(np.count_nonzero(row)) for row in weights]
        return (0, *np.cumsum(counts).tolist())

    def decode(self, data: Sequence[int], ends: Sequence[int], rows: int, length: int) -> IntArray:
        """Weights (rows, length) of those bytes: `encode` undone."""
        found = np.zeros((rows, length), dtype=np.int64)
        for row, (start, stop) in enumerate(pairwise(ends)):
            if self.kind == "delta":
                place = -1
                for entry in range(start, stop):
                    place += 1 + data[2 * entry]
                    found[row, place] = _signed(data[2 * entry + 1])
                continue
            bits = [data[row * self.row_bytes(length) + i // 8] >> (i % 8) & 1 for i in range(length)]
            values = data[rows * self.row_bytes(length) + start : rows * self.row_bytes(length) + stop]
            found[row, np.flatnonzero(bits)] = [_signed(value) for value in values]
        return found


def _signed(byte: int) -> int:
    return (byte ^ 0x80) - 0x80


def _delta(row: IntArray) -> list[tuple[int, int]]:
    """Zeros to skip and the weight behind them, for every weight of a row that is not zero."""
    found, place = [], 0
    for index in np.flatnonzero(row).tolist():
        while index - place > FARTHEST:
            found.append((FARTHEST, 0))
            place += FARTHEST + 1
        found.append((index - place, int(row[index])))
        place = index + 1
    return found


Storage = Packed | Sparse


def form_name(form: Storage) -> str:
    """What a form is called in tables."""
    if isinstance(form, Sparse):
        return form.kind
    return f"{form.bits} bits{' with a book' if form.book else ''}{', unpacked at once' if form.whole else ''}"


def sparse_forms(weights: IntArray) -> tuple[Sparse, ...]:
    """Every way to leave out the zeros of weights (rows, length). No array of C is empty, so something must be left."""
    entries = sum(len(_delta(row)) for row in weights)
    if entries == 0:
        return ()
    return Sparse(kind="delta", entries=entries), Sparse(kind="bitmap", entries=int(np.count_nonzero(weights)))


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
