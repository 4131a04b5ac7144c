"""Seeded random instructions, each with the state it starts from.

Everything that SLAU367P chapter 4 defines is drawn; what it leaves open is not: PUSH of SP or of an
operand behind SP, an operand order that shows (`ADD @R5+, R5`), word accesses at odd addresses, status bits that stop the processor, decimal addition of what is
no decimal number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from .branches import draw_branch
from .encode import (
    ADDRESS_MASK,
    BITS,
    CONSTANTS,
    DOUBLE,
    FLAGS,
    JUMPS,
    PC,
    SHIFTS,
    SP,
    SR,
    STORED_BYTES,
    Instruction,
    Mode,
    Operand,
    Size,
    assemble,
)

LOW = range(0x4400, 0xFF00)
HIGH = range(0x10000, 0x20000)
"""Where code and data of the cases lie: FRAM below and above 64 K, so that one image suits every simulator."""

MOST_CASES = 1500
PAD_BYTES = 4
"""A branch out of the code under test: one behind the instruction, one where it may branch to."""

FALL_THROUGH, TARGET = 0, 1
"""Where a case ends: behind its instruction, or at the target of its branch."""

_SLOT_BYTES = 32
_BLOCK_SLOT_BYTES = 64
_MODE_SIZE_WEIGHTS = (25, 45, 30)
_DATA_REGISTERS = range(4, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One instruction and the state before it.

    `registers` are R0..R15 (R0 is where the code lies); `data` lies at `slot` and holds every byte that the instruction
    may touch; `target` is where its branch leads, None where it has none.
    """

    instruction: Instruction
    code: bytes
    registers: tuple[int, ...]
    slot: int
    data: bytes
    target: int | None = None

    @property
    def address(self) -> int:
        return self.registers[PC]


class FullError(Exception):
    """The image has no room for another case."""


class Layout:
    """Hands out addresses for code and data, below and above 64 K."""

    def __init__(self) -> None:
        self._next = {True: LOW.start, False: HIGH.start}
        self._end = {True: LOW.stop, False: HIGH.stop}

    def take(self, size: int, low: bool) -> int:
        address = self._next[low]
        self._next[low] += size + size % 2
        if self._next[low] > self._end[low]:
            raise FullError
        return address


def batches(seed: int) -> Iterator[tuple[Case, ...]]:
    """Endless batches of cases, each batch for one image."""
    random = Random(seed)
    while True:
        layout = Layout()
        cases: list[Case] = []
        try:
            while len(cases) < MOST_CASES:
                cases.append(Draw(random, layout).case())
        except FullError:
            pass
        yield tuple(cases)


class UnsuitableError(Exception):
    """This drawing cannot be completed (an address out of reach): draw again."""


class Draw:
    """One case being drawn."""

    def __init__(self, random: Random, layout: Layout) -> None:
        self.random = random
        self._layout = layout

    def case(self) -> Case:
        kinds: tuple[tuple[int, Callable[[], Instruction]], ...] = (
            (30, self.double),
            (28, self.double_extended),
            (9, self.single),
            (12, self.single_extended),
            (8, self.address_instruction),
            (4, self.shift),
            (3, self.block),
            (2, self.jump),
            (4, self.branch),
        )
        draw = self.random.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0]
        code_low = draw in (self.jump, self.branch) or self.random.random() < 0.5
        slot_bytes = _BLOCK_SLOT_BYTES if draw == self.block else _SLOT_BYTES
        self.slot = self._layout.take(slot_bytes, self.random.random() < 0.6)
        self.before = draw == self.jump and self.random.random() < 0.3
        gap = 2 * self.random.randrange(480) if draw == self.jump and self.random.random() < 0.05 else 0
        start = self._layout.take(8 + 2 * PAD_BYTES + gap, code_low)
        self.address = start + PAD_BYTES + gap if self.before else start
        self.gap = gap
        while True:
            self.registers = [self._value() for _ in range(16)]
            self.registers[SP] &= ~1
            self.registers[SR] = self.random.randrange(8) | self.random.choice((0, 0x100))
            self.pinned: set[int] = set()
            self.data = bytearray(self.random.randbytes(slot_bytes))
            self.target: int | None = None
            try:
                instruction = draw()
                code = assemble(instruction, self.address)
            except UnsuitableError:
                continue
            self.registers[PC] = self.address
            return Case(
                instruction=instruction,
                code=code,
                registers=tuple(self.registers),
                slot=self.slot,
                data=bytes(self.data),
                target=self.target,
            )

    def _value(self) -> int:
        """Twenty bits that like to be at an edge."""
        random = self.random
        match random.randrange(5):
            case 0:
                edge = random.choice((0, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFF, 0x80000, 0xFFFFF))
                return (edge + random.randrange(-1, 2)) & ADDRESS_MASK
            case 1:
                return random.randrange(1 << 8)
            case 2:
                return random.randrange(1 << 16)
            case _:
                return random.randrange(1 << 20)

    def _size(self) -> Size:
        return self.random.choices(("B", "W", "A"), _MODE_SIZE_WEIGHTS)[0]

    def free_register(self) -> int:
        return self.random.choice([number for number in _DATA_REGISTERS if number not in self.pinned])

    def cell(self, size: Size) -> int:
        """Address of an operand in the slot."""
        room = _SLOT_BYTES - 8 - STORED_BYTES[size]
        offset = 4 + self.random.randrange(room)
        return self.slot + (offset if size == "B" else offset & ~1)

    def point(self, number: int, value: int) -> None:
        if number in self.pinned:
            raise UnsuitableError
        self.registers[number] = value & ADDRESS_MASK
        self.pinned.add(number)

    def operand(self, mode: Mode, size: Size, extended: bool, *, cell: int | None = None, register: int = 0) -> Operand:
        """An operand whose memory, if it has any, lies in the slot (at `cell` if given)."""
        random = self.random
        if mode is Mode.REGISTER:
            return Operand(mode=mode, register=register or random.choice(_DATA_REGISTERS))
        if mode is Mode.CONSTANT:
            return Operand(mode=mode, value=random.choice(tuple(CONSTANTS)))
        if mode is Mode.IMMEDIATE:
            bits = 16 if size == "B" and not extended else BITS[size]
            return Operand(mode=mode, value=self._value() & ((1 << bits) - 1))
        cell = self.cell(size) if cell is None else cell
        if mode is Mode.ABSOLUTE:
            if not extended and cell > 0xFFFF:
                raise UnsuitableError
            return Operand(mode=mode, value=cell)
        if mode is Mode.SYMBOLIC:
            if not extended and not self._symbolic_reaches(cell):
                raise UnsuitableError
            return Operand(mode=mode, value=cell)
        number = register or (SP if random.random() < 0.1 else self.free_register())
        if mode is not Mode.INDEXED:
            if number == SP and cell % 2:
                raise UnsuitableError
            self.point(number, cell)
            return Operand(mode=mode, register=number)
        index = random.randrange(1 << 20 if extended else 1 << 16)
        if random.random() < 0.5:
            index = random.randrange(-16, 64) & (ADDRESS_MASK if extended else 0xFFFF)
        if number == SP:
            index = index & ~1 | cell & 1
        self.point(number, self._base(cell, index, extended))
        return Operand(mode=mode, register=number, value=index)

    def _symbolic_reaches(self, cell: int) -> bool:
        if self.address < 0x10000:
            return cell < 0x10000
        return -0x8000 + 8 <= cell - self.address < 0x8000

    def _base(self, cell: int, index: int, extended: bool) -> int:
        """What the register must hold so that the index leads to the cell (SLAU367P section 4.4.2)."""
        if extended:
            return (cell - index) & ADDRESS_MASK
        distance = index - 0x10000 if index & 0x8000 else index
        wide = cell - distance
        if wide >= 0x10000:
            return wide
        if cell < 0x10000:
            return wide & 0xFFFF
        raise UnsuitableError

    def decimal(self, operand: Operand, cell: int | None, size: Size) -> Operand:
        """The operand with a decimal number in it."""
        digits = int(str(self.random.randrange(10 ** (BITS[size] // 4))), 16)
        if operand.mode is Mode.IMMEDIATE:
            return Operand(mode=operand.mode, value=digits)
        if operand.mode is Mode.REGISTER:
            if operand.register in self.pinned:
                raise UnsuitableError
            above = self.registers[operand.register] & ~((1 << BITS[size]) - 1)
            self.registers[operand.register] = above | digits
        elif operand.mode is Mode.CONSTANT:
            return Operand(mode=operand.mode, value=abs(operand.value))
        elif cell is not None:
            self._store(cell, digits, STORED_BYTES[size])
        return operand

    def _store(self, address: int, value: int, size: int) -> None:
        offset = address - self.slot
        self.data[offset : offset + size] = value.to_bytes(size, "little")

    def double(self, extended: bool = False, name: str = "") -> Instruction:
        """Two operands, all modes."""
        random = self.random
        name = name or random.choice(DOUBLE)
        size = self._size() if extended else random.choice(("B", "W"))
        if not extended and random.random() < 0.03:
            return self._status_write()
        source_mode = random.choice(tuple(Mode))
        destination_mode = random.choice((Mode.REGISTER, Mode.REGISTER, Mode.INDEXED, Mode.SYMBOLIC, Mode.ABSOLUTE))
        cells = [self.cell(size), self.cell(size)]
        source = self.operand(source_mode, size, extended, cell=cells[0])
        destination = self.operand(destination_mode, size, extended, cell=cells[1])
        if name == "MOV" and size == "W" and source_mode is Mode.REGISTER and not extended and random.random() < 0.2:
            source = Operand(mode=Mode.REGISTER, register=SR)
        loads_pointer = name == "MOV" and destination_mode is Mode.REGISTER
        if source_mode is Mode.POSTINC and destination.register == source.register and not loads_pointer:
            raise UnsuitableError
        for operand, cell in ((source, cells[0]), (destination, cells[1])):
            if (
                size == "A"
                and operand.mode not in (Mode.REGISTER, Mode.CONSTANT, Mode.IMMEDIATE)
                and random.random() < 0.8
            ):
                self._store(cell, self._value(), 4)
        if name == "DADD":
            source = self.decimal(source, cells[0], size)
            destination = self.decimal(destination, cells[1], size)
            if abs(cells[0] - cells[1]) not in (0, *range(STORED_BYTES[size], _SLOT_BYTES)):
                raise UnsuitableError
        return Instruction(
            form="double", name=name, size=size, source=source, destination=destination, extended=extended
        )

    def _status_write(self) -> Instruction:
        name = self.random.choice(("MOV", "BIS", "BIC"))
        if self.random.random() < 0.5:
            source = Operand(mode=Mode.CONSTANT, value=self.random.choice((0, 1, 2, 4)))
        else:
            source = Operand(mode=Mode.IMMEDIATE, value=self.random.randrange(1 << 16) & FLAGS)
        return Instruction(
            form="double", name=name, source=source, destination=Operand(mode=Mode.REGISTER, register=SR)
        )

    def double_extended(self) -> Instruction:
        """Two operands behind an extension word; a good half of them in register mode, repeated or without carry."""
        if self.random.random() < 0.5:
            return self.double(extended=True)
        return self._repeated("double", self.random.choice(DOUBLE), self._size())

    def _repeated(self, form: str, name: str, size: Size) -> Instruction:
        random = self.random
        destination = Operand(mode=Mode.REGISTER, register=self.free_register())
        source = Operand(mode=Mode.REGISTER, register=self.free_register()) if form == "double" else None
        if name == "DADD" and source:
            source = self.decimal(source, None, size)
            destination = self.decimal(destination, None, size)
        repeat, repeat_register = 1, None
        if random.random() < 0.6:
            repeat = random.randrange(1, 5 if name == "PUSH" else 17)
            if random.random() < 0.4 and name != "PUSH":
                taken = {destination.register, source.register if source else 0}
                repeat_register = random.choice([number for number in _DATA_REGISTERS if number not in taken])
                repeat = 1
        if name == "PUSH":
            self._stack(16)
        return Instruction(
            form="double" if form == "double" else "single",
            name=name,
            size=size,
            source=source,
            destination=destination,
            extended=True,
            zero_carry=name in ("ADDC", "SUBC", "DADD", "RRC") and random.random() < 0.4,
            repeat=repeat,
            repeat_register=repeat_register,
        )

    def _stack(self, depth: int) -> None:
        """A stack pointer with room for `depth` bytes below it in the slot."""
        self.point(SP, self.slot + depth + 2 * self.random.randrange((len(self.data) - depth) // 2 + 1))

    def single(self, extended: bool = False) -> Instruction:
        """One operand: shifts, SWPB, SXT, PUSH."""
        random = self.random
        name = random.choice(("RRC", "RRA", "SWPB", "SXT", "PUSH"))
        sizes: tuple[Size, ...] = ("W", "A") if extended else ("B", "W")
        if extended and name not in ("SWPB", "SXT"):
            sizes = ("B", "W", "A")
        size: Size = "W" if not extended and name in ("SWPB", "SXT") else random.choice(sizes)
        if extended and random.random() < 0.5:
            return self._repeated("single", name, size)
        modes = [Mode.REGISTER, Mode.INDEXED, Mode.SYMBOLIC, Mode.ABSOLUTE, Mode.INDIRECT, Mode.POSTINC]
        if name == "PUSH":
            self._stack(8)
            modes += [Mode.IMMEDIATE, Mode.CONSTANT]
        mode = random.choice(modes)
        cell = self.cell(size)
        operand = self.operand(mode, size, extended, cell=cell)
        if size == "A" and mode in (Mode.INDEXED, Mode.SYMBOLIC, Mode.ABSOLUTE, Mode.INDIRECT, Mode.POSTINC):
            self._store(cell, self._value(), 4)
        return Instruction(form="single", name=name, size=size, destination=operand, extended=extended)

    def single_extended(self) -> Instruction:
        return self.single(extended=True)

    def address_instruction(self) -> Instruction:
        """MOVA in all its forms, ADDA, SUBA, CMPA."""
        random = self.random
        name = random.choice(("MOVA", "MOVA", "ADDA", "SUBA", "CMPA"))
        register = Operand(mode=Mode.REGISTER, register=random.choice(_DATA_REGISTERS))
        if name != "MOVA" or random.random() < 0.2:
            mode = random.choice((Mode.REGISTER, Mode.IMMEDIATE))
            source = self.operand(mode, "A", True)
            return Instruction(form="address", name=name, size="A", source=source, destination=register)
        mode = random.choice((Mode.INDIRECT, Mode.POSTINC, Mode.ABSOLUTE, Mode.INDEXED))
        memory = self.short_index() if mode is Mode.INDEXED else self.operand(mode, "A", True)
        if mode in (Mode.ABSOLUTE, Mode.INDEXED) and random.random() < 0.5:
            return Instruction(form="address", name=name, size="A", source=register, destination=memory)
        return Instruction(form="address", name=name, size="A", source=memory, destination=register)

    def short_index(self, cell: int | None = None) -> Operand:
        """X(Rn) of the address instructions: 16 bits, sign-extended, added in 20 bits (SLAU367P section 4.6.4)."""
        number, index = self.free_register(), self.random.randrange(-0x8000, 0x8000)
        self.point(number, (self.cell("A") if cell is None else cell) - index)
        return Operand(mode=Mode.INDEXED, register=number, value=index & 0xFFFF)

    def shift(self) -> Instruction:
        """RRCM, RRAM, RLAM, RRUM."""
        return Instruction(
            form="shift",
            name=self.random.choice(SHIFTS),
            size=self.random.choice(("W", "A")),
            destination=Operand(mode=Mode.REGISTER, register=self.random.choice(_DATA_REGISTERS)),
            count=self.random.randrange(1, 5),
        )

    def block(self) -> Instruction:
        """PUSHM and POPM of general registers."""
        random = self.random
        name, size = random.choice(("PUSHM", "POPM")), random.choice(("W", "A"))
        count = random.randrange(1, 13)
        destination = Operand(mode=Mode.REGISTER, register=random.randrange(3 + count, 16))
        used, room = count * STORED_BYTES["A" if size == "A" else "W"], len(self.data)
        first = 2 * random.randrange((room - used) // 2 + 1)
        self.point(SP, self.slot + first + (used if name == "PUSHM" else 0))
        return Instruction(
            form="block", name=name, size="A" if size == "A" else "W", destination=destination, count=count
        )

    def jump(self) -> Instruction:
        self.target = self.address - PAD_BYTES - self.gap if self.before else self.address + 2 + PAD_BYTES + self.gap
        destination = Operand(mode=Mode.IMMEDIATE, value=self.target)
        return Instruction(form="jump", name=self.random.choice(JUMPS), destination=destination)

    def branch(self) -> Instruction:
        """Whatever else changes the program counter."""
        return draw_branch(self)
