# Compiles every C and assembly file by itself and links them under the board's linker script. board/board.mk has the
# rest.
TOOLCHAIN ?= zig
# What the sizes and cycles in report.json were found with.
OPTIMISE ?= -Os

WARNINGS := -std=c99 -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wshadow -Wmissing-prototypes -Wundef \
    -Wdouble-promotion
FREESTANDING := -g0 -ffreestanding -fno-builtin -fomit-frame-pointer -fno-unwind-tables \
    -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections

FREESTANDING_zig := -fstack-size-section
FREESTANDING_clang := -fstack-size-section
# GCC would turn the loop inside memcpy into a call of memcpy.
FREESTANDING_gcc := -fstack-usage -fno-tree-loop-distribute-patterns
FREESTANDING_gcc-large := $(FREESTANDING_gcc)

# A compiler by the place that a variable names, the program itself or the folder of its installation; else from PATH.
installed = $(or $(if $1,$(firstword $(wildcard $1/bin/$2 $1/$2) $(if $(wildcard $1/.),,$(wildcard $1)))),$2)

ZIG ?= python3 -m ziglang
CC_zig := $(ZIG) cc
CC_clang := clang
LINK_zig := $(CC_zig) $(BOARD_LDFLAGS_zig) -nostdlib -Wl,--gc-sections,-T,$(BOARD_SCRIPT)
LINK_clang := ld.lld $(BOARD_LDFLAGS_clang) --gc-sections -T $(BOARD_SCRIPT)
LINK_gcc := $(CC_gcc) $(BOARD_LDFLAGS_gcc) -nostdlib -Wl,--gc-sections,-T,$(BOARD_SCRIPT)
LINK_gcc-large := $(CC_gcc-large) $(BOARD_LDFLAGS_gcc-large) -nostdlib -Wl,--gc-sections,-T,$(BOARD_SCRIPT)

ifeq ($(CC_$(TOOLCHAIN)),)
$(error unknown TOOLCHAIN $(TOOLCHAIN): expected zig, clang, gcc or (MSP430) gcc-large)
endif

DEVICE_SOURCES := $(sort $(wildcard *.c) $(wildcard runtime/*.c) $(wildcard device/*.c) $(wildcard board/*.[cS]))
DEVICE_OBJECTS := $(DEVICE_SOURCES:%=build/$(TOOLCHAIN)/%.o)
DEVICE_FLAGS := $(BOARD_CFLAGS_$(TOOLCHAIN)) $(WARNINGS) $(FREESTANDING) $(FREESTANDING_$(TOOLCHAIN)) \
    -I. -Iruntime -Idevice -Iboard $(OPTIMISE)

firmware.elf: $(DEVICE_OBJECTS) $(BOARD_SCRIPT)
	$(LINK_$(TOOLCHAIN)) $(DEVICE_OBJECTS) $(BOARD_LIBS_$(TOOLCHAIN)) -o $@

build/$(TOOLCHAIN)/%.o: % $(wildcard *.h runtime/*.h device/*.h board/*.h)
	@mkdir -p $(@D)
	$(CC_$(TOOLCHAIN)) $(DEVICE_FLAGS) -c $< -o $@
