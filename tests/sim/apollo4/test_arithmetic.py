"""64-bit division as compilers call it, on the Cortex-M4, against Python's integers."""

from __future__ import annotations

import random
import struct

from .programs import each_toolchain, finished, program, started

PAIRS = 64
EDGES = (0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def _operands(rng: random.Random) -> list[tuple[int, int]]:
    """Edge values and numbers of every length; no division by zero, no overflow: those are undefined in C."""
    pairs = []
    while len(pairs) < PAIRS:
        a, b = (rng.choice((rng.choice(EDGES), rng.getrandbits(rng.randint(1, 64)))) for _ in range(2))
        if b and (a, b) != (1 << 63, (1 << 64) - 1):
            pairs.append((a, b))
    return pairs


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _towards_zero(a: int, b: int) -> tuple[int, int]:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - quotient * b


@each_toolchain
def test_quotients_and_remainders(toolchain):
    image = program(toolchain, "divide.c")
    begin = started(image)
    start = begin.snapshot()
    for seed in range(8):
        machine = begin
        machine.restore(start)
        pairs = _operands(random.Random(seed))
        machine.write(image.symbol("operands"), struct.pack(f"<{2 * PAIRS}Q", *(v for pair in pairs for v in pair)))
        finished(machine)
        found = struct.iter_unpack("<QQ", machine.read(image.symbol("unsigned_results"), 16 * PAIRS))
        assert list(found) == [divmod(a, b) for a, b in pairs]
        found = struct.iter_unpack("<qq", machine.read(image.symbol("signed_results"), 16 * PAIRS))
        assert list(found) == [_towards_zero(_signed(a), _signed(b)) for a, b in pairs]
    assert {"__aeabi_uldivmod", "__aeabi_ldivmod"} <= set(image.symbols)
