"""Firmware images: what an ELF file loads, where it starts, and what its symbols are called."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from freeml.errors import FreemlError
from freeml.targets import BOARDS, Board


class ImageError(FreemlError):
    """A file is not the ELF firmware that was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bytes that lie at `address` once the board is flashed (the load address, not the run-time one)."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of the code, [start, end) in byte addresses."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A linked firmware.

    `functions` are in ascending order of address and do not overlap; `symbols` are the byte addresses of functions and
    variables (a Thumb function's without its lowest bit).
    """

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    functions: tuple[Function, ...]
    symbols: dict[str, int]

    def symbol(self, name: str) -> int:
        """Address of a symbol. Raises ImageError."""
        if name not in self.symbols:
            raise ImageError(f"{self.path}: expected the symbol {name}, found none; build the folder anew")
        return self.symbols[name]

    def function_at(self, address: int) -> str | None:
        """Name of the function whose code holds `address`."""
        index = bisect_right(self.functions, address, key=lambda function: function.start) - 1
        if index < 0 or address >= self.functions[index].end:
            return None
        return self.functions[index].name


def read_image(path: Path, board: Board) -> Image:
    """Read an ELF file for `board`. Raises ImageError for anything else: another board's, truncated, not linked."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            elf = ELFFile(file)
            machine = elf["e_machine"]
            if machine != board.elf_machine:
                other = next((b.title for b in BOARDS.values() if b.elf_machine == machine), machine)
                raise ImageError(f"{path}: expected an image for {board.title}, found one for {other}")
            if elf["e_type"] != "ET_EXEC":
                raise ImageError(f"{path}: expected a linked image, found type {elf['e_type']}")
            segments = []
            for header in elf.iter_segments("PT_LOAD"):
                if header["p_offset"] + header["p_filesz"] > size:
                    raise ImageError(
                        f"{path}: truncated: a segment ends at byte {header['p_offset'] + header['p_filesz']:,} of a "
                        f"file of {size:,}; build the folder anew"
                    )
                if header["p_filesz"]:
                    segments.append(Segment(address=header["p_paddr"], data=header.data()))
            thumb = ~1 if board.elf_machine == "EM_ARM" else ~0
            functions, symbols = _symbols(elf, path, thumb)
            entry = elf["e_entry"] & thumb
    except (ELFError, KeyError, ValueError, AssertionError, UnicodeDecodeError) as error:
        raise ImageError(f"{path}: expected an ELF image for {board.title}, found something else ({error})") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}; run freeml build first") from error
    for segment in segments:
        _require_inside(path, board, segment)
    return Image(path=path, entry=entry, segments=tuple(segments), functions=functions, symbols=symbols)


def _symbols(elf: object, path: Path, thumb: int) -> tuple[tuple[Function, ...], dict[str, int]]:
    table = elf.get_section_by_name(".symtab")  # type: ignore[attr-defined]
    if table is None:
        raise ImageError(f"{path}: expected a symbol table, found none; build the folder anew instead of stripping it")
    found: dict[int, Function] = {}
    symbols: dict[str, int] = {}
    for symbol in table.iter_symbols():
        kind, name, section = symbol["st_info"]["type"], symbol.name, symbol["st_shndx"]
        if not name or section == "SHN_UNDEF" or kind in ("STT_FILE", "STT_SECTION") or name[0] == "$":
            continue
        is_function = kind == "STT_FUNC"
        address = symbol["st_value"] & (thumb if is_function else ~0)
        symbols.setdefault(name, address)
        if is_function and symbol["st_size"] and address not in found:
            found[address] = Function(name=name, start=address, end=address + symbol["st_size"])
    ordered = sorted(found.values(), key=lambda function: function.start)
    clipped = [
        Function(name=f.name, start=f.start, end=min(f.end, following.start) if following else f.end)
        for f, following in zip(ordered, [*ordered[1:], None], strict=True)
    ]
    return tuple(clipped), symbols


def _require_inside(path: Path, board: Board, segment: Segment) -> None:
    end = segment.address + len(segment.data)
    if not any(m.kind == "nv" and m.start <= segment.address and end <= m.end for m in board.memories):
        raise ImageError(
            f"{path}: a segment of {len(segment.data):,} bytes at {segment.address:#x} lies outside the non-volatile "
            f"memory of {board.title}; was it linked with {board.linker_script}?"
        )
