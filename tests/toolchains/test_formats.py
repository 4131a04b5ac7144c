"""Images for programmers, read back by independent readers to the bytes that the ELF file loads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from freeml.building import write_programmer_images
from freeml.sim.image import read_image
from freeml.targets import Board
from freeml.toolchains import Toolchain, build
from freeml.toolchains.formats import intel_hex, plain, ti_txt

from .conftest import Built, each_toolchain, emit_tiny

FAR = 0x10000
FAR_DATA = bytes(range(1, 20))
"""An odd number of bytes, so that the linker script has something to round up."""


def memory(blocks: list[tuple[int, bytes]]) -> dict[int, int]:
    """Bytes by address; an address that is written twice is an error."""
    found: dict[int, int] = {}
    for address, data in blocks:
        for offset, byte in enumerate(data):
            assert address + offset not in found, hex(address + offset)
            found[address + offset] = byte
    return found


def loaded(elf: Path, board: Board) -> dict[int, int]:
    return memory([(segment.address, segment.data) for segment in read_image(elf, board).segments])


def read_hex(text: str) -> dict[int, int]:
    """Intel HEX as its specification has it (Intel, 1988): record checksums, types 00, 01 and 04."""
    blocks, base, ended = [], 0, False
    for line in text.splitlines():
        assert line[0] == ":"
        assert not ended
        record = bytes.fromhex(line[1:])
        assert sum(record) % 256 == 0, f"checksum of {line}"
        count, offset, kind, data = record[0], int.from_bytes(record[1:3], "big"), record[3], record[4:-1]
        assert count == len(data)
        assert offset + count <= 0x10000, "a record that wraps within its segment"
        if kind == 0:
            blocks.append((base + offset, data))
        elif kind == 4:
            base = int.from_bytes(data, "big") << 16
        else:
            assert kind == 1
            ended = True
    assert ended
    return memory(blocks)


def read_ti_txt(text: str) -> dict[int, int]:
    """TI-TXT as SLAU101, section A.2, restricts it."""
    assert text.endswith("\nq\n")
    blocks = []
    for section in re.split("^@", text[:-2], flags=re.MULTILINE)[1:]:
        address, *lines = section.splitlines()
        data = [bytes.fromhex(line) for line in lines]
        assert int(address, 16) % 2 == 0, "start addresses are even"
        assert all(len(line) == 16 for line in data[:-1]), "16 bytes to a line but the last"
        assert all(re.fullmatch("[0-9A-F]{2}( [0-9A-F]{2})*", line) for line in lines), "single spaces"
        blocks.append((int(address, 16), b"".join(data)))
    return memory(blocks)


def with_far_data(folder: Path) -> Path:
    values = ", ".join(map(str, FAR_DATA))
    source = f"FM_FAR(000) const unsigned char far_data[{len(FAR_DATA)}] = {{{values}}};\n"
    header = f"extern const unsigned char far_data[{len(FAR_DATA)}];\n"
    (folder / "far_data.c").write_text(f'#include "fm_port.h"\n{header}{source}')
    return folder


@each_toolchain
def test_every_format_holds_the_bytes_of_the_elf(board: Board, toolchain: Toolchain, built: Built, tmp_path: Path):
    elf = tmp_path / "firmware.elf"
    shutil.copy(built(board, toolchain).elf, elf)
    paths = write_programmer_images(elf, board)
    expected = loaded(elf, board)
    assert len(expected) > 1000
    assert set(paths) == set(board.image_formats)
    assert read_hex(paths["hex"].read_text()) == expected
    if "ti-txt" in paths:
        assert read_ti_txt(paths["ti-txt"].read_text()) == expected
    if "bin" in paths:
        start = board.near_nv.start
        held = memory([(start, paths["bin"].read_bytes())])
        assert {address: held[address] for address in expected} == expected
        assert {byte for address, byte in held.items() if address not in expected} <= {0xFF}, (
            "holes of an erased memory"
        )


def test_far_addresses(msp430: Board, zig: Toolchain, tmp_path: Path):
    elf = build(zig, msp430, with_far_data(emit_tiny(tmp_path / "fw", msp430)), tmp_path / "firmware.elf").elf
    expected = loaded(elf, msp430)
    assert bytes(expected[FAR + offset] for offset in range(len(FAR_DATA))) == FAR_DATA
    segments = read_image(elf, msp430).segments
    assert all(segment.address % 2 == len(segment.data) % 2 == 0 for segment in segments), "words, for every programmer"
    paths = write_programmer_images(elf, msp430)
    assert read_hex(paths["hex"].read_text()) == expected
    assert read_ti_txt(paths["ti-txt"].read_text()) == expected
    assert f"@{FAR:X}\n" in paths["ti-txt"].read_text()


def test_blocks_in_any_order_with_gaps():
    blocks = [(0x1FFF0, bytes(range(40))), (0x20, b"\x01\x02\x03")]
    assert read_hex(intel_hex(blocks).decode()) == memory(blocks)
    assert read_ti_txt(ti_txt(blocks).decode()) == memory(blocks)
    image = plain(blocks)
    assert len(image) == 0x1FFF0 + 40 - 0x20
    assert image[:3] == b"\x01\x02\x03"
    assert image[-40:] == bytes(range(40))
    assert set(image[3:-40]) == {0xFF}


@pytest.mark.skipif(shutil.which("mspdebug") is None, reason="mspdebug is not installed")
@pytest.mark.parametrize("suffix", [".elf", ".hex", ".txt"])
def test_mspdebug_takes_them(msp430: Board, zig: Toolchain, built: Built, suffix: str, tmp_path: Path):
    """The real programmer, with its simulated chip: what it wrote is what it shows."""
    elf = tmp_path / "firmware.elf"
    shutil.copy(built(msp430, zig).elf, elf)
    write_programmer_images(elf, msp430)
    dump = tmp_path / "dump.hex"
    start, size = msp430.near_nv.start, 0x10000 - msp430.near_nv.start
    commands = [f"prog firmware{suffix}", f"save_raw {start} {size} {dump.name}"]
    command = ["mspdebug", "-q", "-n", "sim", *commands]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    memory_dump = dump.read_bytes()
    assert {address: memory_dump[address - start] for address in loaded(elf, msp430)} == loaded(elf, msp430)
