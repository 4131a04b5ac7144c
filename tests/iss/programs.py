"""Seeded random programs with loops, calls and jumps, to be run from beginning to end.

R10 and R11 point to a window of data below and one above 64 K and never change; R12 and R13 count loops; the others
hold data. Instructions that an oracle is known to get wrong are not drawn for it, nor what leaves a status bit undefined.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from .batch import FIRST_BYTE, MEMORY_BYTES
from .encode import (
    DOUBLE,
    JUMPS,
    PC,
    SP,
    SR,
    Instruction,
    Mode,
    Operand,
    Size,
    assemble,
)
from .generate import Case

ENTRY: Final = 0x4400
LOW_WINDOW, HIGH_WINDOW, STACK = 0x9000, 0x18000, 0xA800
_WINDOW_BYTES: Final = 256
_DATA: Final = (4, 5, 6, 7, 8, 9, 14)
_LOW_POINTER, _HIGH_POINTER, _OUTER, _INNER, _WALKER = 10, 11, 12, 13, 15
SAVED: Final = 0x1F000
"""Where a program leaves R4..R15 (32 bits each), then SP, then SR."""

Avoid = Callable[[Case], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """All memory before the run; execution goes from `entry` to the instruction before `end`."""

    memory: bytes
    entry: int
    end: int


def draw_program(seed: int, avoid: Avoid) -> Program:
    """A program without instructions that `avoid` names."""
    return _Writer(Random(seed), avoid).program()


class _Writer:
    def __init__(self, random: Random, avoid: Avoid) -> None:
        self._random = random
        self._avoid = avoid
        self._at = ENTRY
        self._code = bytearray()
        self._subroutines: list[tuple[int, bool]] = []

    def program(self) -> Program:
        random = self._random
        for _ in range(3):
            far = random.random() < 0.5
            self._subroutines.append((self._at, far))
            self._straight(random.randrange(2, 7))
            self._return(far)
        entry = self._at
        pointers = {_LOW_POINTER: LOW_WINDOW, _HIGH_POINTER: HIGH_WINDOW, SP: STACK}
        for register in (*_DATA, _WALKER, _LOW_POINTER, _HIGH_POINTER, SP):
            self._emit(
                _mova(Operand(mode=Mode.IMMEDIATE, value=pointers.get(register, random.randrange(1 << 20))), register)
            )
        self._emit(_move_word(Operand(mode=Mode.IMMEDIATE, value=random.randrange(8)), SR))
        for _ in range(random.randrange(3, 7)):
            self._loop(_OUTER, depth=2)
        for index, register in enumerate((*range(4, 16), SP)):
            target = Operand(mode=Mode.ABSOLUTE, value=SAVED + 4 * index)
            source = Operand(mode=Mode.REGISTER, register=register)
            self._emit(Instruction(form="address", name="MOVA", size="A", source=source, destination=target))
        self._emit(_move_word(Operand(mode=Mode.REGISTER, register=SR), _WALKER))
        status = Operand(mode=Mode.ABSOLUTE, value=SAVED + 52)
        walker = Operand(mode=Mode.REGISTER, register=_WALKER)
        self._emit(Instruction(form="address", name="MOVA", size="A", source=walker, destination=status))
        memory = bytearray(MEMORY_BYTES)
        for window in (LOW_WINDOW, HIGH_WINDOW):
            memory[window : window + _WINDOW_BYTES] = random.randbytes(_WINDOW_BYTES)
        memory[ENTRY : ENTRY + len(self._code)] = self._code
        return Program(memory=bytes(memory), entry=entry, end=self._at)

    def _emit(self, instruction: Instruction) -> None:
        code = assemble(instruction, self._at)
        self._code += code
        self._at += len(code)

    def _loop(self, counter: int, depth: int) -> None:
        random = self._random
        self._emit(_move_word(Operand(mode=Mode.IMMEDIATE, value=random.randrange(2, 12)), counter))
        top = self._at
        for _ in range(random.randrange(2, 5)):
            kind = random.randrange(4)
            if kind == 0 and depth > 1:
                self._loop(_INNER, depth - 1)
            elif kind == 1:
                self._call()
            elif kind == 2:
                self._skip()
            else:
                self._straight(random.randrange(2, 8))
        step = Operand(mode=Mode.CONSTANT, value=-1)
        counted = Operand(mode=Mode.REGISTER, register=counter)
        self._emit(Instruction(form="double", name="ADD", source=step, destination=counted))
        self._emit(Instruction(form="jump", name="JNZ", destination=Operand(mode=Mode.IMMEDIATE, value=top)))

    def _skip(self) -> None:
        """A conditional jump over a few instructions."""
        place, self._at = self._at, self._at + 2
        self._code += bytes(2)
        self._straight(self._random.randrange(1, 4))
        jump = Instruction(
            form="jump",
            name=self._random.choice(JUMPS),
            destination=Operand(mode=Mode.IMMEDIATE, value=self._at),
        )
        self._code[place - ENTRY : place - ENTRY + 2] = assemble(jump, place)

    def _call(self) -> None:
        address, far = self._random.choice(self._subroutines)
        target = Operand(mode=Mode.IMMEDIATE, value=address)
        if far:
            self._emit(Instruction(form="calla", name="CALLA", size="A", destination=target))
        else:
            self._emit(Instruction(form="single", name="CALL", destination=target))

    def _return(self, far: bool) -> None:
        popped = Operand(mode=Mode.POSTINC, register=SP)
        if far:
            self._emit(_mova(popped, PC))
        else:
            self._emit(_move_word(popped, PC))

    def _straight(self, count: int) -> None:
        for _ in range(count):
            while True:
                instructions = self._draw()
                if not any(self._forbidden(instruction) for instruction in instructions):
                    break
            for instruction in instructions:
                self._emit(instruction)

    def _forbidden(self, instruction: Instruction) -> bool:
        if instruction.name in ("DADD", "RLAM"):
            return True
        registers = [0] * 16
        registers[PC], registers[_LOW_POINTER], registers[_HIGH_POINTER] = self._at, LOW_WINDOW, HIGH_WINDOW
        registers[SR] = 1  # as if the carry were set, which is when zero carry tells
        code = assemble(instruction, self._at)
        case = Case(instruction=instruction, code=code, registers=tuple(registers), slot=LOW_WINDOW, data=b"")
        return self._avoid(case)

    def _draw(self) -> list[Instruction]:
        random = self._random
        match random.randrange(8):
            case 0 | 1:
                return [self._double(extended=False)]
            case 2:
                return [self._double(extended=True)]
            case 3:
                return [self._repeated()]
            case 4:
                return [self._single()]
            case 5:
                return [self._address()]
            case 6:
                return self._pushed()
            case _:
                return self._walk()

    def _register(self) -> Operand:
        return Operand(mode=Mode.REGISTER, register=self._random.choice(_DATA))

    def _memory(self, extended: bool) -> Operand:
        random = self._random
        offset = 2 * random.randrange(_WINDOW_BYTES // 2 - 4)
        mode = random.choice((Mode.INDEXED, Mode.INDEXED, Mode.ABSOLUTE, Mode.SYMBOLIC))
        if mode is Mode.INDEXED:
            return Operand(mode=mode, register=random.choice((_LOW_POINTER, _HIGH_POINTER)), value=offset)
        return Operand(mode=mode, value=(HIGH_WINDOW if extended and random.random() < 0.5 else LOW_WINDOW) + offset)

    def _double(self, extended: bool) -> Instruction:
        random = self._random
        size: Size = random.choice(("B", "W", "A")) if extended else random.choice(("B", "W"))
        bits = {"B": 8, "W": 16, "A": 20}[size]
        source = random.choice(
            (
                self._register(),
                self._register(),
                self._memory(extended),
                Operand(mode=Mode.IMMEDIATE, value=random.randrange(1 << bits)),
                Operand(mode=Mode.CONSTANT, value=random.choice((0, 1, 2, 4, 8, -1))),
                Operand(mode=Mode.INDIRECT, register=random.choice((_LOW_POINTER, _HIGH_POINTER))),
            )
        )
        destination = random.choice((self._register(), self._register(), self._memory(extended)))
        return Instruction(
            form="double",
            name=random.choice(DOUBLE),
            size=size,
            source=source,
            destination=destination,
            extended=extended,
        )

    def _repeated(self) -> Instruction:
        random = self._random
        name = random.choice((*DOUBLE, "RRC", "RRA"))
        form = "double" if name in DOUBLE else "single"
        return Instruction(
            form="double" if form == "double" else "single",
            name=name,
            size=random.choice(("B", "W", "A")),
            source=self._register() if form == "double" else None,
            destination=self._register(),
            extended=True,
            repeat=random.randrange(1, 17),
            zero_carry=name in ("ADDC", "SUBC", "RRC") and random.random() < 0.3,
        )

    def _single(self) -> Instruction:
        random = self._random
        if random.random() < 0.3:
            name = random.choice(("RRAM", "RRCM", "RRUM"))
            size: Size = random.choice(("W", "A"))
            count = random.randrange(1, 5)
            return Instruction(form="shift", name=name, size=size, destination=self._register(), count=count)
        name = random.choice(("RRA", "RRC", "SWPB", "SXT"))
        size = "W" if name in ("SWPB", "SXT") else random.choice(("B", "W"))
        return Instruction(
            form="single", name=name, size=size, destination=random.choice((self._register(), self._memory(False)))
        )

    def _address(self) -> Instruction:
        random = self._random
        name = random.choice(("MOVA", "ADDA", "SUBA", "CMPA"))
        source = random.choice((self._register(), Operand(mode=Mode.IMMEDIATE, value=random.randrange(1 << 20))))
        return Instruction(form="address", name=name, size="A", source=source, destination=self._register())

    def _pushed(self) -> list[Instruction]:
        """Registers pushed and popped again, perhaps into others."""
        random = self._random
        size: Size = random.choice(("W", "A"))
        count = random.randrange(1, 6)
        top = Operand(mode=Mode.REGISTER, register=random.randrange(3 + count, 10))
        return [
            Instruction(form="block", name=name, size=size, destination=top, count=count) for name in ("PUSHM", "POPM")
        ]

    def _walk(self) -> list[Instruction]:
        """A pointer set, then stepped."""
        random = self._random
        start = random.choice((LOW_WINDOW, HIGH_WINDOW)) + 2 * random.randrange(_WINDOW_BYTES // 2 - 8)
        step = Operand(mode=Mode.POSTINC, register=_WALKER)
        size: Size = random.choice(("B", "W"))
        name = random.choice(("MOV", "ADD", "ADDC", "CMP", "XOR", "AND", "BIT"))
        return [
            _mova(Operand(mode=Mode.IMMEDIATE, value=start), _WALKER),
            *(
                Instruction(form="double", name=name, size=size, source=step, destination=self._register())
                for _ in range(random.randrange(1, 3))
            ),
        ]


def _mova(source: Operand, register: int) -> Instruction:
    destination = Operand(mode=Mode.REGISTER, register=register)
    return Instruction(form="address", name="MOVA", size="A", source=source, destination=destination)


def _move_word(source: Operand, register: int) -> Instruction:
    destination = Operand(mode=Mode.REGISTER, register=register)
    return Instruction(form="double", name="MOV", source=source, destination=destination)


def saved_status(memory: bytes) -> int:
    """SR at the end of the program."""
    return int(struct.unpack_from("<H", memory, SAVED + 52)[0])


def data_written(memory: bytes) -> bytes:
    """All that a program may have written, but for SR."""
    return memory[FIRST_BYTE : SAVED + 52] + memory[SAVED + 54 :]
