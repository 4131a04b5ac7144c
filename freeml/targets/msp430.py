"""Texas Instruments MSP430FR5994: 16-bit CPUX, 8 KB SRAM, 256 KB FRAM, hardware multiplier MPY32.

Sources: data sheet SLASE54 ("MSP430FR599x, MSP430FR596x mixed-signal microcontrollers"), section "Memory organization"
for the address map and section "FRAM" for byte-wise writes; family user's guide SLAU367, chapter "CPUX" for the
alignment of word accesses and the 16-bit PC pushed by CALL.

* RAM        0x01C00-0x03BFF  8 KB (the upper 4 KB, from 0x02C00, are shared with the LEA accelerator)
* FRAM       0x04000-0x0FF7F  the part below 64 K that a 16-bit pointer reaches
* signatures 0x0FF80-0x0FF8F  JTAG, BSL and IP protection words: never written by a firmware of ours
* vectors    0x0FFB4-0x0FFFF  interrupt vectors, reset last
* FRAM2      0x10000-0x43FFF  208 KB reached with 20-bit addresses only
"""

from __future__ import annotations

from freeml.targets.board import Board, Compiler, Console, Energy, Memory, Programmer

_LOW_FRAM = Memory(name="FRAM", kind="nv", start=0x4000, size_bytes=0xFF80 - 0x4000)
_VECTORS = Memory(name="VECTORS", kind="nv", start=0xFFB4, size_bytes=0x10000 - 0xFFB4)
_HIGH_FRAM = Memory(name="FRAM2", kind="nv", start=0x10000, size_bytes=0x44000 - 0x10000)
_SRAM = Memory(name="SRAM", kind="sram", start=0x1C00, size_bytes=0x2000)

# SLASE54, "Active mode supply current into VCC excluding external current", 3.0 V, 8 MHz, typical: 450 uA when every
# access to FRAM hits the cache, 1,015 uA at 75 %, 1,650 uA at 50 %, 2,850 uA at 0 %. A line through both ends, at one
# access per cycle, is within 4 % of the two in between: 0.169 nJ per cycle, 0.900 nJ per missing access.
_ENERGY = Energy(
    nj_per_cycle=3.0 * 450e-6 / 8e6 * 1e9,
    nj_per_nv_read=3.0 * (2850e-6 - 450e-6) / 8e6 * 1e9,
    nj_per_nv_write=3.0 * (2850e-6 - 450e-6) / 8e6 * 1e9,
    nj_per_cycle_planned=3.0 * 1015e-6 / 8e6 * 1e9,
    cycles_per_instruction=None,
    clock_hz=8_000_000,
    supply_volts=3.0,
    source=(
        "typical supply currents at 3.0 V and 8 MHz of SLASE54, active mode: 450 uA with all FRAM accesses cached "
        "and 2,850 uA with none; one access per cycle and a write as costly as a missing read are assumed; budgets are "
        "planned with 1,015 uA, three of four accesses cached"
    ),
)

MSP430 = Board(
    name="msp430",
    title="TI MSP430FR5994",
    cpu="MSP430X (CPUX) with MPY32",
    int_bits=16,
    pointer_bits=16,
    sram_bytes=_SRAM.size_bytes,
    nv_bytes=_LOW_FRAM.size_bytes + _HIGH_FRAM.size_bytes,
    near_nv=_LOW_FRAM,
    far_nv=_HIGH_FRAM,
    nv_kind="fram",
    nv_granule_bytes=2,
    activations="nv",
    alignment_bytes=2,
    return_address_bytes=2,
    memories=(_SRAM, _LOW_FRAM, _VECTORS, _HIGH_FRAM),
    nv_data_section=".fm_nv",
    nv_loaded_section=".fm_nv_loaded",
    weights_section=".fm_weights",
    far_section=".fm_far",
    compilers=(
        Compiler(
            kind="zig",
            programs=("zig",),
            compile_flags=("-target", "msp430-freestanding-none", "-mcpu=msp430x+hwmultf5"),
            link_flags=("-target", "msp430-freestanding-none", "-mcpu=msp430x+hwmultf5"),
            how_to_get="install it with `pip install ziglang`",
        ),
        Compiler(
            kind="clang",
            programs=("clang",),
            compile_flags=("--target=msp430-none-elf", "-mhwmult=f5series"),
            linkers=("ld.lld",),
            how_to_get="install clang and lld (on Debian: the packages `clang` and `lld`)",
        ),
        Compiler(
            kind="gcc",
            programs=("msp430-elf-gcc",),
            # Not -mmcu=: that would ask for TI's device headers and linker scripts, which are not needed here.
            compile_flags=("-mcpu=msp430x", "-mhwmult=f5series", "-msmall"),
            link_flags=("-mcpu=msp430x", "-msmall"),
            libraries=("-lmul_f5", "-lgcc"),
            how_to_get="build it with `tools/build_msp430_gcc.sh PREFIX` or install TI's msp430-gcc",
            environment_variable="FREEML_MSP430_GCC",
            max_object_bytes=32_767,  # PTRDIFF_MAX under -msmall: "size of array is too large" beyond
        ),
        Compiler(
            kind="gcc-large",
            programs=("msp430-elf-gcc",),
            compile_flags=("-mcpu=msp430x", "-mhwmult=f5series", "-mlarge"),
            link_flags=("-mcpu=msp430x", "-mlarge"),
            libraries=("-lmul_f5", "-lgcc"),
            how_to_get="build it with `tools/build_msp430_gcc.sh PREFIX` or install TI's msp430-gcc",
            return_address_bytes=4,
            environment_variable="FREEML_MSP430_GCC",
        ),
    ),
    energy=_ENERGY,
    boot_cycles=2_000,
    commit_cycles=300,
    image_formats=("hex", "ti-txt"),
    programmers=(
        Programmer(
            name="mspdebug",
            programs=("mspdebug",),
            arguments=("{driver}", "prog {elf}"),
            driver="tilib",
            how_to_get=(
                "install it (on Debian: the package `mspdebug`) and, for its driver tilib, the library libmsp430.so of "
                "TI's MSP Debug Stack"
            ),
            when_it_fails="check that the LaunchPad's USB plug is in: `mspdebug --usb-list` shows what is found",
        ),
        Programmer(
            name="dslite",
            programs=("dslite.sh", "dslite"),
            # -e verbose, -f flash, -v verify, -u run: as in the scripts that UniFlash itself exports
            arguments=("--config={config}", "-e", "-f", "-v", "-u", "{txt}"),
            config="the board's .ccxml file, which UniFlash or Code Composer Studio writes for an MSP430FR5994",
            failure_words=("Failed:",),
            how_to_get="install TI's UniFlash and put the folder that holds dslite.sh on PATH",
            when_it_fails="check that the LaunchPad's USB plug is in and that no other program holds its debugger",
        ),
    ),
    console=Console(
        baud=115_200,
        hears=True,
        where=(
            "name the LaunchPad's back-channel port, the second of the two that its USB plug makes (/dev/ttyACM1 on "
            "Linux), and press the reset button S3"
        ),
    ),
    linker_script="msp430fr5994.ld",
    elf_machine="EM_MSP430",
)
