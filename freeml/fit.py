"""What the firmware takes on its board: built with the board's compiler, read from the ELF, held to the limits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from freeml.artifact import write_files
from freeml.codegen.emit import firmware_files
from freeml.codegen.program import CProgram
from freeml.errors import DoesNotFitError, ToolchainError
from freeml.ir.types import element_count
from freeml.report.figures import Bytes, Limits
from freeml.targets import Board
from freeml.toolchains import BuildResult, build, find

LARGEST = 5
OPTIMISE = "-Os"
LINKER_OVERFLOW = ("will not fit in region", "overflowed by", "overflows by")
"""What lld and GNU ld say when a memory is too small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A built firmware: the image, its sizes and the board's limits."""

    elf: bytes
    toolchain: str
    bytes: Bytes
    limits: Limits


def estimated_excess(program: CProgram, board: Board) -> str | None:
    """Why constants and arena alone exceed a memory, whatever the code takes; None when they do not."""
    in_nv = program.arena_bytes if board.activations == "nv" else 0
    in_sram = program.scratch_bytes + (0 if board.activations == "nv" else program.arena_bytes)
    longest = 2 ** (board.int_bits - 1) - 1
    for layer in program.layers:
        for operand in (*layer.head.inputs, layer.out):
            shape = operand.type.shape
            loops = (*shape, element_count(shape[:-1]))
            if max(loops) > longest:
                return (
                    f"layer {layer.name} runs {max(loops):,} steps in one loop, and an int of {board.int_bits} bits "
                    f"counts to {longest:,}"
                )
    near = sum(d.size_bytes for d in program.near_data) + in_nv
    if near > board.near_nv.size_bytes:
        return f"weights and activations take {near:,} of {board.near_nv.size_bytes:,} bytes of {board.near_nv.name}"
    if in_sram > board.sram_bytes:
        return f"activations and scratch take {in_sram:,} of {board.sram_bytes:,} bytes of SRAM"
    return None


def does_not_fit(reason: str, program: CProgram, board: Board, built: Bytes | None = None) -> DoesNotFitError:
    """The error with the byte table and the largest contributors."""
    rows = [("weights", program.weight_bytes), ("activations", program.arena_bytes), ("scratch", program.scratch_bytes)]
    if built is not None:
        rows += [("code", built.code), ("stack (estimate)", built.stack)]
    by_layer: dict[str, int] = {}
    for data in program.data:
        by_layer[data.layer] = by_layer.get(data.layer, 0) + data.size_bytes
    contributors = [(f"weights of {name}", size) for name, size in by_layer.items()]
    contributors += [(f"output of {layer.name}", layer.value_bytes) for layer in program.layers]
    contributors.sort(key=lambda item: (-item[1], item[0]))
    table = "\n".join(f"  {name:<20}{size:>10,} bytes" for name, size in rows)
    largest = "\n".join(f"  {name:<40}{size:>10,} bytes" for name, size in contributors[:LARGEST])
    return DoesNotFitError(
        f"the net does not fit {board.title}: {reason}\n{table}\nlargest contributors:\n{largest}\n"
        "use fewer channels in the largest layers, or a larger board (--target)"
    )


def build_firmware(files: Mapping[str, bytes], board: Board, toolchain: str | None, elf: Path) -> BuildResult:
    """Compile and link a firmware folder's files for the board, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="freeml-elf-") as folder:
        write_files(files, Path(folder))
        return build(find(board, toolchain), board, Path(folder), elf, optimise=OPTIMISE)


def measure(generated: Mapping[str, str], program: CProgram, board: Board, toolchain: str | None) -> Measured:
    """Build the firmware and account for every byte. Raises DoesNotFitError before building when it cannot fit."""
    excess = estimated_excess(program, board)
    if excess is not None:
        raise does_not_fit(excess, program, board)
    files = {name: text.encode("utf-8") for name, text in generated.items()}
    files.update(firmware_files(board.name))
    with tempfile.TemporaryDirectory(prefix="freeml-fit-") as folder:
        elf = Path(folder) / "firmware.elf"
        try:
            result = build_firmware(files, board, toolchain, elf)
        except ToolchainError as error:
            if any(words in str(error) for words in LINKER_OVERFLOW):
                raise does_not_fit("code and constants exceed a memory when linked", program, board) from error
            raise
        check_far(elf, program)
        image = elf.read_bytes()
    return Measured(elf=image, toolchain=result.toolchain, bytes=account(result, program), limits=board_limits(board))


def check_far(elf: Path, program: CProgram) -> None:
    """Raise ToolchainError when the linker did not put far constants at the addresses that the code reads them from."""
    if not program.far_data:
        return
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    expected = {part.name: part.address for data in program.far_data for part in data.parts}
    with elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
        found = {symbol.name: int(symbol["st_value"]) for symbol in symbols if symbol.name in expected}
    if found != expected:
        raise ToolchainError(
            f"the linker moved far constants: expected {expected}, found {found}; use another --toolchain"
        )


def account(result: BuildResult, program_or_vectors: CProgram | int) -> Bytes:
    """The ELF's sections as the report's figures. Test vectors are told apart from the rest of the constants."""
    sizes = result.sizes
    vectors = program_or_vectors if isinstance(program_or_vectors, int) else vector_bytes(program_or_vectors)
    scratch = 0 if isinstance(program_or_vectors, int) else program_or_vectors.scratch_bytes
    return Bytes(
        weights=sizes.weights + sizes.far, code=sizes.code - vectors, vectors=vectors,
        flash=sizes.flash, sram=sizes.sram, stack=sizes.stack, scratch=scratch, nv=sizes.nv,
    )  # fmt: skip


def vector_bytes(program: CProgram, count: int = 1) -> int:
    """Bytes of `count` test vectors."""
    return count * sum(t.type.size_bytes for t in (*program.inputs, *program.outputs))


def board_limits(board: Board) -> Limits:
    """The memories a firmware may fill."""
    return Limits(flash=board.nv_bytes, sram=board.sram_bytes)


def require_fit(built: Measured, program: CProgram, board: Board) -> None:
    """Raise DoesNotFitError when the built firmware exceeds a memory."""
    need = built.bytes.flash + built.bytes.nv
    if need > built.limits.flash:
        reason = f"image and persistent data take {need:,} of {built.limits.flash:,} bytes"
        raise does_not_fit(reason, program, board, built.bytes)
    if built.bytes.sram > built.limits.sram:
        reason = f"variables and stack take {built.bytes.sram:,} of {built.limits.sram:,} bytes of SRAM"
        raise does_not_fit(reason, program, board, built.bytes)
