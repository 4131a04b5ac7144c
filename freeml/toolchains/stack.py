"""An estimate of the deepest stack, from what compilers say of each frame and from the relocations between functions.

Every function has a section of its own, so the relocations of a section name what its code calls or whose address it
takes. Data that holds addresses (tables of functions) is followed in the same way. The estimate is the heaviest path
from the reset entry. It is an estimate because functions of a compiler's own library have no frame size and count as
zero, and because an address that is taken counts as a call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from freeml.errors import ToolchainError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

ENTRY = "_start"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEstimate:
    """The heaviest chain of calls."""

    size_bytes: int
    path: tuple[tuple[str, int], ...]
    """Functions from the entry down, each with its own frame in bytes, return address included."""


class _Section(NamedTuple):
    """A section of one object file: the node of the call graph."""

    file_number: int
    section_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    name: str
    frame_bytes: int
    is_code: bool
    references: tuple[int | str, ...]
    """A section of the same file, or the name of a global symbol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """One object file: its sections, and which of them others know by name."""

    nodes: Mapping[int, _Node]
    exported: Mapping[str, int]


def estimate_stack(objects: Sequence[Path], return_address_bytes: int, entry: str = ENTRY) -> StackEstimate:
    """The heaviest path from `entry` through the object files of one program.

    Raises ToolchainError when no object defines `entry` or one cannot be read.
    """
    nodes: dict[_Section, _Node] = {}
    exported: dict[str, _Section] = {}
    for number, path in enumerate(objects):
        found = _read_object(path)
        nodes.update({_Section(number, index): node for index, node in found.nodes.items()})
        exported.update({name: _Section(number, index) for name, index in found.exported.items()})
    start = exported.get(entry)
    if start is None:
        raise ToolchainError(
            f"no object file defines the entry {entry!r}: is the board's startup file among the sources?"
        )
    return _heaviest(start, nodes, exported, return_address_bytes)


def _heaviest(
    start: _Section, nodes: Mapping[_Section, _Node], exported: Mapping[str, _Section], return_address_bytes: int
) -> StackEstimate:
    """Depth-first with each node's result kept. A cycle is cut where it closes: freeml's C does not recurse."""
    best: dict[_Section, StackEstimate] = {}
    open_nodes: set[_Section] = set()

    def visit(section: _Section) -> StackEstimate:
        if section in best:
            return best[section]
        node = nodes[section]
        open_nodes.add(section)
        below = StackEstimate(size_bytes=0, path=())
        for reference in node.references:
            if isinstance(reference, str):
                callee = exported.get(reference)
            else:
                callee = _Section(section.file_number, reference)
            if callee is None or callee not in nodes or callee in open_nodes:
                continue
            candidate = visit(callee)
            if candidate.size_bytes > below.size_bytes:
                below = candidate
        open_nodes.remove(section)
        own = node.frame_bytes + return_address_bytes if node.is_code else 0
        path = ((node.name, own), *below.path) if node.is_code else below.path
        best[section] = StackEstimate(size_bytes=own + below.size_bytes, path=path)
        return best[section]

    return visit(start)


def _read_object(path: Path) -> _Object:
    """One object file's sections."""
    from elftools.common.exceptions import ELFError

    listing = path.with_suffix(".su")
    try:
        return _read_elf(path.read_bytes(), listing.read_text() if listing.is_file() else "")
    except (OSError, ELFError) as error:
        raise ToolchainError(f"cannot read the object file {path}: {error}") from error


@lru_cache(maxsize=64)
def _read_elf(content: bytes, listing: str) -> _Object:
    """The same from its bytes: most objects of a build are those of the build before."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.relocation import RelocationSection
    from elftools.elf.sections import SymbolTableSection

    elf = ELFFile(BytesIO(content))
    sections = tuple(elf.iter_sections())
    symbols = next((s for s in sections if isinstance(s, SymbolTableSection)), None)
    if symbols is None:
        return _Object(nodes={}, exported={})
    places: list[int | str | None] = []
    exported: dict[str, int] = {}
    functions: dict[int, str] = {}
    for symbol in symbols.iter_symbols():
        section = symbol["st_shndx"]
        if not isinstance(section, int):
            places.append(symbol.name if section == "SHN_UNDEF" and symbol.name else None)
            continue
        places.append(section)
        if symbol["st_info"]["type"] == "STT_FUNC":
            functions[section] = symbol.name
        if symbol["st_info"]["bind"] != "STB_LOCAL":
            exported[symbol.name] = section
    references: dict[int, list[int | str]] = {}
    for section in sections:
        if isinstance(section, RelocationSection):
            targets = (places[relocation["r_info_sym"]] for relocation in section.iter_relocations())
            references.setdefault(int(section["sh_info"]), []).extend(t for t in targets if t is not None)
    frames = dict(_llvm_frames(elf)) or _gcc_frames(listing, functions)
    nodes = {
        index: _Node(
            name=functions.get(index, section.name),
            frame_bytes=frames.get(index, 0),
            is_code=index in functions,
            references=tuple(dict.fromkeys(references.get(index, ()))),
        )
        for index, section in enumerate(sections)
        if int(section["sh_flags"]) & 0x2  # loaded: no debugging, notes, frame sizes
    }
    return _Object(nodes=nodes, exported=exported)


def _llvm_frames(elf: ELFFile) -> Iterator[tuple[int, int]]:
    """Section of each function and its frame, from `.stack_sizes`: an address, then the size as ULEB128."""
    machine_pointer_bytes = {"EM_MSP430": 2}.get(elf["e_machine"], elf.elfclass // 8)
    for section in elf.iter_sections():
        if section.name == ".stack_sizes":
            yield int(section["sh_link"]), _uleb128(section.data()[machine_pointer_bytes:])


def _uleb128(encoded: bytes) -> int:
    """The first number in the variable-length code of DWARF (version 5, section 7.6)."""
    value = 0
    for position, byte in enumerate(encoded):
        value |= (byte & 0x7F) << (7 * position)
        if not byte & 0x80:
            break
    return value


def _gcc_frames(listing: str, functions: Mapping[int, str]) -> dict[int, int]:
    """The same from the text of the `.su` file beside the object: lines of `place:function<TAB>bytes<TAB>kind`.

    The file and the symbol table spell specialised clones differently (`f.constprop`, `f.constprop.0`), so that the
    largest clone of a function stands for all of them.
    """
    largest: dict[str, int] = {}
    for line in listing.splitlines():
        place, size, _kind = line.split("\t")
        function = _without_clone(place.rsplit(":", 1)[1])
        largest[function] = max(int(size), largest.get(function, 0))
    return {section: largest.get(_without_clone(name), 0) for section, name in functions.items()}


def _without_clone(name: str) -> str:
    return name.split(".", 1)[0]
