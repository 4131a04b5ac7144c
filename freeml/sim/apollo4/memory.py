"""Non-volatile memory as differences from what was flashed, so that a snapshot holds the pages that changed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

from freeml.sim.apollo4.state import GRANULE_BYTES, PAGE_BYTES

_ERASED = b"\xff" * PAGE_BYTES
"""What a page outside the image holds on a new board; nothing may rely on it."""


class Mram:
    """The bytes at `buffer`, in pages of 4 KB.

    `dirty` has a byte per page, set by whoever changes the buffer from outside; `forget_code(offset, size)` is told
    which bytes change here.
    """

    def __init__(
        self,
        buffer: ctypes.Array[ctypes.c_uint8],
        dirty: ctypes.Array[ctypes.c_uint8],
        forget_code: Callable[[int, int], None],
        image: Mapping[int, bytes],
    ) -> None:
        """`image` has the flashed bytes by offset; `restore({})` goes back to them."""
        self._view = memoryview(buffer).cast("B")
        self._dirty = memoryview(dirty).cast("B")
        self._forget_code = forget_code
        self._changed: dict[int, bytes] = {}
        for offset in range(0, len(self._view), PAGE_BYTES):
            self._view[offset : offset + PAGE_BYTES] = _ERASED
        for offset, data in image.items():
            self._view[offset : offset + len(data)] = data
        self._flashed = bytes(self._view)

    def write(self, offset: int, data: bytes) -> None:
        """As a debugger would."""
        self._view[offset : offset + len(data)] = data
        for page in range(offset // PAGE_BYTES, (offset + len(data) + PAGE_BYTES - 1) // PAGE_BYTES):
            self._dirty[page] = 1
        self._forget_code(offset, len(data))

    def save(self) -> dict[int, bytes]:
        """The pages that differ from what was flashed."""
        flags = bytes(self._dirty)
        page = flags.find(1)
        while page >= 0:
            self._changed.pop(page, None)
            data = bytes(self._view[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])
            if data != self._original(page):
                self._changed[page] = data
            self._dirty[page] = 0
            page = flags.find(1, page + 1)
        return dict(self._changed)

    def restore(self, pages: Mapping[int, bytes]) -> None:
        """Go back to what `save` returned."""
        present = self.save()
        for page in present.keys() | pages.keys():
            old, new = present.get(page), pages.get(page)
            if old is not new:
                self._replace(page, old or self._original(page), new or self._original(page))
        self._changed = dict(pages)

    def _replace(self, page: int, old: bytes, new: bytes) -> None:
        """Only what differs: code that shares a page with data stays translated."""
        for start in range(0, PAGE_BYTES, GRANULE_BYTES):
            end = start + GRANULE_BYTES
            if old[start:end] != new[start:end]:
                offset = page * PAGE_BYTES + start
                self._view[offset : offset + GRANULE_BYTES] = new[start:end]
                self._forget_code(offset, GRANULE_BYTES)

    def _original(self, page: int) -> bytes:
        return self._flashed[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]
