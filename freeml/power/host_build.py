"""An emitted folder as a product whose power can fail: instrumented, linked with the harness of `firmware/power`."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freeml.errors import ArtifactError, ToolchainError
from freeml.power.host_library import Section
from freeml.resources import resource_dir
from freeml.targets import CompilerKind
from freeml.toolchains import find_host

PRODUCT_FOLDERS = (".", "runtime")
HOST_PARTS = ("host/far.c", "host/host_values.c")
LEFT_OUT = ("vectors.c",)
QUICK = ("weights.c", "fm_tables.c", "far.c", "host_values.c")
"""Sources compiled as one: starting a compiler takes longer than they do."""

COMMIT = "-Dfm_progress_store=fm_power_commit"
"""So that the harness sees commits; fm_progress.c itself is compiled without."""

MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
NOT_SRAM = (".got", ".dynamic", ".init_array", ".fini_array", ".data.rel.ro", ".relro_padding", "fm_nv", "fm_harness")
"""Writable sections that are no variables of the product."""

COMPILERS = 2
"""Run at the same time."""

QUOTED_LINES = 12
"""Of a compiler's complaint."""

_SHARED = ("-fPIC", "-fno-builtin", "-fvisibility=hidden")
_PRODUCT: dict[CompilerKind, tuple[str, ...]] = {
    "gcc": ("-fno-tree-loop-distribute-patterns",),
    # A read that a write follows would not be seen otherwise.
    "clang": ("-mllvm", "-tsan-instrument-read-before-write=1", "-fno-vectorize", "-fno-slp-vectorize"),
}
_PRODUCT["zig"] = _PRODUCT["clang"]
_HARNESS: dict[CompilerKind, tuple[str, ...]] = {"gcc": ("-fno-tree-loop-distribute-patterns",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A built library, and its variables."""

    library: Path
    sections: tuple[Section, ...]


def build_product(folder: Path, out: Path, toolchain: str | None = None) -> Product:
    """Build an emitted folder with the harness as the shared library `out`.

    The product's objects are compiled with -fsanitize=thread, whose calls ahead of every access to memory the harness
    takes; -O1 and no vectors, so that stores stay as the source has them. Raises ArtifactError and ToolchainError.
    """
    if os.name != "posix" or platform.machine().lower() not in MACHINES or platform.system() == "Darwin":
        raise ToolchainError(
            f"power failures on the host need Linux on x86-64 or AArch64, found {platform.system()} on "
            f"{platform.machine()}: use --on board"
        )
    compiler = find_host(toolchain)
    harness = resource_dir("firmware") / "power"
    sources = [path for name in PRODUCT_FOLDERS for path in sorted((folder / name).glob("*.c"))]
    sources = [path for path in sources if path.name not in LEFT_OUT] + [folder / name for name in HOST_PARTS]
    missing = [path for path in sources if not path.is_file()]
    if missing or not (folder / "model.c").is_file():
        raise ArtifactError(
            f"{folder}: expected a folder written by freeml compile, found no {(*missing, 'model.c')[0]}"
        )
    product = ("-O1", *_SHARED, "-fsanitize=thread", *_PRODUCT[compiler.kind])
    plain = ("-O2", *_SHARED, *_HARNESS.get(compiler.kind, ()))
    units = [
        (tuple(path for path in sources if path.name in QUICK), product),
        *(
            ((path,), product if path.name == "fm_progress.c" else (*product, COMMIT))
            for path in sources
            if path.name not in QUICK
        ),
        ((harness / "program.c",), product),
        (tuple(harness / name for name in ("power.c", "granules.c", "shadow.c", "hooks.c")), plain),
        ((harness / "enter.S",), plain),
    ]
    includes = (harness, folder, folder / "runtime", folder / "host")
    with tempfile.TemporaryDirectory(prefix="freeml-power-") as scratch:
        work = Path(scratch)
        objects = [work / f"{number:03d}.o" for number in range(len(units))]
        commands = [
            compiler.compile_command(_together(files, target), target, tuple(map(Path.resolve, includes)), flags)
            for (files, flags), target in zip(units, objects, strict=True)
        ]
        with ThreadPoolExecutor(max_workers=COMPILERS) as pool:
            list(pool.map(lambda command: _run(command, work), commands))
        out.parent.mkdir(parents=True, exist_ok=True)
        _run(compiler.link_command(objects, out.resolve(), flags=("-shared", "-nostdlib")), work)
    return Product(library=out, sections=variables(out))


def _together(files: Sequence[Path], target: Path) -> Path:
    """A source that holds several."""
    if len(files) == 1:
        return files[0].resolve()
    unit = target.with_suffix(".c")
    unit.write_text("".join(f'#include "{path.resolve()}"\n' for path in files), encoding="utf-8")
    return unit


def variables(library: Path) -> tuple[Section, ...]:
    """Where the product's variables are in a library: its SRAM."""
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    with library.open("rb") as file:
        elf = ELFFile(file)
        symbols: Any = elf.get_section_by_name(".dynsym")
        (anchor,) = symbols.get_symbol_by_name("fm_power")
        found = []
        for section in elf.iter_sections():
            flags = section["sh_flags"]
            writable = flags & SH_FLAGS.SHF_WRITE and flags & SH_FLAGS.SHF_ALLOC and not flags & SH_FLAGS.SHF_TLS
            if writable and section["sh_size"] and not section.name.startswith(NOT_SRAM):
                offset = section["sh_addr"] - anchor["st_value"]
                initialised = section["sh_type"] != "SHT_NOBITS"
                found.append(Section(offset=offset, size=section["sh_size"], initialised=initialised))
    return tuple(found)


def _run(command: Sequence[str], work: Path) -> None:
    caches = {"ZIG_LOCAL_CACHE_DIR": str(work / "zig"), "ZIG_GLOBAL_CACHE_DIR": str(work / "zig")}
    done = subprocess.run(
        command, cwd=work, env={**os.environ, **caches, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = "\n".join(f"  {line}" for line in (done.stderr + done.stdout).strip().splitlines()[:QUOTED_LINES])
        raise ToolchainError(f"{Path(command[0]).name} could not build the model for power failures:\n{said}")
