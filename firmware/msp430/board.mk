# How each compiler makes code for the MSP430FR5994.
BOARD_SCRIPT := board/msp430fr5994.ld
CC_gcc = $(call installed,$(FREEML_MSP430_GCC),msp430-elf-gcc)

BOARD_CFLAGS_zig := -target msp430-freestanding-none -mcpu=msp430x+hwmultf5
BOARD_LDFLAGS_zig := $(BOARD_CFLAGS_zig)

BOARD_CFLAGS_clang := --target=msp430-none-elf -mhwmult=f5series

# Not -mmcu=: that would ask for TI's device headers and linker scripts, which are not needed here.
BOARD_CFLAGS_gcc := -mcpu=msp430x -mhwmult=f5series -msmall
BOARD_LDFLAGS_gcc := -mcpu=msp430x -msmall
BOARD_LIBS_gcc := -lmul_f5 -lgcc

# The same with 20-bit pointers.
CC_gcc-large = $(CC_gcc)
BOARD_CFLAGS_gcc-large := -mcpu=msp430x -mhwmult=f5series -mlarge
BOARD_LDFLAGS_gcc-large := -mcpu=msp430x -mlarge
BOARD_LIBS_gcc-large := $(BOARD_LIBS_gcc)
