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

from freeml.ir.types import Array, IntArray

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


SparseKind = Literal["delta", "bitmap", "block"]
FARTHEST = 255
"""Zeros that an entry of a delta row may skip at most."""

BLOCK = 4
"""Consecutive weights of a row that are kept or left out together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse:
    """int8 weights without their zeros.

    `delta`: entries of two bytes, how many zeros to skip and the weight behind them; where more than 255 zeros follow
    one another, entries of weight 0 bridge them. `bitmap`: a bit for each weight, the lowest of a byte first, a row
    beginning with a byte, and behind those of all rows the weights that are not zero. `block`: a row is a byte of bits
    for every eight blocks of four weights, the lowest for the first, and behind it those of these blocks in which
    something is not zero, whole; at its end the weights that fill no block. In all, a table of row ends tells the rows'
    entries (or weights, or bytes) apart. `entries` are those of all rows: skips, weights or blocks.
    """

    kind: SparseKind
    entries: int

    def row_bytes(self, length: int) -> int:
        """Bytes of a row's bits."""
        return -(-(length // BLOCK if self.kind == "block" else length) // 8)

    def stored_bytes(self, weights: IntArray) -> int:
        """Bytes of weights (rows, length), with the table of row ends."""
        ends = 2 * (len(weights) + 1)
        if self.kind == "delta":
            return 2 * self.entries + ends
        rows = len(weights)
        length: int = weights.shape[1]
        if self.kind == "block":
            return rows * (self.row_bytes(length) + length % BLOCK) + BLOCK * self.entries + ends
        return rows * self.row_bytes(length) + self.entries + ends

    def encode(self, weights: IntArray) -> tuple[int, ...]:
        """Bytes of weights (rows, length)."""
        if self.kind == "delta":
            return tuple(byte for row in weights for skip, weight in _delta(row) for byte in (skip, weight & 0xFF))
        if self.kind == "block":
            data, there = _blocks(weights)
            return tuple((data[there] & 0xFF).tolist())
        bits = np.packbits(weights != 0, axis=1, bitorder="little").ravel().tolist()
        return (*bits, *(int(weight) & 0xFF for weight in weights[weights != 0]))

    def ends(self, weights: IntArray) -> tuple[int, ...]:
        """Where each row's entries begin, and the last's end."""
        if self.kind == "block":
            return (0, *np.cumsum(_blocks(weights)[1].sum(axis=1)).tolist())
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
            if self.kind == "block":
                found[row] = _block_row(data[start:stop], length)
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


def _blocks(weights: IntArray) -> tuple[IntArray, Array]:
    """Rows of the block form as if every block were kept (int64), and what is there of them (bool); (rows, bytes)."""
    rows, length = weights.shape
    whole, rest = length // BLOCK * BLOCK, length % BLOCK
    padded = np.zeros((rows, -(-whole // (8 * BLOCK)), 8, BLOCK), dtype=np.int64)
    padded.reshape(rows, -1)[:, :whole] = weights[:, :whole]
    kept = padded.any(axis=3)
    bits = np.packbits(kept, axis=2, bitorder="little")
    data = np.concatenate((bits, padded.reshape(*padded.shape[:2], -1)), axis=2).reshape(rows, -1)
    there = np.concatenate((np.ones_like(bits, dtype=bool), np.repeat(kept, BLOCK, axis=2)), axis=2).reshape(rows, -1)
    end = np.ones((rows, rest), dtype=bool)
    return np.concatenate((data, weights[:, whole:]), axis=1), np.concatenate((there, end), axis=1)


def _block_row(data: Sequence[int], length: int) -> list[int]:
    """The weights of a row of the block form."""
    found: list[int] = []
    position = 0
    for block in range(length // BLOCK):
        if block % 8 == 0:
            bits, position = data[position], position + 1
        kept = bits >> (block % 8) & 1
        found += [_signed(byte) for byte in data[position : position + BLOCK]] if kept else [0] * BLOCK
        position += BLOCK * kept
    return found + [_signed(byte) for byte in data[position:]]


Storage = Packed | Sparse


def form_name(form: Storage) -> str:
    """What a form is called in tables."""
    if isinstance(form, Sparse):
        return form.kind
    return f"{form.bits} bits{' with a book' if form.book else ''}{', unpacked at once' if form.whole else ''}"


def sparse_forms(weights: IntArray) -> tuple[Sparse, ...]:
    """Every way to leave out the zeros of weights (rows, length). No array of C is empty, so something must be left."""
    rows, columns = np.nonzero(weights)
    if len(rows) == 0:
        return ()
    first = np.append(True, rows[1:] != rows[:-1])
    skipped = np.where(first, columns, np.diff(columns, prepend=0) - 1)
    found = (
        Sparse(kind="delta", entries=int((1 + skipped // (FARTHEST + 1)).sum())),
        Sparse(kind="bitmap", entries=len(rows)),
    )
    length = weights.shape[1] // BLOCK * BLOCK
    if length == 0:
        return found
    blocks = weights[:, :length].reshape(len(weights), -1, BLOCK).any(axis=2)
    return *found, Sparse(kind="block", entries=int(np.count_nonzero(blocks)))


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
