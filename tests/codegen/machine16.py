"""C's integer types on a machine whose `int` has 16 bits, and what is known of a value: its type and an interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Int:
    """An integer type. `rank` orders char, short, int, long, long long; `size` says it was called size_t."""

    bits: int
    signed: bool
    rank: int
    size: bool = False

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def short(self) -> bool:
        """Whether C promotes it before it computes."""
        return self.rank < INT.rank

    def holds(self, low: int, high: int) -> bool:
        """Whether the whole interval has this type's values."""
        return self.low <= low and high <= self.high

    def promoted(self) -> Int:
        """The type it is computed in: int, or unsigned int for an unsigned type as wide as int."""
        if not self.short:
            return self
        return INT if INT.holds(self.low, self.high) else UNSIGNED


CHAR = Int(8, True, 0)
SHORT = Int(16, True, 1)
INT = Int(16, True, 2)
UNSIGNED = Int(16, False, 2)
LONG = Int(32, True, 3)
LONG_LONG = Int(64, True, 4)
SIZE = Int(16, False, 2, size=True)


def unsigned(type_: Int) -> Int:
    """The unsigned type of the same rank."""
    return Int(type_.bits, False, type_.rank, type_.size)


def common(left: Int, right: Int) -> Int:
    """C99 6.3.1.8: the type that both operands of an arithmetic operator are brought to."""
    left, right = left.promoted(), right.promoted()
    if left.rank != right.rank:
        wide, narrow = (left, right) if left.rank > right.rank else (right, left)
        if not wide.signed or wide.holds(narrow.low, narrow.high):
            return wide
        return unsigned(wide)
    if left.signed == right.signed:
        return left if left.size else right
    found = right if left.signed else left
    return found if found.size or not (left.size or right.size) else SIZE


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer, or an array, which C treats as one."""

    target: Type


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its result and its parameters in order."""

    result: Type
    parameters: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A struct or union by its tag."""

    tag: str


@dataclass(frozen=True, slots=True)
class Other:
    """void, and what needs no looking into."""


Type: TypeAlias = Int | Pointer | Function | Record | Other


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of an expression. `known` says that the interval is narrower than the type for a reason."""

    type: Type
    low: int = 0
    high: int = 0
    known: bool = False
    constant: bool = False

    @classmethod
    def of(cls, type_: Type) -> Value:
        """Anything the type can be."""
        if isinstance(type_, Int):
            # a short type is as good as an interval: its range is what it promotes from
            return cls(type_, type_.low, type_.high, known=type_.short)
        return cls(type_)

    def converted(self, target: Type) -> Value:
        """The value after a conversion: its interval survives where it fits."""
        if isinstance(target, Int) and isinstance(self.type, Int) and target.holds(self.low, self.high):
            return Value(target, self.low, self.high, known=self.known or target.bits > self.type.bits)
        return Value.of(target)


@dataclass(slots=True)
class Scope:
    """Names in force, innermost last."""

    names: list[dict[str, Value]] = field(default_factory=lambda: [{}])

    def find(self, name: str) -> Value:
        """The value of a name; unknown names (intrinsics) are of no interest."""
        return next((scope[name] for scope in reversed(self.names) if name in scope), Value(Other()))
