"""What to say about a firmware that did what the Apollo4 would not survive."""

from __future__ import annotations

from freeml.sim.apollo4 import state as s
from freeml.sim.image import Image

_WRITE_UNMAPPED, _FETCH_UNMAPPED, _WRITE_PROTECTED, _FETCH_PROTECTED = 20, 21, 22, 24
"""unicorn's kinds of access (uc_mem_type) that are not reads."""

_PREFETCH_ABORT = 3
_EXCEPTIONS = {2: "a supervisor call (SVC)", 7: "a breakpoint instruction (BKPT)", 8: "a return from an exception"}
"""The engine's numbers of exceptions."""

_AREAS = (
    (0, s.MRAM_START, "the secure boot loader's part of the MRAM (a null pointer?)"),
    (s.MRAM_START, s.MRAM_END, "MRAM"),
    (s.TCM_START, s.TCM_END, "TCM, which holds no code"),
    (s.SSRAM_START, s.SSRAM_END, "shared SRAM, which holds no code"),
    (s.ROM_START, s.ROM_END, "the boot ROM"),
    (0x4000_0000, 0x6000_0000, "a peripheral that is not modelled"),
    (s.ITM_START, 0xE010_0000, "a system register that is not modelled"),
)


def place(image: Image, address: int) -> str:
    """An instruction as people look for it: function, offset, address."""
    if s.ROM_START <= address < s.ROM_END:
        return f"boot ROM ({address:#x})"
    for function in image.functions:
        if function.start <= address < function.end:
            return f"{function.name}+{address - function.start:#x} ({address:#x})"
    return f"no known function ({address:#x})"


def describe(image: Image, state: s.MachineStruct, *, engine_pc: int, sp: int, caller: int) -> str:
    """One sentence on the fault in `state`. `engine_pc` is where the engine gave up, `caller` the link register."""
    where = place(image, state.pc)
    if s.ROM_START <= state.pc < s.ROM_END:
        where += f", called from {place(image, (caller & ~1) - 2)}"
    cause = _cause(state, engine_pc, sp) if state.outcome == s.FAULT else _undefined(state.pc, engine_pc)
    return f"{image.path}: {where}: {cause}"


def _undefined(pc: int, engine_pc: int) -> str:
    if engine_pc != pc:
        return f"branches to {engine_pc:#x} as to code that is not Thumb (lowest bit of the target clear)"
    if s.ROM_START <= pc < s.ROM_END:
        return f"a helper of the boot ROM that is not modelled; only nv_program_main2 at {s.ROM_PROGRAM:#x} is"
    return "an undefined instruction"


def _cause(state: s.MachineStruct, engine_pc: int, sp: int) -> str:
    """In the order of a4_fault."""
    address, size, detail = state.fault_address, state.fault_size, state.fault_detail
    programs = f"programs {size:,} bytes of MRAM"
    causes = (
        _access(state, sp),
        _exception(detail, engine_pc),
        f"{'writes' if detail else 'reads'} {size} bytes at {address:#x}, a system register that is not modelled",
        "sleeps for good: no interrupt is enabled that would wake the processor",
        "a floating-point instruction before CPACR enabled the unit",
        f"this instruction needs an address that is a multiple of 4, found {address:#x}",
        f"stack overflow: the stack pointer is {address:#x}, {state.stack_limit - address:,} bytes into the variables, "
        f"which end at fm_stack_limit ({state.stack_limit:#x})",
        f"nv_program_main2 expects the key 0x12344321 and function 1, found {detail:#x} and {address}",
        f"{programs} at {address:#x} with interrupts on: set PRIMASK first",
        f"{programs} from {address:#x}: expected whole words in TCM ({s.TCM_START:#x}-{s.TCM_END - 1:#x})",
        f"{programs} at {address:#x}: expected granules of {s.GRANULE_BYTES} bytes within persistent data "
        f"({state.nv_start:#x}-{state.nv_end:#x})",
        f"{programs}: expected a multiple of {s.GRANULE_BYTES}, not zero",
    )
    return causes[state.fault - 1]


def _exception(number: int, engine_pc: int) -> str:
    if number == _PREFETCH_ABORT:
        return f"branches to {engine_pc:#x}, {_area(engine_pc)}"
    return f"{_EXCEPTIONS.get(number, f'exception {number}')}, for which the firmware has no handler"


def _area(address: int) -> str:
    return next((name for start, end, name in _AREAS if start <= address < end), "where the Apollo4 has no memory")


def _access(state: s.MachineStruct, sp: int) -> str:
    kind, address, size = state.fault_detail, state.fault_address, state.fault_size
    area = _area(address)
    if kind in (_FETCH_UNMAPPED, _FETCH_PROTECTED):
        return f"branches to {address:#x}, {area}"
    if kind == _WRITE_UNMAPPED and sp - s.PAGE_BYTES <= address < s.TCM_START and sp < s.TCM_START + s.PAGE_BYTES:
        return f"stack overflow: writes {size} bytes at {address:#x}, below the TCM; the stack pointer is {sp:#x}"
    if kind == _WRITE_PROTECTED and s.MRAM_START <= address < s.MRAM_END:
        return f"writes {size} bytes at {address:#x}, MRAM: plain stores do not change it, use fm_nv_write"
    return (
        f"{'writes' if kind in (_WRITE_UNMAPPED, _WRITE_PROTECTED) else 'reads'} {size} bytes at {address:#x}, {area}"
    )
