"""Building firmware for a board and libraries for the host."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from freeml.errors import ToolchainError
from freeml.targets import Board
from freeml.toolchains.flags import OPTIMISE, SANITIZERS
from freeml.toolchains.objects import OBJECTS, Compiled, Texts
from freeml.toolchains.sizes import Sizes, sizes
from freeml.toolchains.stack import StackEstimate, estimate_stack
from freeml.toolchains.toolchain import Toolchain, find_host

_JOBS = 2
"""Compilers run at the same time."""

_QUOTED_LINES = 12
"""Lines of a compiler's complaint that go into an error message."""

BOARD_FOLDER = "board"
"""Subfolder of an emitted firmware folder that holds the board's startup and linker script."""

_DEVICE_FOLDERS = (".", "runtime", "device", BOARD_FOLDER)
"""Where the sources of a board's firmware are, relative to the emitted folder."""

_HOST_FOLDERS = (".", "runtime", "host")
"""The same for the host."""

_HOST_PROGRAM = "main.c"
"""What a host program has and a host library does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """A linked firmware."""

    elf: Path
    toolchain: str
    sizes: Sizes
    stack: StackEstimate
    seconds: float
    """Wall time of compiling and linking."""


def build(toolchain: Toolchain, board: Board, folder: Path, out_elf: Path, *, optimise: str = OPTIMISE) -> BuildResult:
    """Builds the firmware in an emitted folder: its own C files, those of the runtime, the device and the board.

    Nothing but `out_elf` is written. Raises ToolchainError with the first lines of the compiler's complaint.
    """
    folders = _existing(folder, _DEVICE_FOLDERS)
    return build_sources(
        toolchain,
        board,
        _sources(folders),
        include_dirs=folders,
        script=folder / BOARD_FOLDER / board.linker_script,
        out_elf=out_elf,
        optimise=optimise,
    )


def build_sources(
    toolchain: Toolchain,
    board: Board,
    sources: Sequence[Path],
    *,
    include_dirs: Sequence[Path],
    script: Path,
    out_elf: Path,
    optimise: str = OPTIMISE,
) -> BuildResult:
    """Compiles each source by itself and links them under `script`; see `build`."""
    started = time.perf_counter()
    if not script.is_file():
        raise ToolchainError(f"there is no linker script {script}: was the firmware emitted for {board.title}?")
    with tempfile.TemporaryDirectory(prefix="freeml-build-") as scratch:
        work = Path(scratch)
        objects = _compile(toolchain, sources, include_dirs, (optimise,), work)
        # Linked beside its place and moved there at the end: a failed build leaves an earlier file as it was.
        linked = work / "linked.elf"
        _run(toolchain.link_command(objects, linked, script.resolve()), work, f"linking {out_elf.name}")
        pushed = toolchain.return_address_bytes
        stack = estimate_stack(objects, board.return_address_bytes if pushed is None else pushed)
        measured = sizes(linked, board, stack=stack.size_bytes)
        _install(linked, out_elf)
    return BuildResult(
        elf=out_elf,
        toolchain=toolchain.kind,
        sizes=measured,
        stack=stack,
        seconds=time.perf_counter() - started,
    )


def build_host(
    folder: Path,
    out: Path,
    *,
    toolchain: Toolchain | None = None,
    sanitize: bool = False,
    optimise: str = "-O3",
    shared: bool | None = None,
) -> Path:
    """Builds an emitted folder for this machine: a shared library for `ctypes`, or a program when `shared` is false.

    `sanitize` adds the address and undefined-behaviour sanitizers and makes a program unless told otherwise: a Python
    interpreter would not load the sanitizers' runtime early enough. Returns `out`; raises as `build` does.
    """
    library = not sanitize if shared is None else shared
    folders = _existing(folder, _HOST_FOLDERS)
    sources = tuple(path for path in _sources(folders) if not library or path.name != _HOST_PROGRAM)
    return build_host_sources(
        sources, folders, out, toolchain=toolchain, sanitize=sanitize, optimise=optimise, shared=library
    )


def build_host_sources(
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out: Path,
    *,
    toolchain: Toolchain | None = None,
    sanitize: bool = False,
    optimise: str = "-O3",
    shared: bool = True,
) -> Path:
    """The same from a list of sources."""
    chosen = toolchain or find_host(needs_libc=sanitize or not shared)
    if chosen.kind == "zig" and (sanitize or not shared):
        raise ToolchainError(
            "zig ships no address sanitizer and would first build a C library: use gcc or clang for host programs"
        )
    extra = (*(SANITIZERS if sanitize else ()), *(("-fPIC",) if shared else ()))
    with tempfile.TemporaryDirectory(prefix="freeml-host-") as scratch:
        work = Path(scratch)
        objects = _compile(chosen, sources, include_dirs, (optimise, *extra), work)
        linked = work / "linked"
        flags = (*extra, *(("-shared",) if shared else ()))
        _run(chosen.link_command(objects, linked, flags=flags), work, f"linking {out.name}")
        _install(linked, out)
    return out


def _existing(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """The subfolders of those names, as absolute paths, since compilers run in a folder of their own."""
    if not folder.is_dir():
        raise ToolchainError(f"cannot build {folder}: there is no such folder")
    return tuple((folder / name).resolve() for name in names if (folder / name).is_dir())


def _sources(folders: Sequence[Path]) -> tuple[Path, ...]:
    """The C and assembly files in folders, in the order in which the emitted Makefile links them: by path."""
    return tuple(sorted((path for folder in folders for path in folder.glob("*.[cS]")), key=str))


def _compile(
    toolchain: Toolchain, sources: Sequence[Path], include_dirs: Sequence[Path], flags: Sequence[str], work: Path
) -> list[Path]:
    """Compiles every source into `work`; the objects in the order of the sources."""
    if not sources:
        raise ToolchainError("there is nothing to compile: no C file was found")
    # Numbered, because two folders may hold files of the same name.
    objects = [work / f"{number:03d}_{source.stem}.o" for number, source in enumerate(sources)]
    folders = tuple(map(Path.resolve, include_dirs))
    texts = Texts(toolchain, folders, flags)
    keys = [texts.key(source.resolve()) for source in sources]
    known = [OBJECTS.get(key) for key in keys]
    with ThreadPoolExecutor(max_workers=_JOBS) as pool:
        tasks = []
        for source, target, found in zip(sources, objects, known, strict=True):
            if found is None:
                command = toolchain.compile_command(source.resolve(), target, folders, flags)
                tasks.append(pool.submit(_run, command, work, f"compiling {source.name}"))
            else:
                found.write(target)
        for task in tasks:
            task.result()
    for key, target, found in zip(keys, objects, known, strict=True):
        if found is None and key is not None:
            OBJECTS.put(key, Compiled.read(target))
    return objects


def _run(command: Sequence[str], work: Path, what: str) -> None:
    """Runs one compiler or linker. Its caches go to `work`, and what it says to the error message."""
    environment = {
        **os.environ,
        "ZIG_LOCAL_CACHE_DIR": str(work / "zig"),
        "ZIG_GLOBAL_CACHE_DIR": str(work / "zig"),
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ToolchainError(f"{what} failed: {command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines()
        quoted = "\n".join(f"  {line}" for line in lines[:_QUOTED_LINES])
        rest = f"\n  ... and {len(lines) - _QUOTED_LINES} more lines" if len(lines) > _QUOTED_LINES else ""
        raise ToolchainError(f"{what} failed: {Path(command[0]).name} ended with {done.returncode}\n{quoted}{rest}")


def _install(built: Path, out: Path) -> None:
    """Puts a finished file in its place in one step."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.with_name(out.name + ".partial")
        partial.write_bytes(built.read_bytes())
        partial.chmod(0o755)
        partial.replace(out)
    except OSError as error:
        raise ToolchainError(f"cannot write {out}: {error.strerror}") from error
