"""Images as programmers take them: Intel HEX, TI-TXT, plain bytes.

All hold the bytes that lie in memory once the board is flashed, and nothing else. Blocks are (address, bytes), in any
order, and do not overlap.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from freeml.targets import ImageFormat

Block: TypeAlias = tuple[int, bytes]

LINE_BYTES = 16
FILL = 0xFF
"""What gaps of a plain image hold: the erased state of most programmable memory."""


def intel_hex(blocks: Sequence[Block]) -> bytes:
    """Records of 16 bytes; addresses above 0xFFFF through extended linear addresses (type 04)."""
    from intelhex import IntelHex

    image = IntelHex()
    for address, data in blocks:
        image.puts(address, data)
    text = io.StringIO()
    image.write_hex_file(text, byte_count=LINE_BYTES)
    return text.getvalue().encode("ascii")


def ti_txt(blocks: Sequence[Block]) -> bytes:
    """TI's text format (SLAU101, section A.2): `@address`, lines of 16 bytes apart from a section's last, `q`.

    The source asks for even addresses, which is the linker script's business.
    """
    lines = []
    for address, data in sorted(blocks):
        lines.append(f"@{address:04X}")
        lines += [data[start : start + LINE_BYTES].hex(" ").upper() for start in range(0, len(data), LINE_BYTES)]
    return ("\n".join([*lines, "q"]) + "\n").encode("ascii")


def plain(blocks: Sequence[Block]) -> bytes:
    """Bytes from the lowest address to the highest; the file does not tell the lowest."""
    start = min(address for address, _ in blocks)
    image = bytearray([FILL]) * (max(address + len(data) for address, data in blocks) - start)
    for address, data in blocks:
        image[address - start : address - start + len(data)] = data
    return bytes(image)


WRITERS: Mapping[ImageFormat, tuple[str, Callable[[Sequence[Block]], bytes]]] = {
    "hex": (".hex", intel_hex),
    "ti-txt": (".txt", ti_txt),
    "bin": (".bin", plain),
}
"""Suffix and writer of every format."""


def write_images(blocks: Sequence[Block], elf: Path, formats: Sequence[ImageFormat]) -> dict[ImageFormat, Path]:
    """Write an image in several formats beside its ELF file, under the same name. Raises OSError."""
    paths: dict[ImageFormat, Path] = {}
    for kind in formats:
        suffix, writer = WRITERS[kind]
        paths[kind] = elf.with_suffix(suffix)
        paths[kind].write_bytes(writer(blocks))
    return paths
