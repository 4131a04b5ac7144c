"""The simulator's core as a shared library: compiled on first use by the host's compiler, kept in a cache folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import tempfile
from pathlib import Path

from freeml.errors import ToolchainError
from freeml.sim.msp430.layout import Core
from freeml.toolchains.build import build_host_sources
from freeml.toolchains.toolchain import Toolchain, find_host

_SOURCES = Path(__file__).with_name("core")
_OPTIMISE = "-O3"


def library_path() -> Path:
    """The compiled core, built now unless it was before.

    It lies in $FREEML_CACHE, or in freeml/ of $XDG_CACHE_HOME or ~/.cache, or, where that cannot be written, in a
    folder of the user's own below the system's temporary one. Its name is a digest of the sources, the compiler and
    the machine, so that a change of any of them builds anew. Raises ToolchainError.
    """
    toolchain = find_host()
    name = f"msp430-{_digest(toolchain)}.so"
    folders = _folders()
    for folder in folders:
        if (folder / name).is_file() and _is_own(folder / name):
            return folder / name
    complaint = "there is no folder to keep it in"
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(prefix="build-", dir=folder) as scratch:
                built = build_host_sources(
                    sorted(_SOURCES.glob("*.c")),
                    (_SOURCES,),
                    Path(scratch) / name,
                    toolchain=toolchain,
                    optimise=_OPTIMISE,
                )
                # In one step: another process may be doing the same.
                built.replace(folder / name)
        except OSError as error:
            complaint = f"{folder}: {error.strerror}"
            continue
        return folder / name
    raise ToolchainError(f"the MSP430 simulator cannot be compiled: {complaint}; name a folder in FREEML_CACHE")


@functools.cache
def load_library() -> ctypes.CDLL:
    """The core with its functions' types. Raises ToolchainError."""
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolchainError(f"{path}: cannot be loaded ({error}); delete it to have it compiled anew") from error
    unsigned, long, pointer = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "m430_core_bytes": (long, (unsigned,)),
        "m430_memory_bytes": (long, (unsigned,)),
        "m430_state_offset": (long, ()),
        "m430_op_bytes": (long, ()),
        "m430_init": (None, (pointer, unsigned)),
        "m430_reset": (None, (pointer, unsigned)),
        "m430_forget": (None, (pointer, unsigned, unsigned)),
        "m430_forget_changes": (None, (pointer, pointer)),
        "m430_set_break": (None, (pointer, unsigned, unsigned, unsigned)),
        "m430_run": (unsigned, (pointer, long, long, unsigned)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    layout = (library.m430_core_bytes(0) - library.m430_memory_bytes(0), library.m430_state_offset())
    if layout != (ctypes.sizeof(Core), Core.state.offset):
        raise ToolchainError(f"{path}: expected structures of {ctypes.sizeof(Core)} bytes, found {layout[0]}")
    return library


def _digest(toolchain: Toolchain) -> str:
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    compiler = Path(toolchain.compiler[0])
    built = compiler.stat() if compiler.is_file() else None
    # The node's name, since the compiler is told to use all that this processor has.
    about = (*toolchain.compiler, *toolchain.compile_flags, _OPTIMISE, platform.machine(), platform.node())
    digest.update("\0".join((*about, str(built and (built.st_size, built.st_mtime_ns)))).encode())
    return digest.hexdigest()[:20]


def _folders() -> tuple[Path, ...]:
    chosen = os.environ.get("FREEML_CACHE")
    temporary = Path(tempfile.gettempdir()) / f"freeml-{os.getuid()}"
    if chosen:
        return (Path(chosen), temporary)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home folder
        return (temporary,)
    return (home / "freeml", temporary)


def _is_own(path: Path) -> bool:
    """Whether nobody else could have put it there: it will be run."""
    status = path.stat()
    return status.st_uid in (os.getuid(), 0) and not status.st_mode & 0o022
