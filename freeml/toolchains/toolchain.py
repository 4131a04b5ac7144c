"""Finding compilers, and the command lines they are given."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freeml.errors import ToolchainError
from freeml.targets import Board, Compiler, CompilerKind
from freeml.toolchains.flags import FRAME_SIZES, FREESTANDING, WARNINGS

HOST = "host"
"""The name of the machine freeml itself runs on, where a board's name would stand."""

_HOST_COMPILERS = (
    Compiler(
        kind="gcc",
        programs=("gcc", "cc"),
        compile_flags=("-march=native",),
        how_to_get="install gcc (on Debian: the package `gcc`)",
    ),
    Compiler(
        kind="clang",
        programs=("clang",),
        compile_flags=("-march=native",),
        how_to_get="install clang (on Debian: the package `clang`)",
    ),
    Compiler(
        kind="zig",
        programs=("zig",),
        # Without a C library: zig would build one first, for most of a minute. The native CPU is its default.
        compile_flags=("-fno-sanitize=undefined",),
        link_flags=("-nostdlib",),
        how_to_get="install it with `pip install ziglang`",
    ),
)
"""The machine's own compiler first: it starts fastest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """One compiler found on this machine and what it needs to build for one board, or for the host."""

    kind: CompilerKind
    target: str
    """A board's name, or `HOST`."""
    compiler: tuple[str, ...]
    """The command that compiles, without flags."""
    linker: tuple[str, ...]
    """The command that links, without flags."""
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    libraries: tuple[str, ...]
    return_address_bytes: int | None = None
    """What a call pushes on the stack where it is not the board's usual number."""

    def compile_command(
        self, source: Path, output: Path, include_dirs: Sequence[Path] = (), flags: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Compiles one C or assembly file into one object file; `flags` come last and win."""
        includes = tuple(f"-I{folder}" for folder in include_dirs)
        return (*self.compiler, *self.compile_flags, *includes, *flags, "-c", str(source), "-o", str(output))

    def link_command(
        self, objects: Sequence[Path], output: Path, script: Path | None = None, flags: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Links objects, in the order given, under a linker script when there is one."""
        scripted: tuple[str, ...] = ()
        if script is not None:
            options = ("--gc-sections", "-T", str(script))
            scripted = options if self.linker != self.compiler else (f"-Wl,{','.join(options)}",)
        files = tuple(str(path) for path in objects)
        return (*self.linker, *self.link_flags, *flags, *scripted, *files, *self.libraries, "-o", str(output))


def find(board: Board, name: str | None = None) -> Toolchain:
    """The compiler called `name` for a board; without a name, the first of the board's list that is installed.

    Raises ToolchainError that says what was looked for, where, and how to get it.
    """
    found = _first(board.compilers, board.title, name)
    compiler, command, linker = found
    nostdlib = () if compiler.linkers else ("-nostdlib",)
    return Toolchain(
        kind=compiler.kind,
        target=board.name,
        compiler=command,
        linker=linker,
        compile_flags=(*compiler.compile_flags, *WARNINGS, *FREESTANDING, *FRAME_SIZES[compiler.kind]),
        link_flags=(*compiler.link_flags, *nostdlib),
        libraries=compiler.libraries,
        return_address_bytes=compiler.return_address_bytes,
    )


def find_host(name: str | None = None, *, needs_libc: bool = False) -> Toolchain:
    """The compiler called `name` for this machine; without a name, gcc, clang or zig, whichever is installed first.

    `needs_libc` leaves zig out: what it builds for the host uses no C library. Raises ToolchainError as `find` does.
    """
    candidates = tuple(c for c in _HOST_COMPILERS if not (needs_libc and c.kind == "zig"))
    purpose = "this machine"
    compiler, command, linker = _first(candidates, purpose, name)
    return Toolchain(
        kind=compiler.kind,
        target=HOST,
        compiler=command,
        linker=linker,
        compile_flags=(*compiler.compile_flags, *WARNINGS),
        link_flags=compiler.link_flags,
        libraries=compiler.libraries,
    )


def installed(board: Board) -> tuple[Toolchain, ...]:
    """Every toolchain for a board that this machine has, in the board's order."""
    kinds = (compiler.kind for compiler in board.compilers if _locate(compiler) is not None)
    return tuple(find(board, kind) for kind in kinds)


def installed_host() -> tuple[Toolchain, ...]:
    """Every host compiler that this machine has."""
    return tuple(find_host(compiler.kind) for compiler in _HOST_COMPILERS if _locate(compiler) is not None)


def _first(
    candidates: Sequence[Compiler], purpose: str, name: str | None
) -> tuple[Compiler, tuple[str, ...], tuple[str, ...]]:
    """The first installed candidate of that name (of any name when None), its compile and its link command."""
    known = tuple(compiler.kind for compiler in candidates)
    if name is not None and name not in known:
        raise ToolchainError(f"no toolchain {name!r} for {purpose}: expected one of {', '.join(known)}")
    wanted = tuple(compiler for compiler in candidates if name in (None, compiler.kind))
    for compiler in wanted:
        located = _locate(compiler)
        if located is not None:
            return compiler, *located
    lines = [f"no {name or 'C'} compiler for {purpose} was found"]
    lines += [f"  {compiler.kind}: looked for {_where(compiler)}; {compiler.how_to_get}" for compiler in wanted]
    raise ToolchainError("\n".join(lines))


def _locate(compiler: Compiler) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Compile and link command of an installed compiler, or None."""
    command = _program(compiler)
    if command is None:
        return None
    if compiler.kind == "zig":
        driver = (command, "cc")
        return driver, driver
    if not compiler.linkers:
        return (command,), (command,)
    linker = next(filter(None, map(shutil.which, compiler.linkers)), None)
    return None if linker is None else ((command,), (linker,))


def _program(compiler: Compiler) -> str | None:
    """Path of the compiler's executable: from its environment variable, from the package `ziglang`, or from PATH."""
    hint = os.environ.get(compiler.environment_variable or "", "")
    if hint:
        inside = (Path(hint) / folder / program for folder in ("bin", ".") for program in compiler.programs)
        candidates = (Path(hint), *inside)
        found = next((path for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)
        if found is not None:
            return str(found)
    if compiler.kind == "zig":
        packaged = _packaged_zig()
        if packaged is not None:
            return packaged
    return next(filter(None, map(shutil.which, compiler.programs)), None)


def _packaged_zig() -> str | None:
    """The executable inside the package `ziglang`, found without importing it: `python -m ziglang` starts slower."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        return None
    return shutil.which("zig", path=spec.submodule_search_locations[0])


def _where(compiler: Compiler) -> str:
    """The places that were searched, in words."""
    places = []
    if compiler.environment_variable is not None:
        value = os.environ.get(compiler.environment_variable)
        places.append(f"${compiler.environment_variable} ({value or 'not set'})")
    if compiler.kind == "zig":
        places.append("the Python package ziglang")
    programs = " or ".join(compiler.programs)
    if compiler.linkers:
        programs += f", and {' or '.join(compiler.linkers)}"
    places.append(f"{programs} on PATH")
    return ", ".join(places)
