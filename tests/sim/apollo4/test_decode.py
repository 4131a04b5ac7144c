"""What the hooks read out of an instruction, against what the engine does when it executes it."""

from __future__ import annotations

import ctypes
import random
import struct

import pytest

from freeml.sim.apollo4 import engine as engine_module
from freeml.sim.native import load_library

unicorn = pytest.importorskip("unicorn")
from unicorn import arm_const  # noqa: E402

CODE, STACK = 0x18000, 0x1000_8000
TRIES = 5_000
MOVES_SP, IT, FLOAT, ALIGNED, SLEEPS = 4, 8, 16, 32, 64


@pytest.fixture(scope="module")
def decode():
    folder = engine_module._FOLDER
    library = load_library("apollo4", [folder / name for name in engine_module._SOURCES], [folder])
    library.a4_decode.restype = ctypes.c_uint8
    return library.a4_decode


def _random_instructions(rng: random.Random):
    """Halfwords that name the stack pointer where registers are named, in every encoding that has such a place."""
    for _ in range(TRIES):
        first, second = rng.getrandbits(16), rng.getrandbits(16)
        kind = rng.randrange(8)
        if kind == 0:  # MOV and ADD of high registers, PUSH, SUB SP
            first = rng.choice((0x4485, 0x4605, 0xB400, 0xB080)) | first & 0x01F8
        elif kind == 1:  # loads and stores, of one or several
            first = rng.choice((0xE800, 0xE900, 0xF800, 0xED00)) | first & 0x00F0 | 13
            second = second & 0x0FFF | rng.randrange(8) << 12
        elif kind == 2:  # data processing
            first = rng.choice((0xEA00, 0xEB00, 0xF000, 0xF100, 0xF200, 0xF300)) | first & 0x00FF
            second = second & 0x70FF | 0x0D00
        elif kind == 3:  # loads of SP
            first = 0xF800 | first & 0x01FF
            second = second & 0x0FFF | 0xD000
        yield first, second


def _engine(exceptions: list[int]):
    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M4)
    uc.mem_map(CODE, 0x2000)
    uc.mem_map(0x1000_0000, 0x10000)
    uc.hook_add(unicorn.UC_HOOK_INTR, lambda engine, number, data: (exceptions.append(number), engine.emu_stop()))
    return uc, uc.context_save()


def test_no_instruction_lowers_the_stack_pointer_unseen(decode):
    exceptions: list[int] = []
    uc, fresh = _engine(exceptions)
    rng = random.Random(1)
    lowered, seen = 0, set()
    for first, second in _random_instructions(rng):
        # Neither what sleeps, nor a block of several instructions, nor what takes an exception (BX, BKPT, UDF, SVC).
        if decode(first, second) & (SLEEPS | IT) or first >> 8 in (0x47, 0xBE, 0xDE, 0xDF):
            continue
        uc.mem_write(CODE, struct.pack("<HHHH", first, second, 0xBF00, 0xBF00))
        uc.ctl_remove_cache(CODE, CODE + 8)
        uc.context_restore(fresh)
        for register in range(arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R0 + 13):
            uc.reg_write(register, rng.choice((STACK - 64, STACK + 64, 16, 0)))
        uc.reg_write(arm_const.UC_ARM_REG_LR, CODE | 1)
        uc.reg_write(arm_const.UC_ARM_REG_SP, STACK)
        try:
            uc.emu_start(CODE | 1, 0xFFFFFFFF, count=1)
        except unicorn.UcError:
            continue
        if exceptions:
            # An exception stays pending in an engine without vectors.
            exceptions.clear()
            uc, fresh = _engine(exceptions)
            continue
        if uc.reg_read(arm_const.UC_ARM_REG_SP) < STACK:
            lowered += 1
            seen.add(first >> 9)
            assert decode(first, second) & MOVES_SP, f"{first:04x} {second:04x}"
    assert lowered > 200
    assert len(seen) >= 7


@pytest.mark.parametrize(
    ("first", "second", "marks"),
    [
        (0xB500, 0, MOVES_SP),  # push {lr}
        (0xB084, 0, MOVES_SP),  # sub sp, #16
        (0xB004, 0, 0),  # add sp, #16
        (0xBD10, 0, 0),  # pop {r4, pc}
        (0x4685, 0, MOVES_SP),  # mov sp, r0
        (0x4485, 0, MOVES_SP),  # add sp, r0
        (0x4605, 0, 0),  # mov r5, r0
        (0xE92D, 0x41F0, MOVES_SP),  # push.w {r4-r8, lr}
        (0xF5AD, 0x7D00, MOVES_SP),  # sub.w sp, sp, #512
        (0xF84D, 0x4D04, MOVES_SP),  # str r4, [sp, #-4]!
        (0xF8CD, 0x4004, 0),  # str.w r4, [sp, #4]
        (0xF380, 0x8808, MOVES_SP),  # msr msp, r0
        (0xF000, 0xFD00, 0),  # bl
        (0xED2D, 0x8B02, MOVES_SP | FLOAT),  # vpush {d8}
        (0xED90, 0x0A00, FLOAT | ALIGNED),  # vldr s0, [r0]
        (0xED9D, 0x0A00, FLOAT),  # vldr s0, [sp]
        (0xED9F, 0x0A00, FLOAT),  # vldr s0, [pc]
        (0xEC51, 0x0B10, FLOAT),  # vmov r0, r1, d0
        (0xEE30, 0x0A20, FLOAT),  # vadd.f32
        (0xC806, 0, ALIGNED),  # ldm r0, {r1, r2}
        (0xC006, 0, ALIGNED),  # stm r0!, {r1, r2}
        (0xE890, 0x0006, ALIGNED),  # ldm.w r0, {r1, r2}
        (0xE9D0, 0x1200, ALIGNED),  # ldrd r1, r2, [r0]
        (0xE9CD, 0x1200, 0),  # strd r1, r2, [sp]
        (0xE96D, 0x1202, MOVES_SP),  # strd r1, r2, [sp, #-8]!
        (0xE850, 0x1F00, ALIGNED),  # ldrex r1, [r0]
        (0xE8D0, 0x1F4F, 0),  # ldrexb r1, [r0]
        (0xE8D0, 0xF001, 0),  # tbb [r0, r1]
        (0x6800, 0, 0),  # ldr r0, [r0]
        (0xF850, 0x1003, 0),  # ldr.w r1, [r0, r3]
        (0xFB10, 0x2301, 0),  # smlabb
        (0xBF30, 0, SLEEPS),  # wfi
        (0xF3AF, 0x8003, SLEEPS),  # wfi.w
        (0xF3AF, 0x8000, 0),  # nop.w
        (0xBF00, 0, 0),  # nop
        (0xBF08, 0, IT),  # it eq
    ],
)
def test_marks(decode, first, second, marks):
    assert decode(first, second) & ~2 == marks
