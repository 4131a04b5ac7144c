"""A C program as msp430-elf-gcc builds it, small and large model, on GDB's simulator and on the project's.

Without a hardware multiplier: GDB's is only part of one (no saturation, no fractions, no byte registers, no reading back of
32-bit accumulations), so that the project's own is tested from the user guide's text elsewhere. For the same reason a
net's firmware, which is built for the multiplier and the FRAM controller, cannot run there. GDB's simulator reports no
instruction counts; the number of instructions is compared with p-code's (`test_programs.py`).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from freeml.sim.msp430.machine import Msp430Machine
from freeml.targets import get
from freeml.toolchains import installed

from . import gdbsim
from .batch import FIRST_BYTE, MEMORY_BYTES
from .encode import PC

HERE = Path(__file__).parent / "c"
_MODELS = {"small": ("-msmall",), "large": ("-mlarge", "-mcode-region=none", "-mdata-region=none")}
_LIMIT = 20_000_000


@pytest.fixture(scope="session")
def gcc() -> str:
    for toolchain in installed(get("msp430")):
        if toolchain.kind == "gcc":
            return toolchain.compiler[0]
    pytest.skip("msp430-elf-gcc is not here: tools/build_msp430_gcc.sh builds it")


def build(gcc: str, folder: Path, model: str, optimise: str) -> Path:
    linked = folder / "work.elf"
    command = [gcc, "-mcpu=msp430x", "-mhwmult=none", *_MODELS[model], optimise, "-ffreestanding", "-nostartfiles"]
    sources = [str(HERE / "start.S"), str(HERE / "work.c")]
    command += ["-T", str(HERE / "flat.ld"), *sources, "-lgcc", "-o", str(linked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return linked


def load(linked: Path) -> tuple[bytes, dict[str, int]]:
    memory = bytearray(MEMORY_BYTES)
    with linked.open("rb") as file:
        elf = ELFFile(file)
        for segment in elf.iter_segments("PT_LOAD"):
            memory[segment["p_paddr"] : segment["p_paddr"] + segment["p_filesz"]] = segment.data()
        table = elf.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    return bytes(memory), symbols


@pytest.mark.parametrize("optimise", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("model", ["small", "large"])
def test_a_c_program_leaves_the_same_memory(
    gcc: str, gdb_required: Path, tmp_path: Path, model: str, optimise: str
) -> None:
    memory, symbols = load(build(gcc, tmp_path, model, optimise))
    end = symbols["done"]
    machine = Msp430Machine.bare(flat=True)
    machine.write(0, memory)
    machine.set_register(PC, symbols["_start"])
    assert machine.run(stops={end}, max_instructions=_LIMIT) == "breakpoint"
    code = gdbsim.epilogue()
    theirs = gdbsim.run(gdb_required, memory[:end] + code + memory[end + len(code) :], symbols["_start"])
    ours = machine.read(0, MEMORY_BYTES)
    assert ours[FIRST_BYTE:end] == theirs[FIRST_BYTE:end]
    assert ours[end + len(code) :] == theirs[end + len(code) :]
    results = ours[symbols["results"] : symbols["results"] + 96]
    assert results != memory[symbols["results"] : symbols["results"] + 96]
    assert machine.counts().instructions > 20_000
