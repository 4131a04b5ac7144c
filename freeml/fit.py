"""What the firmware takes on its board: built with the board's compiler, read from the ELF, held to the limits."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from freeml.artifact import write_files
from freeml.codegen.emit import firmware_files
from freeml.codegen.lower import lower
from freeml.codegen.program import CProgram
from freeml.errors import DoesNotFitError, ToolchainError
from freeml.ir.graph import QGraph
from freeml.ir.types import element_count
from freeml.plan.memory import MemoryPlan
from freeml.plan.placement import CODE_RESERVE_BYTES, far_addresses
from freeml.report.figures import Bytes, Limits
from freeml.targets import Board, Compiler
from freeml.toolchains import OPTIMISE, BuildResult, build, find

LARGEST = 5
FAR_ROW_CODE_BYTES = 64
"""About what the code of a layer grows by when its weights go far."""

LINKER_OVERFLOW = re.compile(r"region [`'](\w+)'.{0,3}overflowed by (\d+) bytes")
"""What lld and GNU ld say when a memory is too small. lld says it of every section from the first one too many on."""

STACK_OVERFLOW = re.compile(r"less than \d+ bytes of \w+ are left for the stack")
"""What the boards' linker scripts say when variables leave no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A built firmware that fits its board: what the build gave, its bytes and the board's limits."""

    result: BuildResult
    bytes: Bytes
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A firmware made to fit: the program, the generated files, the image, its bytes, and whether it holds vectors."""

    program: CProgram
    generated: Mapping[str, str]
    elf: bytes
    measured: Measured
    with_vectors: bool


def place(planned: QGraph, memory: MemoryPlan, board: Board, reserve_bytes: int = CODE_RESERVE_BYTES) -> CProgram:
    """The program for a board, with weights far where constants, arena and so many bytes of code exceed near memory."""
    program = lower(planned, memory, board=board)
    far = far_addresses(planned, board, program.weight_bytes + program.nv_bytes, reserve_bytes=reserve_bytes)
    return lower(planned, memory, far, board) if far else program


def estimated_excess(program: CProgram, board: Board) -> str | None:
    """Why constants and arena alone exceed a memory, whatever the code takes; None when they do not."""
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
    near = near_bytes(program)
    if near > board.near_nv.size_bytes:
        return f"weights and activations take {near:,} of {board.near_nv.size_bytes:,} bytes of {board.near_nv.name}"
    if in_sram > board.sram_bytes:
        return f"activations and scratch take {in_sram:,} of {board.sram_bytes:,} bytes of SRAM"
    return None


def does_not_fit(
    reason: str,
    program: CProgram,
    board: Board,
    *,
    vectors: int,
    built: Bytes | None = None,
    overflow: Mapping[str, int] | None = None,
) -> DoesNotFitError:
    """The error with the byte table and the largest contributors. `vectors` are the bytes of the test vectors."""
    rows = [("weights", program.weight_bytes), ("activations", program.arena_bytes), ("scratch", program.scratch_bytes)]
    rows += [("test vectors", vectors)] if vectors else []
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
        "use fewer channels in the largest layers, or a larger board (--target)",
        bytes_=asdict(built) if built is not None else planned_bytes(program, board, vectors),
        limits=asdict(board_limits(board)),
        overflow=overflow,
    )


def planned_bytes(program: CProgram, board: Board, vectors: int) -> dict[str, int | None]:
    """The figures of `Bytes` before a build; None for what only a build tells."""
    return {
        "weights": program.weight_bytes, "code": None, "vectors": vectors, "flash": None, "sram": None, "stack": None,
        "scratch": program.scratch_bytes, "nv": program.nv_bytes,
    }  # fmt: skip


def build_to_fit(
    attempt: Callable[[int, bool], tuple[CProgram, Mapping[str, str]]], board: Board, toolchain: str | None
) -> Fitted:
    """Build the firmware; where the near memory is too small, again with more weights far, at last without vectors.

    `attempt` gives the program and the generated files, with so many bytes of near memory kept for code, and with or
    without test vectors. Each attempt takes less near memory than the one before. Raises DoesNotFitError.
    """
    reserve, with_vectors = CODE_RESERVE_BYTES, True
    program, generated = attempt(reserve, with_vectors)
    while True:
        vectors = vector_bytes(program) if with_vectors else 0
        with tempfile.TemporaryDirectory(prefix="freeml-fit-") as place:
            folder = Path(place) / "source"
            write_files({name: text.encode("utf-8") for name, text in generated.items()}, folder)
            write_files(firmware_files(board.name), folder)
            elf = Path(place) / "firmware.elf"
            try:
                measured = measure(folder, elf, program, board, toolchain, far=program.far_symbols, vectors=vectors)
            except DoesNotFitError as error:
                if set(error.overflow) != {board.near_nv.name}:
                    raise
                excess = error.overflow[board.near_nv.name]
                # what code and vectors took, and what they will when one more layer or all others fetch their rows
                code = board.near_nv.size_bytes + excess - near_bytes(program)
                reserve = code + FAR_ROW_CODE_BYTES * (1 + len(program.far_data))
                roomier, files = attempt(reserve, with_vectors)
                if near_bytes(roomier) < near_bytes(program):
                    program, generated = roomier, files
                elif with_vectors and excess <= vectors:
                    with_vectors = False
                    generated = attempt(reserve, with_vectors)[1]
                else:
                    raise
            else:
                return Fitted(
                    program=program, generated=generated, elf=elf.read_bytes(), measured=measured,
                    with_vectors=with_vectors,
                )  # fmt: skip


def near_bytes(program: CProgram) -> int:
    """Bytes of constants and activations in near memory."""
    return sum(d.size_bytes for d in program.near_data) + program.nv_bytes


def build_firmware(files: Mapping[str, bytes], board: Board, toolchain: str | None, elf: Path) -> BuildResult:
    """Compile and link a firmware folder's files for the board, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="freeml-elf-") as folder:
        write_files(files, Path(folder))
        return build(find(board, toolchain), board, Path(folder), elf, optimise=OPTIMISE)


def measure(
    folder: Path,
    elf: Path,
    program: CProgram,
    board: Board,
    toolchain: str | None,
    *,
    far: Mapping[str, int],
    vectors: int,
) -> Measured:
    """Build the firmware folder of `program` and hold every byte to the board's limits.

    `far` are the addresses that its code reads far constants from, `vectors` the bytes of its test vectors. Raises
    DoesNotFitError, before building when it cannot fit, and ToolchainError for what else keeps it from being built.
    """
    excess = estimated_excess(program, board)
    if excess is not None:
        raise does_not_fit(excess, program, board, vectors=vectors)
    compiler = find(board, toolchain)
    check_objects(program, board, next(c for c in board.compilers if c.kind == compiler.kind))
    try:
        result = build(compiler, board, folder, elf, optimise=OPTIMISE)
    except ToolchainError as error:
        overflow = linker_overflow(str(error))
        stack = STACK_OVERFLOW.search(str(error))
        if not overflow and not stack:
            raise
        reasons = [f"{name} overflows by {size:,} bytes when linked" for name, size in overflow.items()]
        reasons += [stack.group()] if stack else []
        raise does_not_fit("; ".join(reasons), program, board, vectors=vectors, overflow=overflow) from error
    found, limits = account(result, scratch=program.scratch_bytes, vectors=vectors), board_limits(board)
    for what, need, limit in (
        ("image and persistent data", found.flash + found.nv, limits.flash),
        ("variables and stack", found.sram, limits.sram),
    ):
        if need > limit:
            reason = f"{what} take {need:,} of {limit:,} bytes when built by {compiler.kind}"
            raise does_not_fit(reason, program, board, vectors=vectors, built=found)
    check_far(elf, far)
    return Measured(result=result, bytes=found, limits=limits)


def linker_overflow(message: str) -> dict[str, int]:
    """By how many bytes which memory is too small, from a linker's complaint."""
    found: dict[str, int] = {}
    for region, size in LINKER_OVERFLOW.findall(message):
        found[region] = max(int(size), found.get(region, 0))
    return found


def check_objects(program: CProgram, board: Board, compiler: Compiler) -> None:
    """Raise ToolchainError for an array that the compiler cannot declare; far constants are declared in parts."""
    limit = compiler.max_object_bytes
    sizes = {"the arena of the activations": program.arena_bytes}
    sizes |= {f"array {data.name}": data.size_bytes for data in program.near_data}
    largest = max(sizes, key=lambda name: sizes[name])
    if limit is not None and sizes[largest] > limit:
        others = " or ".join(c.kind for c in board.compilers if c.max_object_bytes is None)
        raise ToolchainError(
            f"{compiler.programs[0]} builds objects of at most {limit:,} bytes for {board.title}, and "
            f"{largest} takes {sizes[largest]:,}; use --toolchain {others}"
        )


def check_far(elf: Path, expected: Mapping[str, int]) -> None:
    """Raise ToolchainError when the linker did not put far constants at the addresses that the code reads them from."""
    if not expected:
        return
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    with elf.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
        found = {symbol.name: int(symbol["st_value"]) for symbol in symbols if symbol.name in expected}
    if found != expected:
        raise ToolchainError(
            f"the linker moved far constants: expected {expected}, found {found}; use another --toolchain"
        )


def account(result: BuildResult, *, scratch: int, vectors: int) -> Bytes:
    """The ELF's sections as the report's figures. Test vectors are told apart from the rest of the constants."""
    sizes = result.sizes
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
