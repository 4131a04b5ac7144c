"""The same code on another executor: QEMU, where it is installed.

The net, the kernels and the startup code are linked twice, for the Apollo4 and for QEMU's mps2-an386 (a Cortex-M4 whose
memory begins at 0), with a board of the tests in place of the real one. Outputs, the number of instructions and, for the
small program, the address of each of them must be the same.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from freeml.errors import ToolchainError
from freeml.resources import resource_dir
from freeml.sim.apollo4.machine import Apollo4Machine
from freeml.sim.image import Image, read_image
from freeml.targets import Board
from freeml.toolchains import Toolchain, build_sources, find_host

from .programs import APOLLO4, HERE, each_toolchain, emitted

QEMU = shutil.which("qemu-system-arm")
PLUGIN_VERSIONS = (1, 2, 3, 4)
REPLACED = ("board.c", "nv.c")
"""Files of the real board for which qemu_board.c stands: QEMU has no boot ROM that programs MRAM."""

RELOCATED = {0x00018000: 0, 0x10000000: 0x20000000, 0x10060000: 0x20060000}
"""Where memories of the Apollo4 begin, and where the mps2-an386 has memory instead."""

MPS2 = replace(
    APOLLO4,
    title="mps2-an386",
    memories=tuple(replace(memory, start=RELOCATED[memory.start]) for memory in APOLLO4.memories),
)

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-arm is not installed (Debian: qemu-system-arm)")


@pytest.fixture(scope="session")
def plugins(tmp_path_factory) -> dict[int, Path]:
    """The counting plugin for each version of QEMU's interface."""
    try:
        host = find_host(needs_libc=True)
    except ToolchainError as error:
        pytest.skip(f"a QEMU plugin takes a C compiler with a C library: {error}")
    folder = tmp_path_factory.mktemp("plugin")
    built = {}
    for version in PLUGIN_VERSIONS:
        built[version] = folder / f"count{version}.so"
        command = [*host.compiler, "-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={version}"]
        subprocess.run([*command, HERE / "qemu_plugin.c", "-o", built[version]], check=True)
    return built


def run_qemu(image: Image, plugins: dict[int, Path], folder: Path) -> tuple[str, int, int]:
    """What the program printed, the instructions up to `finished` and the hash of their addresses."""
    counted = folder / "counted"
    said = ""
    for plugin in plugins.values():
        done = subprocess.run(
            [
                QEMU, "-M", "mps2-an386", "-nographic", "-semihosting-config", "enable=on,target=native",
                "-kernel", image.path, "-plugin", f"{plugin},until={image.symbol('finished'):#x},out={counted}",
            ],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if counted.is_file():
            assert done.returncode == 0, done.stderr
            instructions, path = map(int, counted.read_text().split())
            return done.stdout + done.stderr, instructions, path  # it prints to the latter
        said = done.stderr
        assert "plugin" in said, said
    pytest.skip(f"this QEMU loads no plugin of the versions {PLUGIN_VERSIONS}: {said.strip()}")


def link(toolchain: Toolchain, emitted_folder: Path, folder: Path, target: Board) -> Image:
    """An emitted folder with the board of the tests, where `target` has its memories."""
    board = resource_dir("firmware") / "apollo4"
    script = folder / f"{target.title}.ld"
    text = (board / APOLLO4.linker_script).read_text()
    for memory, moved in zip(APOLLO4.memories, target.memories, strict=True):
        assert f"ORIGIN = {memory.start:#010x}" in text
        text = text.replace(f"ORIGIN = {memory.start:#010x}", f"ORIGIN = {moved.start:#010x}")
    script.write_text(text)
    # No plain store changes MRAM, and QEMU has no function that does: what would survive is among the variables here.
    port = folder / "port"
    port.mkdir(exist_ok=True)
    variable = (
        '#define FM_NV __attribute__((section(".bss.fm_nv"), aligned(FM_NV_GRANULE)))\n'
        '#define FM_NV_LOADED __attribute__((section(".data.fm_nv"), aligned(FM_NV_GRANULE)))\n\n#endif'
    )
    header = (board / "fm_port_board.h").read_text()
    (port / "fm_port_board.h").write_text(variable.join(header.rsplit("#endif", 1)))
    sources = [
        *sorted(emitted_folder.glob("*.c")),
        *sorted((emitted_folder / "runtime").glob("*.c")),
        emitted_folder / "device" / "memory.c",
        *(path for path in sorted(board.glob("*.[cS]")) if path.name not in REPLACED),
        HERE / "qemu_board.c",
    ]
    out = folder / f"{target.title}.elf"
    build_sources(
        toolchain,
        target,
        sources,
        include_dirs=[emitted_folder, emitted_folder / "runtime", emitted_folder / "device", port, board],
        script=script,
        out_elf=out,
    )
    return read_image(out, target)


@each_toolchain
@pytest.mark.parametrize("net", ["tiny", "har"])
def test_outputs_counts_and_path(toolchain, net, plugins, tmp_path):
    source = emitted(net)
    image = link(toolchain, source, tmp_path, APOLLO4)
    printed, instructions, path = run_qemu(link(toolchain, source, tmp_path, MPS2), plugins, tmp_path)

    machine = Apollo4Machine(image)
    finished = image.symbol("finished")
    assert machine.run(stops=[finished]) == "breakpoint"
    assert machine.counts().instructions == instructions
    assert instructions > 1000
    assert printed
    assert machine.read(image.symbol("outputs"), len(printed) // 2).hex() == printed

    if net == "tiny":
        machine.power_on()
        found = 0
        while machine.pc != finished:
            found = (found ^ (machine.pc - APOLLO4.near_nv.start)) * 0x100000001B3 % 2**64
            machine.run(max_instructions=1)
        assert found == path
