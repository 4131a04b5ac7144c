"""The second oracle: GDB's msp430 simulator, run as a program (tools/build_gdb_sim.sh).

It loads an ELF, begins at its entry and serves the calls of libgloss: CALL to 0x180 + n is system call n, arguments
in R12.. (n = 1 exits, n = 5 writes). So an image ends with a write of all its memory to standard output. Nothing else
of the program is of use: traces are text, and it has no option to dump memory.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .batch import FIRST_BYTE, GDB_V_FLAG, MEMORY_BYTES, START, Outcome, end, image, outcome, stray_writes
from .generate import Case

ENVIRONMENT: Final = "FREEML_MSP430_SIM"
MISSING: Final = f"GDB's msp430 simulator is not here: tools/build_gdb_sim.sh builds it, {ENVIRONMENT} names it"

_TIMEOUT_S: Final = 20
_ELF_HEADER: Final = struct.Struct("<16sHHIIIIIHHHHHH")
_PROGRAM_HEADER: Final = struct.Struct("<8I")
_EM_MSP430: Final = 105


class GdbSimError(Exception):
    """The simulator stopped before the end of the image."""


def find() -> Path | None:
    """The simulator's program."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    found = shutil.which("msp430-elf-run")
    return Path(found) if found else None


def elf(memory: bytes, entry: int) -> bytes:
    """An executable that loads `memory[FIRST_BYTE:]` at FIRST_BYTE. Its .text is what GDB's loader looks for."""
    names = b"\0.text\0.shstrtab\0"
    body = memory[FIRST_BYTE:]
    offset = _ELF_HEADER.size + _PROGRAM_HEADER.size
    sections = offset + len(body) + len(names)
    header = _ELF_HEADER.pack(
        b"\x7fELF\x01\x01\x01" + bytes(9),
        *(2, _EM_MSP430, 1, entry, _ELF_HEADER.size, sections, 45),  # 45: the MSP430X
        *(_ELF_HEADER.size, _PROGRAM_HEADER.size, 1, 40, 3, 2),
    )
    load = _PROGRAM_HEADER.pack(1, offset, FIRST_BYTE, FIRST_BYTE, len(body), len(body), 7, 4)
    table = bytes(40)
    table += struct.pack("<10I", 1, 1, 7, FIRST_BYTE, offset, len(body), 0, 0, 2, 0)
    table += struct.pack("<10I", 7, 3, 0, 0, offset + len(body), len(names), 0, 0, 1, 0)
    return header + load + body + names + table


def epilogue() -> bytes:
    """Code that writes memory from FIRST_BYTE on to standard output, then exits with status 0."""
    size = MEMORY_BYTES - FIRST_BYTE
    words = [
        *(0x008C, 1),  # MOVA #1, R12
        *(0x008D | FIRST_BYTE >> 16 << 8, FIRST_BYTE & 0xFFFF),  # MOVA #first, R13
        *(0x008E | size >> 16 << 8, size & 0xFFFF),  # MOVA #size, R14
        *(0x12B0, 0x185),  # CALL #write
        *(0x008C, 0),
        *(0x12B0, 0x181),  # CALL #exit
    ]
    return struct.pack(f"<{len(words)}H", *words)


def run(program: Path, memory: bytes, entry: int) -> bytes:
    """Memory after a run of an image that ends in the epilogue. Raises GdbSimError."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(elf(memory, entry))
        file.flush()
        done = subprocess.run([program, file.name], capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode or len(done.stdout) != MEMORY_BYTES - FIRST_BYTE:
        raise GdbSimError(f"exit status {done.returncode}, {len(done.stdout)} bytes: {done.stderr[-300:]!r}")
    return bytes(FIRST_BYTE) + done.stdout


def execute(program: Path, cases: Sequence[Case]) -> Outcome:
    """What GDB's simulator makes of the cases. Raises GdbSimError, also when anything else was overwritten."""
    memory = image(cases, v_flag=GDB_V_FLAG)
    code = epilogue()
    memory[end(cases) : end(cases) + len(code)] = code
    after = outcome(cases, run(program, bytes(memory), START), v_flag=GDB_V_FLAG)
    stray = stray_writes(cases, memory, after)
    if stray:
        raise GdbSimError(f"bytes were written outside the cases' data: {[hex(address) for address in stray[:8]]}")
    return after
