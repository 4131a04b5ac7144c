/* Fixed-point arithmetic: the one rounding rule of freeml (round half up), the same on every board.
 *
 * `int` has 16 bits on the MSP430 and 32 elsewhere: every product and shift below is written so that the width of `int`
 * cannot change its value. Written once more in freeml/fixedpoint/rounding.py; tests prove the two equal. */
#ifndef FM_MATH_H
#define FM_MATH_H

#include <stddef.h>
#include <stdint.h>

#include "fm_port.h"

/* A right shift of a negative number must copy the sign: true of every compiler freeml supports, checked here. */
typedef char fm_right_shift_is_arithmetic[((int32_t)-1 >> 1) == (int32_t)-1 ? 1 : -1];

/* Product of two 16-bit numbers in 32 bits. */
static inline int32_t fm_mul16(int16_t a, int16_t b)
{
    return (int32_t)a * (int32_t)b;
}

/* High word of the 64-bit product of two 32-bit numbers. A port may bring its own. */
#ifndef FM_PORT_MULHI
static inline int32_t fm_mulhi(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * (int64_t)b) >> 32);
}
#endif

/* value * 2^shift; the caller has proved that the result fits. */
static inline int32_t fm_shift_left(int32_t value, unsigned shift)
{
    return (int32_t)((uint32_t)value << shift);
}

/* value / 2^shift rounded half up; shift is 1..30 and |value| at most 2^30. */
static inline int32_t fm_shift_round(int32_t value, unsigned shift)
{
    return (value + ((int32_t)1 << (shift - 1U))) >> shift;
}

static inline int32_t fm_clamp(int32_t value, int32_t low, int32_t high)
{
    if (value < low) {
        return low;
    }
    return value > high ? high : value;
}

/* Accumulator to output number: clamp(round(acc * multiplier * 2^(pre - 32 - shift)) + zero, low, high). */
static inline int32_t fm_requant(int32_t acc, int32_t multiplier, unsigned pre, unsigned shift, int32_t zero,
                                 int32_t low, int32_t high)
{
    const int32_t scaled = fm_mulhi(fm_shift_left(acc, pre), multiplier);
    return fm_clamp(fm_shift_round(scaled, shift) + zero, low, high);
}

/* The same for a 64-bit accumulator that is first brought to 32 bits by dropping its lowest `drop` bits. */
static inline int32_t fm_requant_wide(int64_t acc, int32_t multiplier, unsigned drop, unsigned shift, int32_t zero,
                                      int32_t low, int32_t high)
{
    return fm_requant((int32_t)(acc >> drop), multiplier, 0U, shift, zero, low, high);
}

static inline int fm_min(int a, int b)
{
    return a < b ? a : b;
}

static inline int fm_max(int a, int b)
{
    return a > b ? a : b;
}

/* position / width and position % width for positions of maps with few rows: where division is software, subtracting
 * that often is quicker. The empty statement keeps compilers from making a division of it again. */
static inline unsigned fm_rows(unsigned position, unsigned width)
{
    unsigned rows = 0;
    for (; position >= width; position -= width) {
        ++rows;
        __asm__("" : "+r"(position));
    }
    return rows;
}

static inline unsigned fm_columns(unsigned position, unsigned width)
{
    for (; position >= width; position -= width) {
        __asm__("" : "+r"(position));
    }
    return position;
}

static inline int32_t fm_max32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

#endif
