"""A plain MSP430 interpreter for the tests: base instructions, multiplier products, and the one MSP430X instruction that
far.S uses (MOVA @Rsrc, Rdst, after which indirect modes reach all of the 20-bit address space), nothing else.
It runs what LLVM emits, slowly, and counts no cycles.

Source: SLAU367, chapter "CPUX" (instruction formats, addressing modes, constant generators, status bits).
"""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile

CARRY, ZERO, NEGATIVE, CPU_OFF, OVERFLOW = 0x001, 0x002, 0x004, 0x010, 0x100
PC, SP, SR, CG = range(4)
MASKS = {True: 0xFF, False: 0xFFFF}
MPY, MPYS, OP2, RESLO, RESHI, SUMEXT = 0x4C0, 0x4C2, 0x4C8, 0x4CA, 0x4CC, 0x4CE
MPY32L, MPY32H, MPYS32L, MPYS32H, OP2L, OP2H, RES0 = 0x4D0, 0x4D2, 0x4D4, 0x4D6, 0x4E0, 0x4E2, 0x4E4
UART_SEND, UART_FLAGS, UART_READY = 0x5CE, 0x5DC, 2


class Cpu:
    """Registers and 1 MB of memory, loaded from an ELF file."""

    def __init__(self, elf: Path) -> None:
        self.memory = bytearray(0x100000)
        self.registers = [0] * 16
        self.symbols: dict[str, int] = {}
        self.console = bytearray()
        self.lowest_stack = 0x10000
        with elf.open("rb") as stream:
            file = ELFFile(stream)
            for segment in file.iter_segments("PT_LOAD"):
                start = segment["p_paddr"]
                self.memory[start : start + segment["p_filesz"]] = segment.data()
            for symbol in file.get_section_by_name(".symtab").iter_symbols():
                self.symbols[symbol.name] = symbol["st_value"]
        self.signed_multiply = False
        self.write(UART_FLAGS, UART_READY, False)
        self.registers[PC] = self.read(0xFFFE, False)

    def read(self, address: int, byte: bool) -> int:
        if byte:
            return self.memory[address & 0xFFFFF]
        address &= 0xFFFFE
        return self.memory[address] | self.memory[address + 1] << 8

    def write(self, address: int, value: int, byte: bool) -> None:
        if byte:
            self.memory[address & 0xFFFF] = value & 0xFF
            return
        address &= 0xFFFE
        self.memory[address] = value & 0xFF
        self.memory[address + 1] = value >> 8 & 0xFF
        if address == UART_SEND:
            self.console.append(value & 0xFF)
        elif MPY <= address < RES0:
            self._multiply(address)

    def _multiply(self, address: int) -> None:
        """The multiplier starts when the (high half of the) second operand is written."""
        if address in (MPY, MPYS, MPY32L, MPYS32L):
            self.signed_multiply = address in (MPYS, MPYS32L)
            self._operand_1 = address
        if address == OP2:
            a, b = self.read(self._operand_1, False), self.read(OP2, False)
            product = (_signed(a, 16) * _signed(b, 16)) if self.signed_multiply else a * b
            for place, shift in ((RESLO, 0), (RESHI, 16)):
                self.write(place, product >> shift & 0xFFFF, False)
            for place, shift in ((RES0, 0), (RES0 + 2, 16)):
                self.write(place, product >> shift & 0xFFFF, False)
        elif address == OP2H:
            a = self.read(self._operand_1, False) | self.read(self._operand_1 + 2, False) << 16
            b = self.read(OP2L, False) | self.read(OP2H, False) << 16
            product = (_signed(a, 32) * _signed(b, 32)) if self.signed_multiply else a * b
            for word in range(4):
                self.write(RES0 + 2 * word, product >> 16 * word & 0xFFFF, False)

    def run(self, limit: int = 2_000_000) -> None:
        """Until the CPU switches itself off, or waits for a character that nobody will send."""
        for _ in range(limit):
            if self.registers[SR] & CPU_OFF or self.registers[PC] == self.symbols.get("fm_board_wait"):
                return
            self.step()
        raise AssertionError(f"still running after {limit} instructions, at 0x{self.registers[PC]:04X}")

    def step(self) -> None:
        word = self._fetch()
        kind = word >> 12
        if kind >= 4:
            self._double(word)
        elif kind >= 2:
            self._jump(word)
        elif kind == 1 and word < 0x1400:
            self._single(word)
        elif word & 0xF0F0 == 0:  # MOVA @Rsrc, Rdst
            address = self.registers[word >> 8 & 15]
            self.registers[word & 15] = (self.read(address, False) | self.read(address + 2, False) << 16) & 0xFFFFF
        else:
            raise AssertionError(f"unknown instruction 0x{word:04X} before 0x{self.registers[PC]:04X}")
        self.lowest_stack = min(self.lowest_stack, self.registers[SP] or 0x10000)

    def _fetch(self) -> int:
        word = self.read(self.registers[PC], False)
        self.registers[PC] = (self.registers[PC] + 2) & 0xFFFF
        return word

    def _source(self, register: int, mode: int, byte: bool) -> tuple[int, int | None]:
        """Value and address of a source operand; the address is None for a register or a constant."""
        constants = {(SR, 2): 4, (SR, 3): 8, (CG, 0): 0, (CG, 1): 1, (CG, 2): 2, (CG, 3): -1}
        if (register, mode) in constants:
            return constants[register, mode] & MASKS[byte], None
        if mode == 0:
            return self.registers[register] & MASKS[byte], None
        if mode == 1:
            at = self.registers[PC]
            offset = self._fetch()
            base = at if register == PC else 0 if register == SR else self.registers[register]
            address = (base + offset) & 0xFFFF
        else:
            address = self.registers[register]
            if mode == 3:
                step = 1 if byte and register not in (PC, SP) else 2
                self.registers[register] = (address + step) & 0xFFFFF
        return self.read(address, byte), address

    def _store(self, address: int | None, register: int, value: int, byte: bool) -> None:
        if address is None:
            self.registers[register] = value & MASKS[byte]
        else:
            self.write(address, value, byte)

    def _flags(self, result: int, byte: bool, carry: bool, overflow: bool) -> None:
        top = 0x80 if byte else 0x8000
        flags = CARRY * carry | ZERO * (not result & MASKS[byte]) | NEGATIVE * bool(result & top) | OVERFLOW * overflow
        self.registers[SR] = self.registers[SR] & ~(CARRY | ZERO | NEGATIVE | OVERFLOW) | flags

    def _double(self, word: int) -> None:
        operation, byte = word >> 12, bool(word & 0x40)
        register = word & 15
        source, _ = self._source(word >> 8 & 15, word >> 4 & 3, byte)
        if word & 0x80:
            at = self.registers[PC]
            offset = self._fetch()
            base = at if register == PC else 0 if register == SR else self.registers[register]
            address: int | None = (base + offset) & 0xFFFF
            value = 0 if operation == 4 else self.read((base + offset) & 0xFFFF, byte)
        else:
            address, value = None, self.registers[register] & MASKS[byte]
        mask, top = MASKS[byte], 0x80 if byte else 0x8000
        if operation in (5, 6, 7, 8, 9):
            second = source if operation < 7 else ~source & mask
            carry_in = {5: 0, 6: self.registers[SR] & CARRY, 7: self.registers[SR] & CARRY, 8: 1, 9: 1}[operation]
            total = value + second + carry_in
            overflow = bool(~(value ^ second) & (value ^ total) & top)
            self._flags(total, byte, total > mask, overflow)
            if operation != 9:
                self._store(address, register, total, byte)
            return
        if operation == 10:
            raise AssertionError("DADD is not modelled")
        result = {
            4: source, 11: source & value, 12: value & ~source, 13: value | source,
            14: value ^ source, 15: value & source,
        }[operation]  # fmt: skip
        if operation in (11, 14, 15):
            both_negative = operation == 14 and bool(source & value & top)
            self._flags(result, byte, bool(result & mask), both_negative)
        if operation != 11:
            self._store(address, register, result, byte)

    def _single(self, word: int) -> None:
        operation, byte = word >> 7 & 7, bool(word & 0x40)
        register = word & 15
        if operation == 6:  # RETI
            raise AssertionError("no interrupts are modelled")
        value, address = self._source(register, word >> 4 & 3, byte and operation not in (1, 3, 5))
        carry = self.registers[SR] & CARRY
        top = 0x80 if byte else 0x8000
        if operation in (0, 2):  # RRC, RRA
            result = value >> 1 | (top * carry if operation == 0 else value & top)
            self._flags(result, byte, bool(value & 1), False)
            self._store(address, register, result, byte)
        elif operation == 1:  # SWPB
            self._store(address, register, value << 8 & 0xFF00 | value >> 8, False)
        elif operation == 3:  # SXT
            result = _signed(value & 0xFF, 8) & 0xFFFF
            self._flags(result, False, bool(result), False)
            self._store(address, register, result, False)
        else:  # PUSH, CALL
            self.registers[SP] = (self.registers[SP] - 2) & 0xFFFF
            self.write(self.registers[SP], self.registers[PC] if operation == 5 else value, False)
            if operation == 5:
                self.registers[PC] = value

    def _jump(self, word: int) -> None:
        flags = self.registers[SR]
        negative, overflow = bool(flags & NEGATIVE), bool(flags & OVERFLOW)
        taken = (
            not flags & ZERO, bool(flags & ZERO), not flags & CARRY, bool(flags & CARRY), negative,
            negative == overflow, negative != overflow, True,
        )[word >> 10 & 7]  # fmt: skip
        if taken:
            self.registers[PC] = (self.registers[PC] + 2 * _signed(word & 0x3FF, 10)) & 0xFFFF


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value
