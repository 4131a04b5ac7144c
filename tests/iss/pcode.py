"""The first oracle: instructions executed from the p-code that pypcode lifts them to.

pypcode carries Ghidra's processor descriptions; the one used here is TI_MSP430X:LE:32:default. How it sees the machine:

- Registers R0..R15 are four bytes each, at offset 4 n of the register space. Registers go in zero-extended and come out
  masked to 20 bits: the description means 20-bit results to be sign-extended, but cuts out three bytes first, so that
  what it extends is bit 23. What an operation leaves above bit 19 is cut off before the next instruction.
- R0 never moves while an instruction runs: it holds the address behind the instruction; branches are p-code branches.
- Status bits are extracted from R2 with masks and shifts, at the positions of the hardware (V is bit 8).
- R3 is a register like others; the generated constants are constants already when lifted.
- Addresses are 32 bits and not cut to 20; the interpreter cuts them.
- The repetition counter of an extension word is a register of its own, CNT, set by the lifted code itself.
- DADDX is an opaque operation without a meaning (CALLOTHER); executing it raises NotModelledError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import pypcode
from pypcode import OpCode

from .encode import ADDRESS_MASK

LANGUAGE: Final = "TI_MSP430X:LE:32:default"

_CONST, _REGISTER, _RAM, _UNIQUE = range(4)
_SPACES: Final = {"const": _CONST, "register": _REGISTER, "RAM": _RAM, "unique": _UNIQUE}
_REGISTER_BYTES: Final = 0x2010
_MASKS: Final = {size: (1 << 8 * size) - 1 for size in range(1, 9)}


def _number(code: OpCode) -> int:
    """The enumeration's number, which is quicker to look up than its member."""
    return int(code.value)  # type: ignore[attr-defined]


_BRANCHES: Final = frozenset(
    _number(code) for code in (OpCode.BRANCH, OpCode.CALL, OpCode.BRANCHIND, OpCode.CALLIND, OpCode.RETURN)
)
_INDIRECT: Final = frozenset(_number(code) for code in (OpCode.BRANCHIND, OpCode.CALLIND, OpCode.RETURN))
_CBRANCH: Final = _number(OpCode.CBRANCH)
_LOAD: Final = _number(OpCode.LOAD)
_STORE: Final = _number(OpCode.STORE)
_LIMIT_OPS: Final = 100_000


class NotModelledError(Exception):
    """The lifted code holds an operation that has no meaning."""


class UndecodableError(Exception):
    """pypcode refuses the bytes."""


Place = tuple[int, int, int]
"""Space, offset, size in bytes."""

Op = tuple[int, Place | None, tuple[Place, ...]]


def _signed(value: int, size: int) -> int:
    sign = 1 << 8 * size - 1
    return (value & sign - 1) - (value & sign)


_Operation = Callable[[int, int, int, int], int]
"""Left value, right value, size of the left, size of the output."""

_OPERATIONS: Final[dict[int, _Operation]] = {
    _number(code): operation
    for code, operation in (
        (OpCode.COPY, lambda a, b, n, m: a),
        (OpCode.INT_ZEXT, lambda a, b, n, m: a),
        (OpCode.INT_SEXT, lambda a, b, n, m: _signed(a, n)),
        (OpCode.INT_ADD, lambda a, b, n, m: a + b),
        (OpCode.INT_SUB, lambda a, b, n, m: a - b),
        (OpCode.INT_MULT, lambda a, b, n, m: a * b),
        (OpCode.INT_AND, lambda a, b, n, m: a & b),
        (OpCode.INT_OR, lambda a, b, n, m: a | b),
        (OpCode.INT_XOR, lambda a, b, n, m: a ^ b),
        (OpCode.INT_NEGATE, lambda a, b, n, m: ~a),
        (OpCode.INT_2COMP, lambda a, b, n, m: -a),
        (OpCode.INT_LEFT, lambda a, b, n, m: a << b if b < 64 else 0),
        (OpCode.INT_RIGHT, lambda a, b, n, m: a >> b if b < 64 else 0),
        (OpCode.INT_SRIGHT, lambda a, b, n, m: _signed(a, n) >> min(b, 64)),
        (OpCode.INT_EQUAL, lambda a, b, n, m: a == b),
        (OpCode.INT_NOTEQUAL, lambda a, b, n, m: a != b),
        (OpCode.INT_LESS, lambda a, b, n, m: a < b),
        (OpCode.INT_LESSEQUAL, lambda a, b, n, m: a <= b),
        (OpCode.INT_SLESS, lambda a, b, n, m: _signed(a, n) < _signed(b, n)),
        (OpCode.INT_SLESSEQUAL, lambda a, b, n, m: _signed(a, n) <= _signed(b, n)),
        (OpCode.INT_CARRY, lambda a, b, n, m: a + b > _MASKS[n]),
        (OpCode.INT_SCARRY, lambda a, b, n, m: _signed(a, n) + _signed(b, n) != _signed(a + b, n)),
        (OpCode.INT_SBORROW, lambda a, b, n, m: _signed(a, n) - _signed(b, n) != _signed(a - b, n)),
        (OpCode.BOOL_AND, lambda a, b, n, m: a & b),
        (OpCode.BOOL_OR, lambda a, b, n, m: a | b),
        (OpCode.BOOL_XOR, lambda a, b, n, m: a ^ b),
        (OpCode.BOOL_NEGATE, lambda a, b, n, m: a ^ 1),
        (OpCode.SUBPIECE, lambda a, b, n, m: a >> 8 * b),
    )
}


@dataclass(frozen=True, slots=True)
class Lifted:
    """One instruction: its length in bytes and its operations."""

    size: int
    ops: tuple[Op, ...]


_context = pypcode.Context(LANGUAGE)
_context.setVariableDefault("ctx_isHi", 0)


@lru_cache(maxsize=65536)
def lift(code: bytes, address: int) -> Lifted:
    """P-code of the instruction that `code` begins with, at `address`. Raises UndecodableError."""
    try:
        ops = _context.translate(code, base_address=address, max_instructions=1).ops
    except (pypcode.BadDataError, pypcode.UnimplError, pypcode.LowlevelError) as error:
        raise UndecodableError(f"{code.hex()}: {error}") from error
    if not ops:
        raise UndecodableError(code.hex())
    size = sum(node.size for node in ops[0].inputs)
    return Lifted(size, tuple(_op(op) for op in ops))


def _op(op: pypcode.PcodeOp) -> Op:
    inputs = op.inputs
    output = op.output
    return _number(op.opcode), None if output is None else _place(output), tuple(_place(node) for node in inputs)


def _place(node: pypcode.Varnode) -> Place:
    return _SPACES.get(node.space.name, _CONST), node.offset, node.size


class Processor:
    """Registers and a memory of 2^20 bytes that belongs to the caller; executes one instruction at a time."""

    def __init__(self, memory: bytearray) -> None:
        """`memory` holds the bytes from address 0 on; nothing behind its end may be touched."""
        self.memory = memory
        self.pc = 0
        self._registers = bytearray(_REGISTER_BYTES)
        self._unique: dict[int, int] = {}

    def set_register(self, number: int, value: int) -> None:
        self._registers[4 * number : 4 * number + 4] = value.to_bytes(4, "little")

    def register(self, number: int) -> int:
        return int.from_bytes(self._registers[4 * number : 4 * number + 4], "little") & ADDRESS_MASK

    def step(self) -> None:
        """Execute the instruction at `pc`. Raises NotModelledError, UndecodableError."""
        lifted = lift(bytes(self.memory[self.pc : self.pc + 8]), self.pc)
        following = (self.pc + lifted.size) & ADDRESS_MASK
        self.set_register(0, following)
        self._unique.clear()
        self.pc = self._execute(lifted.ops, following) & ADDRESS_MASK
        for number in range(1, 16):
            self._registers[4 * number + 2] &= 0x0F
            self._registers[4 * number + 3] = 0

    def _execute(self, ops: tuple[Op, ...], following: int) -> int:
        """Address of the instruction that comes next."""
        read, write = self._read, self._write
        index = 1  # the first only marks where the instruction lies
        for _ in range(_LIMIT_OPS):
            if index >= len(ops):
                return following
            code, output, inputs = ops[index]
            index += 1
            if (operation := _OPERATIONS.get(code)) is not None:
                assert output is not None
                left = inputs[0]
                right = read(inputs[1]) if len(inputs) > 1 else 0
                write(output, operation(read(left), right, left[2], output[2]) & _MASKS[output[2]])
            elif code == _LOAD:
                assert output is not None
                write(output, read((_RAM, read(inputs[1]), output[2])))
            elif code == _STORE:
                write((_RAM, read(inputs[1]), inputs[2][2]), read(inputs[2]))
            elif code == _CBRANCH or code in _BRANCHES:
                if code == _CBRANCH and not read(inputs[1]):
                    continue
                space, offset, size = inputs[0]
                if code in _INDIRECT:
                    return read(inputs[0])
                if space != _CONST:
                    return offset
                index += _signed(offset, size) - 1
            else:
                raise NotModelledError(f"p-code operation {code}")
        raise NotModelledError("the lifted code does not end")

    def _read(self, place: Place) -> int:
        space, offset, size = place
        if space == _CONST:
            return offset & _MASKS[size]
        if space == _REGISTER:
            return int.from_bytes(self._registers[offset : offset + size], "little")
        if space == _RAM:
            offset &= ADDRESS_MASK
            return int.from_bytes(self.memory[offset : offset + size], "little")
        return self._unique[offset] & _MASKS[size]

    def _write(self, place: Place, value: int) -> None:
        space, offset, size = place
        if space == _REGISTER:
            self._registers[offset : offset + size] = value.to_bytes(size, "little")
        elif space == _RAM:
            offset &= ADDRESS_MASK
            assert offset + size <= len(self.memory)
            self.memory[offset : offset + size] = value.to_bytes(size, "little")
        else:
            self._unique[offset] = value
