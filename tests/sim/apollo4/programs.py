"""Small firmwares for the Apollo4, built with the project's own board support."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from freeml.resources import resource_dir
from freeml.sim.apollo4.machine import Apollo4Machine
from freeml.sim.image import Image, read_image
from freeml.targets import BOARDS
from freeml.toolchains import Toolchain, build_sources, installed

HERE = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[3]
APOLLO4 = BOARDS["apollo4"]
TOOLCHAINS = installed(APOLLO4)

each_toolchain = pytest.mark.parametrize("toolchain", TOOLCHAINS, ids=[toolchain.kind for toolchain in TOOLCHAINS])


@cache
def program(toolchain: Toolchain, *names: str) -> Image:
    """The image of the files in `programs`, with startup, board and memory functions of the firmware."""
    firmware = resource_dir("firmware")
    board = firmware / APOLLO4.name
    out = Path(mkdtemp(prefix="freeml-apollo4-")) / "firmware.elf"
    build_sources(
        toolchain,
        APOLLO4,
        [*(HERE / name for name in names), firmware / "device" / "memory.c", *sorted(board.glob("*.[cS]"))],
        include_dirs=(firmware / "common", firmware / "device", board),
        script=board / APOLLO4.linker_script,
        out_elf=out,
    )
    return read_image(out, APOLLO4)


def started(image: Image) -> Apollo4Machine:
    """A machine about to execute main."""
    machine = Apollo4Machine(image)
    assert machine.run(stops=[image.symbol("main")], max_instructions=1_000_000) == "breakpoint"
    return machine


def finished(machine: Apollo4Machine) -> Apollo4Machine:
    """The same at the end of the program."""
    halt = machine.image.symbol("fm_board_halt")
    assert machine.run(stops=[halt], max_instructions=10_000_000) == "breakpoint"
    return machine


@cache
def emitted(net: str) -> Path:
    """A firmware folder: the hand-written net of the toolchain tests, or an example as freeml compiles it."""
    folder = Path(mkdtemp(prefix=f"freeml-{net}-")) / net
    if net == "tiny":
        shutil.copytree(ROOT / "tests" / "toolchains" / "tiny", folder)
        firmware = resource_dir("firmware")
        for source, target in (("common", "runtime"), ("device", "device"), (APOLLO4.name, "board")):
            shutil.copytree(firmware / source, folder / target)
        return folder
    model = ROOT / "examples" / "models" / f"{net}.onnx"
    command = [sys.executable, "-m", "freeml", "compile", model, "--target", APOLLO4.name, "--out", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder
