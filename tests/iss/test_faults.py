"""Every listed fault of an oracle is still there, and nothing but it shows in its minimal case."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import gdbsim
from .batch import Outcome
from .faults import UNDEFINED, Fault, example, unexplained
from .gdb_faults import GDB_FAULTS
from .oracles import Difference, difference, execute_ours, execute_pcode
from .pcode_faults import PCODE_FAULTS

FAULTS = (*GDB_FAULTS, *PCODE_FAULTS)


def oracle(fault: Fault, gdb: Path | None) -> Outcome | None:
    """What the oracle makes of the fault's example; None if it gets lost."""
    if fault.oracle == "pcode":
        return execute_pcode([fault.example])
    if gdb is None:
        pytest.skip(gdbsim.MISSING)
    try:
        return gdbsim.execute(gdb, [fault.example])
    except gdbsim.GdbSimError:
        return None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.oracle}: {fault.name}")
def test_a_listed_fault_is_still_there(fault: Fault, gdb: Path | None) -> None:
    assert fault.applies(fault.example)
    found = oracle(fault, gdb)
    ours = execute_ours([fault.example])
    if found is None:
        assert fault.excluded
        return
    differs = difference(fault.example, 0, ours, found)
    listed = [each for each in FAULTS if each.oracle == fault.oracle]
    others = [each for each in listed if each is not fault]
    assert unexplained(fault.example, differs, others), "nothing differs that needs this fault: take it off the list"
    assert not unexplained(fault.example, differs, listed), "more differs than is listed"


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.agreed], ids=lambda fault: f"{fault.oracle}: {fault.name}"
)
def test_the_other_oracle_does_as_the_guide_says(fault: Fault, gdb: Path | None) -> None:
    """Two against one: where the faulty oracle departs, the other one agrees with the project's simulator."""
    if gdb is None:
        pytest.skip(gdbsim.MISSING)
    case = fault.example
    ours = execute_ours([case])
    other = execute_pcode([case]) if fault.oracle == "gdb" else gdbsim.execute(gdb, [case])
    agreement = difference(case, 0, ours, other)
    found = oracle(fault, gdb)
    if found is None:
        assert not agreement
        return
    departure = difference(case, 0, ours, found)
    assert not any(a & b for a, b in zip(departure.registers, agreement.registers, strict=True))
    assert not any(a & b for a, b in zip(departure.data, agreement.data, strict=True))


def test_a_fault_hides_nothing_but_its_bits() -> None:
    fault = next(fault for fault in GDB_FAULTS if fault.name == "SXT leaves C clear")
    registers = [0] * 16

    def shows(number: int, bits: int, data: bytes = bytes(32)) -> bool:
        changed = registers.copy()
        changed[number] = bits
        return unexplained(fault.example, Difference(registers=tuple(changed), data=data), [fault])

    assert not shows(2, 0x001)
    assert shows(2, 0x002)
    assert shows(2, 0x101)
    assert shows(5, 0x00001)
    assert shows(0, 1)
    assert shows(2, 0x001, b"\x01" + bytes(31))


def test_undefined_bits_are_v_alone() -> None:
    assert {undefined.flags for undefined in UNDEFINED} == {0x100}


def test_each_fault_names_its_evidence() -> None:
    for fault in FAULTS:
        assert fault.section, fault.name
        assert fault.rule, fault.name
        assert fault.excluded or fault.flags or fault.result or fault.pointer or fault.memory, fault.name
    assert len({(fault.oracle, fault.name) for fault in FAULTS}) == len(FAULTS)
    assert example(FAULTS[0].example.instruction).code == FAULTS[0].example.code
