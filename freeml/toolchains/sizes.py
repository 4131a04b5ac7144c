"""How much of each memory an ELF file takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from freeml.errors import ToolchainError
from freeml.targets import Board, Memory

_SHF_ALLOC = 0x2
_SHF_EXECINSTR = 0x4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes by purpose."""

    text: int
    """Instructions."""
    rodata: int
    """Constants other than weights: tables, descriptions of layers, interrupt vectors, test vectors."""
    weights: int
    """Constants of the net within reach of a plain pointer."""
    far: int
    """Constants of the net beyond that reach."""
    data: int
    """Initialised variables: they take SRAM, and flash for the copy they start from."""
    bss: int
    nv: int
    """Persistent data: non-volatile memory that the flashed image does not fill."""
    stack: int
    """Estimate of the deepest stack, 0 when it was not estimated."""

    @property
    def code(self) -> int:
        """Everything in the image that is not weights."""
        return self.text + self.rodata + self.data

    @property
    def flash(self) -> int:
        """The image: what a programmer writes to the board."""
        return self.code + self.weights + self.far

    @property
    def sram(self) -> int:
        """Variables and the estimated stack."""
        return self.data + self.bss + self.stack


def sizes(elf: Path, board: Board, *, stack: int = 0) -> Sizes:
    """Accounts every section of a linked ELF file to the memory its address lies in.

    `stack` is carried over, in bytes. Raises ToolchainError when the file is missing, not an ELF file, one for another
    board, or has a section outside the board's memories.
    """
    # Imported late: it costs more than most commands need to start.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    total = dict.fromkeys(("text", "rodata", "weights", "far", "data", "bss", "nv"), 0)
    try:
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            if file["e_machine"] != board.elf_machine:
                raise ToolchainError(
                    f"{elf} is not a firmware for {board.title}: expected machine {board.elf_machine}, found "
                    f"{file['e_machine']}"
                )
            for section in file.iter_sections():
                flags, size = int(section["sh_flags"]), int(section["sh_size"])
                if not flags & _SHF_ALLOC or size == 0:
                    continue
                start = int(section["sh_addr"])
                memory = _memory_of(board, start, size)
                if memory is None:
                    raise ToolchainError(
                        f"{elf}: section {section.name} at 0x{start:X}, {size} bytes, lies outside the memories of "
                        f"{board.title}: {_ranges(board)}"
                    )
                stored = section["sh_type"] != "SHT_NOBITS"
                total[_purpose(section.name, flags, memory, stored, board)] += size
    except OSError as error:
        raise ToolchainError(f"cannot read {elf}: {error.strerror}") from error
    except ELFError as error:
        raise ToolchainError(f"{elf} is not an ELF file: {error}") from error
    return Sizes(**total, stack=stack)


def _memory_of(board: Board, start: int, size: int) -> Memory | None:
    inside = (memory for memory in board.memories if memory.start <= start and start + size <= memory.end)
    return next(inside, None)


def _ranges(board: Board) -> str:
    return ", ".join(f"{memory.name} 0x{memory.start:X}-0x{memory.end - 1:X}" for memory in board.memories)


def _purpose(name: str, flags: int, memory: Memory, stored: bool, board: Board) -> str:
    """The field of `Sizes` that a section belongs to."""
    if memory.kind == "sram":
        return "data" if stored else "bss"
    if name in (board.nv_data_section, board.nv_loaded_section) or not stored:
        return "nv"
    if name == board.weights_section:
        return "weights"
    if name == board.far_section:
        return "far"
    return "text" if flags & _SHF_EXECINSTR else "rodata"
