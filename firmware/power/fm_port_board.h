/* The board of the power-failure harness: this machine, with one section for its "non-volatile" memory. The arena lies
 * there too where the board that the model was compiled for has it there. */
#ifndef FM_PORT_BOARD_H
#define FM_PORT_BOARD_H

#include "fm_target.h"

#define FM_NV __attribute__((section("fm_nv"), aligned(16)))
#define FM_NV_LOADED FM_NV

#ifndef FM_ARENA_IN_SRAM
#define FM_ARENA FM_NV
#endif

#endif
