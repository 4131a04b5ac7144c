"""A small assembler for the tests: instructions as lists of words, operands as tuples.

Operands: ("Rn", n), ("#", value) always as @PC+, ("cg", value) from the constant generators, ("x", n, index), ("&", address),
("sym", offset) relative to the operand's own word, ("@", n), ("@+", n).
"""

from __future__ import annotations

DOUBLE = {name: code for code, name in enumerate("MOV ADD ADDC SUBC SUB CMP DADD BIT BIC BIS XOR AND".split(), start=4)}
SINGLE = {"RRC": 0, "SWPB": 1, "RRA": 2, "SXT": 3, "PUSH": 4, "CALL": 5}
JUMPS = {name: code for code, name in enumerate("JNZ JZ JNC JC JN JGE JL JMP".split())}
CONSTANTS = {0: (3, 0), 1: (3, 1), 2: (3, 2), -1: (3, 3), 4: (2, 2), 8: (2, 3)}
PC, SP, SR = 0, 1, 2
NOP = 0x4303
RET = 0x4130
RETI = 0x1300


def reg(n):
    return ("Rn", n)


def imm(value):
    return ("#", value)


def gen(value):
    return ("cg", value)


def idx(n, index):
    return ("x", n, index)


def mem(address):
    return ("&", address)


def sym(offset):
    return ("sym", offset)


def at(n):
    return ("@", n)


def inc(n):
    return ("@+", n)


def _source(operand):
    """Register, As, extra value or None."""
    kind, value = operand[0], operand[1]
    if kind == "cg":
        register, mode = CONSTANTS[value]
        return register, mode, None
    return {
        "Rn": (value, 0, None),
        "#": (0, 3, value),
        "x": (value, 1, operand[-1]),
        "&": (2, 1, value),
        "sym": (0, 1, value),
        "@": (value, 2, None),
        "@+": (value, 3, None),
    }[kind]


def _extra(value):
    return [] if value is None else [value & 0xFFFF]


def double(name, source, target, width="W"):
    """MSP430 double-operand instruction."""
    register, mode, index = _source(source)
    into, ad, offset = _source(target)
    assert ad <= 1
    word = DOUBLE[name] << 12 | register << 8 | ad << 7 | (width == "B") << 6 | mode << 4 | into
    return [word, *_extra(index), *_extra(offset)]


def extended_double(name, source, target, width="W", *, repeat=0, zc=0):
    """MSP430X double-operand instruction. `repeat`: repetitions - 1, or ("Rn", n)."""
    register, mode, index = _source(source)
    into, ad, offset = _source(target)
    long_bit = 0 if width == "A" else 0x40
    byte_bit = 0 if width == "W" else 0x40
    extension = 0x1800 | long_bit
    if mode == 0 and ad == 0:
        extension |= zc << 8 | (repeat if isinstance(repeat, int) else 0x80 | repeat[1])
    else:
        extension |= ((index or 0) >> 16 & 0xF) << 7 | (offset or 0) >> 16 & 0xF
    word = DOUBLE[name] << 12 | register << 8 | ad << 7 | byte_bit | mode << 4 | into
    return [extension, word, *_extra(index), *_extra(offset)]


def single(name, operand, width="W"):
    """MSP430 single-operand instruction."""
    register, mode, index = _source(operand)
    return [0x1000 | SINGLE[name] << 7 | (width == "B") << 6 | mode << 4 | register, *_extra(index)]


def extended_single(name, operand, width="W", *, repeat=0, zc=0):
    """MSP430X single-operand instruction."""
    register, mode, index = _source(operand)
    sizeless = name in ("SWPB", "SXT")
    long_bit = 0 if width == "A" else 0x40
    byte_bit = 0 if width == "W" or sizeless else 0x40
    extension = 0x1800 | long_bit
    if mode == 0:
        extension |= zc << 8 | (repeat if isinstance(repeat, int) else 0x80 | repeat[1])
    else:
        extension |= (index or 0) >> 16 & 0xF
    return [extension, 0x1000 | SINGLE[name] << 7 | byte_bit | mode << 4 | register, *_extra(index)]


def jump(name, offset_words):
    return [0x2000 | JUMPS[name] << 10 | offset_words & 0x3FF]


def mova(source, target):
    """All modes of MOVA."""
    kind = source[0]
    if target[0] in ("&", "x"):
        if target[0] == "&":
            return [source[1] << 8 | 0x60 | target[1] >> 16, target[1] & 0xFFFF]
        return [source[1] << 8 | 0x70 | target[1], target[2] & 0xFFFF]
    into = target[1]
    if kind == "Rn":
        return [source[1] << 8 | 0xC0 | into]
    if kind in ("@", "@+"):
        return [source[1] << 8 | (0x10 if kind == "@+" else 0) | into]
    if kind == "&":
        return [(source[1] >> 16) << 8 | 0x20 | into, source[1] & 0xFFFF]
    if kind == "x":
        return [source[1] << 8 | 0x30 | into, source[2] & 0xFFFF]
    if kind == "sym":
        return [0x30 | into, source[1] & 0xFFFF]
    return [(source[1] >> 16 & 0xF) << 8 | 0x80 | into, source[1] & 0xFFFF]


def address(name, source, register):
    """CMPA, ADDA, SUBA."""
    code = {"CMPA": 1, "ADDA": 2, "SUBA": 3}[name]
    if source[0] == "Rn":
        return [source[1] << 8 | 0xC0 | code << 4 | register]
    return [(source[1] >> 16 & 0xF) << 8 | 0x80 | code << 4 | register, source[1] & 0xFFFF]


def calla(operand):
    kind = operand[0]
    if kind == "Rn":
        return [0x1340 | operand[1]]
    if kind == "x":
        return [0x1350 | operand[1], operand[2] & 0xFFFF]
    if kind in ("@", "@+"):
        return [(0x1360 if kind == "@" else 0x1370) | operand[1]]
    form = {"&": 0x1380, "sym": 0x1390, "#": 0x13B0}[kind]
    return [form | operand[1] >> 16 & 0xF, operand[1] & 0xFFFF]


def pushm(count, register, width="W"):
    return [(0x1400 if width == "A" else 0x1500) | (count - 1) << 4 | register]


def popm(count, register, width="W"):
    """`register` is the highest."""
    return [(0x1600 if width == "A" else 0x1700) | (count - 1) << 4 | register - count + 1]


def rotate(name, count, register, width="W"):
    """RRCM, RRAM, RLAM, RRUM."""
    code = ("RRCM", "RRAM", "RLAM", "RRUM").index(name)
    return [(count - 1) << 10 | code << 8 | (0x40 if width == "A" else 0x50) | register]


def pack(*instructions):
    """Words of several instructions as bytes."""
    words = [
        word
        for instruction in instructions
        for word in ([instruction] if isinstance(instruction, int) else instruction)
    ]
    return b"".join(word.to_bytes(2, "little") for word in words)
