"""Words for what a firmware did wrong."""

from __future__ import annotations

from freeml.sim.msp430.layout import Core

_ACCESS = {1: "byte", 2: "word"}

_MPY_REGISTERS = {
    0x4CA: "RESLO",
    0x4CC: "RESHI",
    0x4CE: "SUMEXT",
    0x4E4: "RES0",
    0x4E6: "RES1",
    0x4E8: "RES2",
    0x4EA: "RES3",
}

_KINDS = (
    "no fault",
    "{width} read of {address}, which is not mapped",
    "{width} write to {address}, which is not mapped",
    "word read of {address}, which is odd",
    "word write to {address}, which is odd",
    "{width} write to {address}, which is read-only memory",
    "{width} read of {address} in the boot loader's memory, which is not modelled",
    "execution of {address}, where no instructions can be",
    "illegal instruction 0x{detail:04x}",
    "stack overflow: SP {address} grew below fm_stack_limit ({limit})",
    "{width} write to {address} with a wrong password: the chip would reset",
    "the watchdog expired: the chip would reset",
    "reads {register} {detail} cycles too early for the multiplier",
    "access to {address}: LEA is not modelled",
    "DMA channel {bytes} waits for trigger {detail}, which is not modelled",
    "a character is sent while the UART is held in reset",
    "{width} access to {address}, a register that only takes whole words",
    "write to {address} while the clock system is locked",
    "FRAM at {mhz:g} MHz without wait states: it needs NWAITS of 1 or more above 8 MHz",
)


def describe(core: Core) -> str:
    """What happened, without where: the fault that `core` stopped at."""
    kind = core.fault if core.fault < len(_KINDS) else 0
    words = _KINDS[kind].format(
        width=_ACCESS.get(core.fault_bytes, ""),
        address=f"0x{core.fault_address:05x}",
        detail=core.fault_detail,
        bytes=core.fault_bytes,
        limit=f"0x{core.stack_limit:05x}",
        register=_MPY_REGISTERS.get(core.fault_address & ~1, "a result"),
        mhz=core.fault_detail / 1e6,
    )
    return f"DMA channel {core.fault_channel - 1}: {words}" if core.fault_channel else words
