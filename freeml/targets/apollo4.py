"""Ambiq Apollo4: Cortex-M4F, 2 MB MRAM, 384 KB tightly coupled memory, 1 MB shared SRAM.

Sources: Apollo4 SoC data sheet, memory map of the chapter on the MCU core (MRAM at 0x00000000, TCM at 0x10000000,
shared SRAM at 0x10060000) and its chapter on MRAM (programmed 16 bytes at a time through helper functions in the boot
ROM, never by plain stores). The first 0x18000 bytes of the MRAM belong to Ambiq's secure boot loader; applications
start behind them, as in the vendor's linker scripts (AmbiqSuite: MCU_MRAM at 0x00018000, 1,998,848 bytes).
Armv7-M architecture reference manual (DDI 0403): BL keeps the return address in a register.

Data, stack and activations go to the TCM: it is always powered and has no wait states. The shared SRAM is in the
linker script for buffers that a user places there, but it must be powered up first, so it is not counted as available.
"""

from __future__ import annotations

from freeml.targets.board import Board, Compiler, Console, Energy, Memory, Programmer

_MRAM = Memory(name="MRAM", kind="nv", start=0x18000, size_bytes=0x200000 - 0x18000)
_TCM = Memory(name="TCM", kind="sram", start=0x1000_0000, size_bytes=0x60000)
_SHARED_SRAM = Memory(name="SSRAM", kind="sram", start=0x1006_0000, size_bytes=0x100000)

_ARM_FLAGS = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")

_ENERGY = Energy(
    nj_per_cycle=3.3 * 4e-6 / 1e6 * 1e9,
    nj_per_nv_read=0.0,
    nj_per_nv_write=0.0,
    nj_per_cycle_planned=3.3 * 4e-6 / 1e6 * 1e9,
    cycles_per_instruction=1.3,
    clock_hz=96_000_000,
    supply_volts=3.3,
    source=(
        "4 uA/MHz executing from MRAM at 3.3 V, the headline of Ambiq's product brief; 1.3 cycles per instruction is a "
        "guess for loops of loads and multiplies, and writes to MRAM are not counted for want of a published figure"
    ),
)

APOLLO4 = Board(
    name="apollo4",
    title="Ambiq Apollo4",
    cpu="Arm Cortex-M4F",
    int_bits=32,
    pointer_bits=32,
    sram_bytes=_TCM.size_bytes,
    nv_bytes=_MRAM.size_bytes,
    near_nv=_MRAM,
    far_nv=None,
    nv_kind="mram",
    nv_granule_bytes=16,
    activations="sram",
    alignment_bytes=4,
    return_address_bytes=0,
    memories=(_TCM, _SHARED_SRAM, _MRAM),
    nv_data_section=".fm_nv",
    nv_loaded_section=".fm_nv_loaded",
    weights_section=".fm_weights",
    far_section=".fm_far",
    compilers=(
        Compiler(
            kind="zig",
            programs=("zig",),
            compile_flags=("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4"),
            link_flags=("-target", "thumb-freestanding-eabihf", "-mcpu=cortex_m4"),
            how_to_get="install it with `pip install ziglang`",
        ),
        Compiler(
            kind="clang",
            programs=("clang",),
            compile_flags=("--target=thumbv7em-none-eabihf", *_ARM_FLAGS),
            linkers=("ld.lld",),
            how_to_get="install clang and lld (on Debian: the packages `clang` and `lld`)",
        ),
        Compiler(
            kind="gcc",
            programs=("arm-none-eabi-gcc",),
            compile_flags=_ARM_FLAGS,
            link_flags=_ARM_FLAGS,
            libraries=("-lgcc",),
            how_to_get="install the GNU Arm embedded toolchain (on Debian: the package `gcc-arm-none-eabi`)",
            environment_variable="FREEML_ARM_GCC",
        ),
    ),
    energy=_ENERGY,
    boot_cycles=4_000,
    commit_cycles=500,
    image_formats=("hex", "bin"),
    programmers=(
        Programmer(
            name="jlink",
            programs=("JLinkExe", "JLink"),
            arguments=(
                *"-NoGui 1 -ExitOnError 1 -device AMAP42KK-KBR -if SWD -speed 4000 -autoconnect 1".split(),
                "-CommandFile",
                "{script}",
            ),
            script=("r", "h", "loadfile {hex}", "r", "g", "exit"),
            failure_words=("Cannot connect", "Could not connect", "FAILED:"),
            how_to_get="install SEGGER's J-Link software and put JLinkExe on PATH",
            when_it_fails="check that the board has power and that its J-Link USB plug is in",
        ),
        Programmer(
            name="openocd",
            programs=("openocd",),
            arguments=("-f", "{config}", "-c", "program {hex} verify reset exit"),
            config=(
                "an OpenOCD script with the probe, the target and a flash bank for the Apollo4's MRAM: OpenOCD's own "
                "releases up to 0.12 have no driver for it, so this takes a build that has, or another programmer"
            ),
            how_to_get="install it (on Debian: the package `openocd`)",
            when_it_fails="check that the board has power, that the probe's USB plug is in and that the script fits it",
        ),
    ),
    console=Console(
        baud=None,
        hears=False,
        where=(
            "pipe the trace console into freeml: JLinkSWOViewerCL -device AMAP42KK-KBR -itmport 0x0 | "
            "freeml device DIR --port -, and reset the board"
        ),
    ),
    linker_script="apollo4.ld",
    elf_machine="EM_ARM",
)
