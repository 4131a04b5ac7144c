"""Arithmetic helpers for the MSP430, run as the compiler calls them and compared with Python's integers."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

from freeml.resources import resource_dir
from freeml.targets import Board
from freeml.toolchains import Toolchain, build_sources

from .board430 import finish, load
from .conftest import HERE, each_for_msp430

PROBE = HERE / "arith" / "probe.c"
PAIRS = 16
EDGES_64 = (1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x10001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
FIELDS = re.findall(r"uint(\d\d)_t (\w+);", PROBE.read_text().split("struct results")[1].split("}")[0])


def _operands(rng: random.Random) -> list[tuple[int, int]]:
    """Edge values and numbers of every length. No part of a divisor is zero: that is undefined in C."""
    pairs = []
    while len(pairs) < PAIRS:
        a, b = (rng.choice((rng.choice(EDGES_64), rng.getrandbits(rng.randint(1, 64)))) for _ in range(2))
        b |= rng.choice((1, 0x8000, 0xFFFF))
        # The most negative number over -1 overflows, which is undefined in C as well.
        if all(_signed(a, bits) != -(1 << bits - 1) or _signed(b, bits) != -1 for bits in (16, 32, 64)):
            pairs.append((a, b))
    return pairs


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _expected(name: str, bits: int, a: int, b: int) -> int:
    signed = "_s" in name
    x, y = (_signed(v, bits) if signed else v & ((1 << bits) - 1) for v in (a, b))
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)  # C divides towards zero
    value = {
        "product": x * y,
        "quotient": quotient,
        "rest": x - quotient * y,
        "left": x << (b & (bits - 1)),
        "right": x >> (b & (bits - 1)),
    }[name.split("_")[0]]
    return value & ((1 << bits) - 1)


@each_for_msp430
def test_every_helper_agrees_with_python(msp430: Board, toolchain: Toolchain, tmp_path: Path):
    firmware = resource_dir("firmware")
    board = firmware / msp430.name
    sources = (PROBE, firmware / "device" / "memory.c", *sorted(board.glob("*.[cS]")))
    script = board / msp430.linker_script
    folders = (firmware / "common", firmware / "device", board)
    elf = build_sources(
        toolchain, msp430, sources, include_dirs=folders, script=script, out_elf=tmp_path / "probe.elf"
    ).elf
    pairs = _operands(random.Random(430))
    machine = load(elf)
    start = machine.image.symbol("probe_pairs")
    for position, (a, b) in enumerate(pairs):
        machine.write(start + 16 * position, struct.pack("<QQ", a, b))
    finish(machine)
    address = machine.image.symbol("probe_results")
    for a, b in pairs:
        for bits, name in ((int(width), name) for width, name in FIELDS):
            found = int.from_bytes(machine.read(address, bits // 8), "little")
            address += bits // 8
            assert found == _expected(name, bits, a, b), f"{name} of {a:#x} and {b:#x}: found {found:#x}"
