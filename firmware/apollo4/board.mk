# How each compiler makes code for the Apollo4.
BOARD_SCRIPT := board/apollo4.ld
CC_gcc = $(call installed,$(FREEML_ARM_GCC),arm-none-eabi-gcc)
BOARD_ARM := -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16

BOARD_CFLAGS_zig := -target thumb-freestanding-eabihf -mcpu=cortex_m4
BOARD_LDFLAGS_zig := $(BOARD_CFLAGS_zig)

BOARD_CFLAGS_clang := --target=thumbv7em-none-eabihf $(BOARD_ARM)

BOARD_CFLAGS_gcc := $(BOARD_ARM)
BOARD_LDFLAGS_gcc := $(BOARD_ARM)
BOARD_LIBS_gcc := -lgcc
