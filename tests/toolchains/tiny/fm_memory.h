#ifndef FM_MEMORY_H
#define FM_MEMORY_H

#include <stdint.h>

#include "fm_nv.h"
#include "fm_port.h"

union fm_arena {
    int8_t s8[32];
    int16_t s16[16];
    int32_t s32[8];
};

extern union fm_arena fm_arena;

#ifdef FM_ARENA_IN_SRAM
#define FM_KEPT_BYTES 32U
extern unsigned char fm_kept[FM_KEPT_BYTES];
#endif

#if FM_NV_GRANULE > 4
#define FM_RESULT_BYTES 16U
#else
#define FM_RESULT_BYTES 4U
#endif
extern unsigned char fm_results[2][FM_RESULT_BYTES];

#endif
