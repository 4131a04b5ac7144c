"""C parts of the simulators: compiled when first needed, kept in a cache folder, loaded with ctypes."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from freeml.errors import ToolchainError
from freeml.toolchains import Toolchain, build_host_sources, find_host

_HOST_CPU_FLAG = "-march=native"
"""Left out here: a cache folder may be shared by machines whose processors differ."""


def load_library(
    name: str, sources: Sequence[Path], include_dirs: Sequence[Path], *, optimise: str = "-O2"
) -> ctypes.CDLL:
    """The shared library made of `sources`, built at the first call and taken from the cache at later ones.

    The sources must not need a C library, so that zig alone can build them. Every header in `include_dirs` and beside a
    source counts as used: a change makes a new library. The cache is the folder named by FREEML_CACHE, else `freeml` in
    XDG_CACHE_HOME or ~/.cache; where none can be written, the library is built for this process alone. A file there
    that others may write is not run. Raises ToolchainError when no C compiler is found, or the library cannot be built
    or loaded.
    """
    toolchain = _portable_host(name)
    file_name = f"{name}-{_digest(toolchain, sources, include_dirs, optimise)[:20]}.so"
    folder = cache_folder()
    cached = folder / file_name
    if cached.is_file() and _is_own(cached):
        try:
            return ctypes.CDLL(str(cached))
        except OSError:
            pass  # damaged: built anew below
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder)
    except OSError:
        scratch = tempfile.TemporaryDirectory(prefix=f"freeml-{name}-")
        cached = Path(scratch.name) / file_name
    # A loaded library needs its file no longer, so the scratch folder may go at the end even when it is the only place.
    with scratch:
        built = Path(scratch.name) / f"new-{file_name}"
        build_host_sources(sources, include_dirs, built, toolchain=toolchain, optimise=optimise)
        # One step, so that whoever else starts now sees all of the file or none.
        built.replace(cached)
        try:
            return ctypes.CDLL(str(cached))
        except OSError as error:
            raise ToolchainError(f"the library of {name} cannot be loaded: {error}") from error


def cache_folder() -> Path:
    """Where built libraries are kept; it need not exist yet."""
    chosen = os.environ.get("FREEML_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "freeml"


def _portable_host(name: str) -> Toolchain:
    """The compiler for this machine, set to code that every processor of its architecture runs."""
    try:
        found = find_host()
    except ToolchainError as error:
        raise ToolchainError(f"{name} has a part in C, built when it is first used, but {error}") from error
    flags = tuple(flag for flag in found.compile_flags if flag != _HOST_CPU_FLAG)
    baseline = ("-mcpu=baseline",) if found.kind == "zig" else ()
    return dataclasses.replace(found, compile_flags=(*flags, *baseline))


def _is_own(path: Path) -> bool:
    """Whether nobody else could have put it there: it will be run."""
    status = path.stat()
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022


def _digest(toolchain: Toolchain, sources: Sequence[Path], include_dirs: Sequence[Path], optimise: str) -> str:
    """A name for what the compiler will be given: contents, flags and platform, but no paths."""
    folders = dict.fromkeys((*include_dirs, *(source.parent for source in sources)))
    headers = sorted(header for folder in folders for header in folder.glob("*.h"))
    digest = hashlib.sha256()
    described = (toolchain.kind, *toolchain.compile_flags, optimise, sys.platform, platform.machine())
    digest.update(repr(described).encode())
    for path in (*sources, *headers):
        try:
            contents = path.read_bytes()
        except OSError as error:
            raise ToolchainError(f"cannot read {path}: {error.strerror}; install freeml anew") from error
        digest.update(f"\n{path.name} {len(contents)}\n".encode())
        digest.update(contents)
    return digest.hexdigest()
