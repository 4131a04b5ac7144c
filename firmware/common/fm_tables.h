/* Functions by table: interpolation, exponential, logarithm. Each exists once more in Python, number for number. */
#ifndef FM_TABLES_H
#define FM_TABLES_H

#include "fm_math.h"

/* What 4 and 2 bits of a packed weight stand for, unless its layer has a book of its own: the signed numbers. */
extern const int8_t fm_signed4[16];
extern const int8_t fm_signed2[4];

/* Straight lines between knots 2^shift positions apart, rounded half up by `drop` more bits than the knots have:
 * round((knots[i] * 2^shift + (knots[i + 1] - knots[i]) * f) / 2^drop), i and f being the two parts of the position.
 * The compiler of the net has proved that the sum stays within 2^30. */
int32_t fm_interpolate_s16(const int16_t *knots, uint16_t position, unsigned shift, unsigned drop);
int32_t fm_interpolate_s32(const int32_t *knots, uint16_t position, unsigned shift, unsigned drop);

/* exp(-scale * distance) * 2^30: the product of one factor per hexadecimal digit, the lowest digit's 16 factors
 * first. */
uint32_t fm_exp(const int32_t *factors, uint16_t distance, int digits);

/* log2(value / 2^16) * 2^20 for a value of 2^16 or more, from 65 knots of log2(1 + i / 64). */
int32_t fm_log2(const int32_t *knots, uint32_t value);

/* value / 2^shift and numerator / denominator, rounded half up; the caller has proved that the sums inside fit. */
static inline uint32_t fm_shift_round_u32(uint32_t value, unsigned shift)
{
    return (value + ((uint32_t)1 << (shift - 1U))) >> shift;
}

static inline uint32_t fm_divide_round(uint32_t numerator, uint32_t denominator)
{
    return (numerator + denominator / 2U) / denominator;
}

#endif
