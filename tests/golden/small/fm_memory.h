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

/* The outputs of the last inference that ended, and of the one before: which is which, the word of progress says. */
#define FM_RESULT_BYTES 4U
extern unsigned char fm_results[2][FM_RESULT_BYTES];

#endif
