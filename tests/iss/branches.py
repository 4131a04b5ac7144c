"""Random branches, calls and returns, in every addressing mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .encode import ADDRESS_MASK, IN_MEMORY, PC, SP, Instruction, Mode, Operand, Size

if TYPE_CHECKING:
    from .generate import Draw

_TO_PC = Operand(mode=Mode.REGISTER, register=PC)
_LONGEST = 8
_IN_MEMORY = tuple(mode for mode in Mode if mode in IN_MEMORY)


def draw_branch(draw: Draw) -> Instruction:
    """An instruction that leads to the pad at `draw.target`, which is set here."""
    kind = draw.random.choice((_br, _bra, _call, _call, _calla, _calla, _ret, _reta, _reti, _computed))
    draw.target = draw.address + _LONGEST + 4
    return kind(draw)


def _plant(draw: Draw, cell: int, value: int, size: int) -> None:
    offset = cell - draw.slot
    draw.data[offset : offset + size] = value.to_bytes(size, "little")


def _leading(draw: Draw, mode: Mode, size: int, value: int) -> Operand:
    """An operand that yields `value`."""
    width: Size = "A" if size == 4 else "W"
    if mode is Mode.IMMEDIATE:
        return Operand(mode=mode, value=value)
    if mode is Mode.REGISTER:
        number = draw.free_register()
        draw.point(number, value | (draw.random.randrange(16) << 16 if size == 2 else 0))
        return Operand(mode=mode, register=number)
    cell = draw.cell(width)
    _plant(draw, cell, value, size)
    return draw.operand(mode, width, size == 4, cell=cell)


def _br(draw: Draw) -> Instruction:
    mode = draw.random.choice((Mode.IMMEDIATE, Mode.REGISTER, *_IN_MEMORY))
    assert draw.target is not None
    return Instruction(form="double", name="MOV", source=_leading(draw, mode, 2, draw.target), destination=_TO_PC)


def _bra(draw: Draw) -> Instruction:
    assert draw.target is not None
    mode = draw.random.choice((Mode.IMMEDIATE, Mode.REGISTER, Mode.INDIRECT, Mode.POSTINC, Mode.ABSOLUTE, Mode.INDEXED))
    return Instruction(form="address", name="MOVA", size="A", source=_wide(draw, mode), destination=_TO_PC)


def _wide(draw: Draw, mode: Mode) -> Operand:
    """A 20-bit operand of an address instruction or CALLA that yields the target."""
    assert draw.target is not None
    if mode is not Mode.INDEXED:
        return _leading(draw, mode, 4, draw.target)
    cell = draw.cell("A")
    _plant(draw, cell, draw.target, 4)
    return draw.short_index(cell)


def _call_stack(draw: Draw) -> None:
    """Room for a return address above the cells of operands."""
    draw.point(SP, draw.slot + len(draw.data) - 2 * draw.random.randrange(2))


def _call(draw: Draw) -> Instruction:
    assert draw.target is not None
    _call_stack(draw)
    mode = draw.random.choice((Mode.IMMEDIATE, Mode.REGISTER, *_IN_MEMORY))
    if mode is Mode.INDEXED and draw.random.random() < 0.3:
        # The operand is evaluated before the stack pointer moves (SLAU367P section 4.6.2, CALL).
        _plant(draw, draw.registers[SP] - 12, draw.target, 2)
        operand = Operand(mode=mode, register=SP, value=-12 & 0xFFFF)
    else:
        operand = _leading(draw, mode, 2, draw.target)
    return Instruction(form="single", name="CALL", destination=operand)


def _calla(draw: Draw) -> Instruction:
    _call_stack(draw)
    mode = draw.random.choice((Mode.IMMEDIATE, Mode.REGISTER, *_IN_MEMORY))
    return Instruction(form="calla", name="CALLA", size="A", destination=_wide(draw, mode))


def _ret(draw: Draw) -> Instruction:
    assert draw.target is not None
    source = Operand(mode=Mode.POSTINC, register=SP)
    cell = draw.cell("W")
    _plant(draw, cell, draw.target, 2)
    draw.point(SP, cell)
    return Instruction(form="double", name="MOV", source=source, destination=_TO_PC)


def _reta(draw: Draw) -> Instruction:
    assert draw.target is not None
    cell = draw.cell("A")
    _plant(draw, cell, draw.target, 4)
    draw.point(SP, cell)
    source = Operand(mode=Mode.POSTINC, register=SP)
    return Instruction(form="address", name="MOVA", size="A", source=source, destination=_TO_PC)


def _reti(draw: Draw) -> Instruction:
    """The stack holds SR with the upper bits of PC above it (SLAU367P section 4.2), then PC."""
    assert draw.target is not None
    cell = draw.cell("A")
    status = draw.random.randrange(8) | draw.random.choice((0, 0x100))
    _plant(draw, cell, status | draw.target >> 16 << 12, 2)
    _plant(draw, cell + 2, draw.target & 0xFFFF, 2)
    draw.point(SP, cell)
    return Instruction(form="reti", name="RETI")


def _computed(draw: Draw) -> Instruction:
    """Addition to the program counter, which then is at the following instruction."""
    assert draw.target is not None
    number = draw.free_register()
    distance = draw.target - (draw.address + 2)
    name = draw.random.choice(("ADD", "ADDA", "SUBA"))
    draw.point(number, (-distance if name == "SUBA" else distance) & ADDRESS_MASK)
    source = Operand(mode=Mode.REGISTER, register=number)
    if name == "ADD":
        return Instruction(form="double", name=name, source=source, destination=_TO_PC)
    return Instruction(form="address", name=name, size="A", source=source, destination=_TO_PC)
