/* Where the model's values live: one arena shared by values that are never needed at the same time.
 *
 * Generated for a golden file. */
#ifndef FM_MEMORY_H
#define FM_MEMORY_H

#include <stdint.h>

#include "fm_port.h"

union fm_arena {
    int8_t s8[256];
    int16_t s16[128];
    int32_t s32[64];
};

extern union fm_arena fm_arena;

#endif
