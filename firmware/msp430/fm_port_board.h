/* Where the MSP430FR5994 keeps things: activations and weights in FRAM, since SRAM is 8 KB. */
#ifndef FM_PORT_BOARD_H
#define FM_PORT_BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "msp430fr5994.h"

#define FM_ARENA __attribute__((section(".fm_nv")))
#define FM_WEIGHTS __attribute__((section(".fm_weights")))
#define FM_FAR(n) __attribute__((section(".fm_far." #n), aligned(2), used))

/* Dot products in dot.S. */
#define FM_PORT_DOT
#define FM_PORT_DOT_STRIDED
#define FM_PORT_DOT_BLOCK
int32_t fm_dot_s8_s8(const int8_t *x, const int8_t *w, size_t count);
int32_t fm_dot_s16_s8(const int16_t *x, const int8_t *w, size_t count);
int32_t fm_dot_s8_s16(const int8_t *x, const int16_t *w, size_t count);
int32_t fm_dot_s16_s16(const int16_t *x, const int16_t *w, size_t count);
int32_t fm_dot_strided_s8_s8(const int8_t *x, const int8_t *w, size_t count, size_t stride);
int32_t fm_dot_strided_s16_s8(const int16_t *x, const int8_t *w, size_t count, size_t stride);
int32_t fm_dot_strided_s8_s16(const int8_t *x, const int16_t *w, size_t count, size_t stride);
int32_t fm_dot_strided_s16_s16(const int16_t *x, const int16_t *w, size_t count, size_t stride);
int32_t fm_dot_block_s8_s8(const int8_t *x, const uint8_t *row, size_t blocks);
int32_t fm_dot_block_s16_s8(const int16_t *x, const uint8_t *row, size_t blocks);

/* Copies in copy.S: the place behind the last element. */
#define FM_PORT_COPY
int8_t *fm_copy_s8(int8_t *to, const int8_t *from, size_t count);
int16_t *fm_copy_s16(int16_t *to, const int16_t *from, size_t count);

/* High word of a signed 32 x 32 product from the hardware multiplier. RES2 is ready ten cycles after OP2L and five
 * after OP2H was written (SLAU367, chapter "32-bit hardware multiplier", "Result availability"). Writing OP2H takes
 * three cycles or more, and the quickest read, through a pointer, two: five NOPs do, however a compiler reads. */
#define FM_PORT_MULHI
static inline int32_t fm_mulhi(int32_t a, int32_t b)
{
    union {
        uint16_t half[2];
        int32_t whole;
    } x, y, high;

    x.whole = a;
    y.whole = b;
    MPYS32L = x.half[0];
    MPYS32H = x.half[1];
    OP2L = y.half[0];
    OP2H = y.half[1];
    __asm__ volatile("nop\n\tnop\n\tnop\n\tnop\n\tnop");
    high.half[0] = RES2;
    high.half[1] = RES3;
    return high.whole;
}

#endif
