"""What the compiler knows about a board: memories, widths, and the compilers that make code for it. Data, no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MemoryKind = Literal["sram", "nv"]
"""`sram` loses its content with the supply; `nv` (FRAM, MRAM) keeps it."""

CompilerKind = Literal["zig", "clang", "gcc", "gcc-large"]
"""`gcc-large` is GCC with the 20-bit pointers of the MSP430X's large memory model."""

ProgrammerName = Literal["mspdebug", "dslite", "jlink", "openocd"]

ImageFormat = Literal["hex", "ti-txt", "bin"]
"""Intel HEX; TI-TXT; plain bytes from the lowest address on, gaps filled with 0xFF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One contiguous range of the address map that the linker script may place sections in."""

    name: str
    """As in the board's linker script."""
    kind: MemoryKind
    start: int
    """First byte address."""
    size_bytes: int

    @property
    def end(self) -> int:
        """The address just past the last byte."""
        return self.start + self.size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """How one family of compilers is found and which flags make it produce code for a board.

    `compile_flags` and `link_flags` hold what is particular to the board; what every build shares (language, warnings,
    optimisation, sections) is in `freeml.toolchains.flags`.
    """

    kind: CompilerKind
    programs: tuple[str, ...]
    """Executable names, in the order they are tried. `zig` is looked for as the Python package `ziglang` first."""
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...] = ()
    """Before the objects."""
    libraries: tuple[str, ...] = ()
    """After the objects."""
    how_to_get: str
    """The end of an error message that says none was found: an imperative without a full stop."""
    linkers: tuple[str, ...] = ()
    """Programs that link, in the order they are tried; empty when the compiler's own driver does."""
    return_address_bytes: int | None = None
    """What a call pushes on the stack where it is not the board's usual number."""
    environment_variable: str | None = None
    """Names a variable that may hold the compiler's path, or the folder of the installation."""
    max_object_bytes: int | None = None
    """The largest array it compiles; None where only the memory limits it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programmer:
    """A tool that writes a firmware to a board, and its command line.

    It runs in the folder of the images. In `arguments` and `script`, `{elf}`, `{hex}`, `{txt}` and `{bin}` stand for
    the names of these, `{script}` for that of the command file, `{config}` and `{driver}` for what the user says.
    """

    name: ProgrammerName
    programs: tuple[str, ...]
    """Executable names, in the order they are tried."""
    arguments: tuple[str, ...]
    script: tuple[str, ...] = ()
    """Lines of a command file; empty where there is none."""
    driver: str | None = None
    """The default for `{driver}`; None where there is no choice."""
    config: str | None = None
    """What file the user must name, and where it comes from; None where there is none."""
    failure_words: tuple[str, ...] = ()
    """Output that means failure whatever the exit status."""
    how_to_get: str
    """The end of an error message that says the tool is missing: an imperative without a full stop."""
    when_it_fails: str
    """What to check about the board: another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """How the self-test program on a board talks to a person's desk."""

    baud: int | None
    """Of a serial port with 8 data bits, no parity, 1 stop bit; None where the console is no serial port."""
    hears: bool
    """Whether `fm_board_wait` can return a character."""
    where: str
    """How to find it, as the end of an error message: an imperative without a full stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """An estimate of what execution takes from the supply, in nanojoules; linear in what a simulator counts.

    Energy of a stretch = cycles * `nj_per_cycle` + memory accesses of either kind * their cost.
    """

    nj_per_cycle: float
    """Every processor cycle, instructions coming from a cache."""
    nj_per_nv_read: float
    """Added by a read of non-volatile memory that its cache does not hold."""
    nj_per_nv_write: float
    """Added by a write to non-volatile memory."""
    nj_per_cycle_planned: float
    """What a cycle of a firmware of ours is taken to cost in all, its accesses to memory included, before it is
    measured."""
    cycles_per_instruction: float | None
    """Assumed where a simulator counts instructions only; None where it counts cycles."""
    clock_hz: int
    supply_volts: float
    source: str
    """Where the constants are from and what is assumed, in one or two sentences for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A microcontroller as the planner, the code generator and the tool chains see it.

    Sizes are bytes, addresses are byte addresses.
    """

    name: str
    """What the user writes after `--target`; also the folder below `firmware/`."""
    title: str
    cpu: str
    int_bits: int
    """Width of C's `int`: decides where the language promotes a product of short operands to."""
    pointer_bits: int
    """Width of a data pointer under the default compiler."""
    sram_bytes: int
    nv_bytes: int
    """Non-volatile memory a firmware may fill: code, constants and persistent data together."""
    near_nv: Memory
    """The part of the non-volatile memory that a plain C pointer of `pointer_bits` reaches."""
    far_nv: Memory | None
    """Non-volatile memory beyond that reach, for constants read through `fm_far_read`; None where there is none."""
    nv_kind: Literal["fram", "mram"]
    nv_granule_bytes: int
    """The smallest unit the non-volatile memory is written in."""
    activations: MemoryKind
    """Where activations live: `nv` when plain stores reach it and SRAM is scarce, otherwise `sram`."""
    alignment_bytes: int
    """The alignment that every buffer must have for the widest access the kernels make."""
    return_address_bytes: int
    """What a call itself pushes on the stack, outside the callee's frame."""
    memories: tuple[Memory, ...]
    """Every range the linker script uses; sizes of an ELF file are accounted by these."""
    nv_data_section: str
    """The ELF section of persistent data: it takes non-volatile memory but no byte of the flashed image."""
    nv_loaded_section: str
    """That of persistent data which flashing sets to its initial value; counted with the rest of it."""
    weights_section: str
    """The ELF section of constant weights."""
    far_section: str
    """The ELF section of constants in `far_nv`."""
    compilers: tuple[Compiler, ...]
    """In order of preference: the first is the default."""
    energy: Energy
    boot_cycles: float
    """From reset to the first region of a resumed inference, before it is measured."""
    commit_cycles: float
    """What a region costs besides its layer's work: leaving the layer, the commit, entering it again."""
    image_formats: tuple[ImageFormat, ...]
    """What is written beside the ELF file, for programmers."""
    programmers: tuple[Programmer, ...]
    """In order of preference: the first is the default."""
    console: Console
    linker_script: str
    """File name in the firmware folder."""
    elf_machine: str
    """`e_machine` of the ELF files it runs, in pyelftools' spelling."""
