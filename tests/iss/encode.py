"""MSP430 and MSP430X instructions as data, and their machine code.

Sources: SLAU367P section 4.5.1 (base formats), 4.5.2 (extension words), 4.6.1 (address instructions).
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Literal

PC, SP, SR, CG = 0, 1, 2, 3

C_FLAG, Z_FLAG, N_FLAG, V_FLAG = 0x001, 0x002, 0x004, 0x100
FLAGS = C_FLAG | Z_FLAG | N_FLAG | V_FLAG

ADDRESS_MASK = 0xFFFFF

Size = Literal["B", "W", "A"]
BITS: dict[Size, int] = {"B": 8, "W": 16, "A": 20}
STORED_BYTES: dict[Size, int] = {"B": 1, "W": 2, "A": 4}


class Mode(enum.Enum):
    """Addressing modes as the user guide names them (SLAU367P section 4.4), constants of the generator apart."""

    REGISTER = "Rn"
    INDEXED = "X(Rn)"
    SYMBOLIC = "EDE"
    ABSOLUTE = "&EDE"
    INDIRECT = "@Rn"
    POSTINC = "@Rn+"
    IMMEDIATE = "#N"
    CONSTANT = "#CG"


IN_MEMORY = frozenset({Mode.INDEXED, Mode.SYMBOLIC, Mode.ABSOLUTE, Mode.INDIRECT, Mode.POSTINC})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """`value` is the index, the address (symbolic, absolute) or the constant."""

    mode: Mode
    register: int = 0
    value: int = 0


Form = Literal["double", "single", "jump", "address", "shift", "block", "calla", "reti"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction before it has an address.

    `name` is the base mnemonic (ADD also for ADDX). `repeat` is the number of executions of an extended register-mode
    instruction, `repeat_register` the register that holds it less one. `count` is the n of PUSHM, POPM and RRxM.
    The only operand of a single-operand instruction, of CALLA and of the shifts is `destination`; PUSH's too. A jump's
    target is the value of `destination`.
    """

    form: Form
    name: str
    size: Size = "W"
    source: Operand | None = None
    destination: Operand | None = None
    extended: bool = False
    zero_carry: bool = False
    repeat: int = 1
    repeat_register: int | None = None
    count: int = 1

    @property
    def register_mode(self) -> bool:
        """Whether an extension word before it holds repetition and zero carry rather than address bits."""
        operands = [operand for operand in (self.source, self.destination) if operand]
        return all(operand.mode is Mode.REGISTER for operand in operands)

    @property
    def repeats(self) -> bool:
        return self.repeat > 1 or self.repeat_register is not None


DOUBLE = ("MOV", "ADD", "ADDC", "SUBC", "SUB", "CMP", "DADD", "BIT", "BIC", "BIS", "XOR", "AND")
_SINGLE = {"RRC": 0x1000, "SWPB": 0x1080, "RRA": 0x1100, "SXT": 0x1180, "PUSH": 0x1200, "CALL": 0x1280}
JUMPS = ("JNZ", "JZ", "JNC", "JC", "JN", "JGE", "JL", "JMP")
SHIFTS = ("RRCM", "RRAM", "RLAM", "RRUM")
CONSTANTS = {0: (CG, 0), 1: (CG, 1), 2: (CG, 2), -1: (CG, 3), 4: (SR, 2), 8: (SR, 3)}
_MODE_BITS = {Mode.REGISTER: 0, Mode.INDEXED: 1, Mode.INDIRECT: 2, Mode.POSTINC: 3}


def assemble(instruction: Instruction, address: int) -> bytes:
    """Machine code of `instruction` at `address`. Raises ValueError for what cannot be encoded."""
    match instruction.form:
        case "double" | "single":
            words = _format_one_or_two(instruction, address)
        case "jump":
            words = [_jump(instruction, address)]
        case "address":
            words = _address_instruction(instruction)
        case "shift":
            words = [
                0x0040
                | (instruction.count - 1) << 10
                | SHIFTS.index(instruction.name) << 8
                | (0x10 if instruction.size == "W" else 0)
                | _register(instruction.destination)
            ]
        case "block":
            words = [_block(instruction)]
        case "calla":
            words = _calla(instruction, address)
        case "reti":
            words = [0x1300]
    return struct.pack(f"<{len(words)}H", *words)


def _register(operand: Operand | None) -> int:
    if operand is None or operand.mode is not Mode.REGISTER:
        raise ValueError(f"expected a register, found {operand}")
    return operand.register


def _encode(operand: Operand, word_address: int) -> tuple[int, int, int | None]:
    """Register field, mode field, and the 20-bit value of the operand's own word if it has one."""
    match operand.mode:
        case Mode.CONSTANT:
            register, mode = CONSTANTS[operand.value]
            return register, mode, None
        case Mode.IMMEDIATE:
            return PC, 3, operand.value & ADDRESS_MASK
        case Mode.SYMBOLIC:
            return PC, 1, (operand.value - word_address) & ADDRESS_MASK
        case Mode.ABSOLUTE:
            return SR, 1, operand.value & ADDRESS_MASK
        case Mode.INDEXED:
            return operand.register, 1, operand.value & ADDRESS_MASK
        case _:
            return operand.register, _MODE_BITS[operand.mode], None


def _format_one_or_two(instruction: Instruction, address: int) -> list[int]:
    words: list[int] = []
    next_word = address + (4 if instruction.extended else 2)
    source_high = destination_high = 0
    opcode = 0
    if instruction.form == "double":
        assert instruction.source and instruction.destination
        register, mode, extra = _encode(instruction.source, next_word)
        opcode = (DOUBLE.index(instruction.name) + 4) << 12 | register << 8 | mode << 4
        if extra is not None:
            words.append(extra & 0xFFFF)
            source_high = extra >> 16
            next_word += 2
        if instruction.destination.mode not in (Mode.REGISTER, Mode.INDEXED, Mode.SYMBOLIC, Mode.ABSOLUTE):
            raise ValueError(f"no destination: {instruction.destination}")
        register, mode, extra = _encode(instruction.destination, next_word)
        opcode |= register | mode << 7
    else:
        assert instruction.destination
        register, mode, extra = _encode(instruction.destination, next_word)
        opcode = _SINGLE[instruction.name] | mode << 4 | register
    if extra is not None:
        words.append(extra & 0xFFFF)
        destination_high = extra >> 16
    whole = instruction.name in ("SWPB", "SXT")
    if instruction.size == "B" or (instruction.size == "A" and not whole):
        opcode |= 0x40
    words.insert(0, opcode)
    if instruction.extended:
        words.insert(0, _extension(instruction, source_high, destination_high))
    elif instruction.size == "A":
        raise ValueError("a 20-bit operand takes an extension word")
    return words


def _extension(instruction: Instruction, source_high: int, destination_high: int) -> int:
    word = 0x1800 | (0 if instruction.size == "A" else 0x40)
    if not instruction.register_mode:
        return word | source_high << 7 | destination_high
    if instruction.repeat_register is not None:
        word |= 0x80 | instruction.repeat_register
    else:
        word |= instruction.repeat - 1
    return word | (0x100 if instruction.zero_carry else 0)


def _jump(instruction: Instruction, address: int) -> int:
    assert instruction.destination
    offset = (instruction.destination.value - address - 2) // 2
    if not -512 <= offset <= 511:
        raise ValueError(f"a jump over {offset} words")
    return 0x2000 | JUMPS.index(instruction.name) << 10 | offset & 0x3FF


def _address_instruction(instruction: Instruction) -> list[int]:
    source, destination = instruction.source, instruction.destination
    assert source and destination
    if instruction.name != "MOVA":
        index = ("CMPA", "ADDA", "SUBA").index(instruction.name)
        if source.mode is Mode.REGISTER:
            return [0x00D0 + (index << 4) | source.register << 8 | _register(destination)]
        return [
            0x0090 + (index << 4) | (source.value >> 16 & 15) << 8 | _register(destination),
            source.value & 0xFFFF,
        ]
    match source.mode, destination.mode:
        case Mode.INDIRECT, Mode.REGISTER:
            return [source.register << 8 | destination.register]
        case Mode.POSTINC, Mode.REGISTER:
            return [0x0010 | source.register << 8 | destination.register]
        case Mode.ABSOLUTE, Mode.REGISTER:
            return [0x0020 | (source.value >> 16) << 8 | destination.register, source.value & 0xFFFF]
        case Mode.INDEXED, Mode.REGISTER:
            return [0x0030 | source.register << 8 | destination.register, source.value & 0xFFFF]
        case Mode.REGISTER, Mode.ABSOLUTE:
            return [0x0060 | source.register << 8 | destination.value >> 16, destination.value & 0xFFFF]
        case Mode.REGISTER, Mode.INDEXED:
            return [0x0070 | source.register << 8 | destination.register, destination.value & 0xFFFF]
        case Mode.IMMEDIATE, Mode.REGISTER:
            return [0x0080 | (source.value >> 16 & 15) << 8 | destination.register, source.value & 0xFFFF]
        case Mode.REGISTER, Mode.REGISTER:
            return [0x00C0 | source.register << 8 | destination.register]
        case _:
            raise ValueError(f"MOVA {source}, {destination}")


def _block(instruction: Instruction) -> int:
    top = _register(instruction.destination)
    first = top if instruction.name == "PUSHM" else top - instruction.count + 1
    opcode = 0x1400 if instruction.name == "PUSHM" else 0x1600
    return opcode | (0x100 if instruction.size == "W" else 0) | (instruction.count - 1) << 4 | first


def _calla(instruction: Instruction, address: int) -> list[int]:
    operand = instruction.destination
    assert operand
    match operand.mode:
        case Mode.REGISTER:
            return [0x1340 | operand.register]
        case Mode.INDEXED:
            return [0x1350 | operand.register, operand.value & 0xFFFF]
        case Mode.INDIRECT:
            return [0x1360 | operand.register]
        case Mode.POSTINC:
            return [0x1370 | operand.register]
        case Mode.ABSOLUTE:
            return [0x1380 | operand.value >> 16, operand.value & 0xFFFF]
        case Mode.SYMBOLIC:
            distance = (operand.value - address - 2) & ADDRESS_MASK
            return [0x1390 | distance >> 16, distance & 0xFFFF]
        case Mode.IMMEDIATE:
            return [0x13B0 | operand.value >> 16, operand.value & 0xFFFF]
        case Mode.CONSTANT:
            raise ValueError("CALLA takes no generated constant")


def text(instruction: Instruction) -> str:
    """The instruction as a person writes it, near enough to the assembler's."""
    name = instruction.name
    if instruction.form in ("double", "single"):
        name += ("X." if instruction.extended else ".") + instruction.size
    elif instruction.form in ("shift", "block"):
        name += f".{instruction.size} #{instruction.count},"
    parts = [_operand_text(operand) for operand in (instruction.source, instruction.destination) if operand]
    prefix = ""
    if instruction.repeat_register is not None:
        prefix = f"RPT R{instruction.repeat_register}; "
    elif instruction.repeat > 1:
        prefix = f"RPT #{instruction.repeat}; "
    return prefix + f"{name} {', '.join(parts)}" + (" (ZC)" if instruction.zero_carry else "")


def _operand_text(operand: Operand) -> str:
    match operand.mode:
        case Mode.REGISTER:
            return f"R{operand.register}"
        case Mode.INDEXED:
            return f"{operand.value:#x}(R{operand.register})"
        case Mode.INDIRECT:
            return f"@R{operand.register}"
        case Mode.POSTINC:
            return f"@R{operand.register}+"
        case Mode.ABSOLUTE:
            return f"&{operand.value:#x}"
        case Mode.SYMBOLIC:
            return f"{operand.value:#x}"
        case _:
            return f"#{operand.value:#x}"
