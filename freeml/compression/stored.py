"""What the integer weights of a layer take with their indices."""

from __future__ import annotations

import numpy as np

from freeml.ir.types import IntArray

LONGEST_GAP = 255
"""Zeros that one byte of a delta index can skip; a longer run takes a further byte for each 255."""


def stored_bytes(values: IntArray) -> int:
    """Bytes of values and index in the cheapest form for these integers: dense, bitmap or delta index.

    An integer takes 1 byte where all lie in -128..127, else 2. A bitmap has one bit for each weight; a delta index one
    byte for each weight that is not zero, how many zeros are before it.
    """
    flat = values.ravel()
    item = 1 if flat.size == 0 or (flat.min() >= -128 and flat.max() <= 127) else 2
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    dense = item * flat.size
    bitmap = -(-flat.size // 8) + item * places.size
    delta = int((item + 1) * places.size + (gaps // LONGEST_GAP).sum())
    return min(dense, bitmap, delta)
