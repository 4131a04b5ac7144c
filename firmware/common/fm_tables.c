#include "fm_tables.h"

#include "fm_port.h"

FM_WEIGHTS const int8_t fm_signed4[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
FM_WEIGHTS const int8_t fm_signed2[4] = {0, 1, -2, -1};

#define FM_DEFINE_INTERPOLATE(name, knot_t)                                                                           \
    int32_t fm_interpolate_##name(const knot_t *knots, uint16_t position, unsigned shift, unsigned drop)              \
    {                                                                                                                 \
        const uint32_t whole = (uint32_t)position >> shift;                                                           \
        const int32_t rest = (int32_t)((uint32_t)position - (whole << shift));                                        \
        const int32_t below = knots[whole];                                                                           \
        const int32_t rise = (int32_t)knots[whole + 1U] - below;                                                      \
        return fm_shift_round(fm_shift_left(below, shift) + rise * rest, drop);                                       \
    }

FM_DEFINE_INTERPOLATE(s16, int16_t)
FM_DEFINE_INTERPOLATE(s32, int32_t)

uint32_t fm_exp(const int32_t *factors, uint16_t distance, int digits)
{
    int32_t result = factors[distance & 15U];
    while (--digits > 0) {
        distance = (uint16_t)(distance >> 4);
        factors += 16;
        result = fm_shift_left(fm_mulhi(result, factors[distance & 15U]), 2U);
    }
    return (uint32_t)result;
}

int32_t fm_log2(const int32_t *knots, uint32_t value)
{
    int32_t exponent = 15;
    while (value < (uint32_t)1 << 31) {
        value <<= 1;
        --exponent;
    }
    const uint16_t fraction = (uint16_t)(value >> 15);
    return exponent * ((int32_t)1 << 20) + fm_interpolate_s32(knots, fraction, 10U, 10U);
}
