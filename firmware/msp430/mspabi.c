/* Arithmetic that LLVM calls by name on the MSP430 and ships no library for. GCC brings libgcc and skips this file.
 * Names and meanings: MSP430 EABI (SLAA534), section "Helper functions". Linked only where something calls them.
 *
 * The multiplier is shared with the kernels and has state. No interrupt handler of this firmware multiplies, so
 * nothing is saved here. */
#ifdef __clang__

#include <stdint.h>

#include "mspabi.h"
#include "msp430fr5994.h"

/* The low halves of a product are the same whether the operands are signed or not. */
int16_t __mspabi_mpyi_f5hw(int16_t a, int16_t b)
{
    MPY = (uint16_t)a;
    OP2 = (uint16_t)b;
    return (int16_t)RESLO;
}

static uint32_t result_low(void)
{
    union {
        uint16_t half[2];
        uint32_t whole;
    } product;
    product.half[0] = RES0;
    product.half[1] = RES1;
    return product.whole;
}

static uint32_t result_high(void)
{
    union {
        uint16_t half[2];
        uint32_t whole;
    } product;
    product.half[0] = RES2;
    product.half[1] = RES3;
    return product.whole;
}

static void multiply_unsigned(uint32_t a, uint32_t b)
{
    MPY32L = (uint16_t)a;
    MPY32H = (uint16_t)(a >> 16);
    OP2L = (uint16_t)b;
    OP2H = (uint16_t)(b >> 16);
}

int32_t __mspabi_mpyl_f5hw(int32_t a, int32_t b)
{
    multiply_unsigned((uint32_t)a, (uint32_t)b);
    return (int32_t)result_low();
}

/* The EABI passes the first operand in R8 to R11, and GCC does so. LLVM (14 and 22 were looked at) forgets that for the
 * `_f5hw` name and calls it like any C function. */
int64_t __mspabi_mpyll_f5hw(int64_t a, int64_t b)
{
    fm_pair x;
    fm_pair y;
    fm_pair product;

    x.whole = (uint64_t)a;
    y.whole = (uint64_t)b;
    multiply_unsigned(x.half[0], y.half[0]);
    product.half[0] = result_low();
    product.half[1] = result_high();
    multiply_unsigned(x.half[0], y.half[1]);
    product.half[1] += result_low();
    multiply_unsigned(x.half[1], y.half[0]);
    product.half[1] += result_low();
    return (int64_t)product.whole;
}

/* Division: one bit of the quotient a round. A divisor of zero is undefined in C and gives all ones here. */
static uint16_t divide_16(uint16_t dividend, uint16_t divisor, uint16_t *remainder)
{
    uint16_t rest = 0u;
    uint16_t bit;

    for (bit = 0u; bit < 16u; bit++) {
        uint16_t carry = (uint16_t)(rest & 0x8000u);
        rest = (uint16_t)(rest + rest + ((dividend & 0x8000u) != 0u ? 1u : 0u));
        dividend = (uint16_t)(dividend + dividend);
        if (carry != 0u || rest >= divisor) {
            rest = (uint16_t)(rest - divisor);
            dividend |= 1u;
        }
    }
    *remainder = rest;
    return dividend;
}

static uint32_t divide_32(uint32_t dividend, uint32_t divisor, uint32_t *remainder)
{
    uint32_t rest = 0u;
    uint16_t bit;

    for (bit = 0u; bit < 32u; bit++) {
        uint32_t carry = rest & 0x80000000u;
        rest = rest + rest + ((dividend & 0x80000000u) != 0u ? 1u : 0u);
        dividend = dividend + dividend;
        if (carry != 0u || rest >= divisor) {
            rest = rest - divisor;
            dividend |= 1u;
        }
    }
    *remainder = rest;
    return dividend;
}

static uint16_t magnitude_16(int16_t value)
{
    return (value < 0) ? (uint16_t)(0u - (uint16_t)value) : (uint16_t)value;
}

static uint32_t magnitude_32(int32_t value)
{
    return (value < 0) ? 0u - (uint32_t)value : (uint32_t)value;
}

uint16_t __mspabi_divu(uint16_t a, uint16_t b)
{
    uint16_t rest;
    return divide_16(a, b, &rest);
}

uint16_t __mspabi_remu(uint16_t a, uint16_t b)
{
    uint16_t rest;
    (void)divide_16(a, b, &rest);
    return rest;
}

int16_t __mspabi_divi(int16_t a, int16_t b)
{
    uint16_t quotient = __mspabi_divu(magnitude_16(a), magnitude_16(b));
    return (int16_t)(((a < 0) != (b < 0)) ? (uint16_t)(0u - quotient) : quotient);
}

int16_t __mspabi_remi(int16_t a, int16_t b)
{
    uint16_t rest = __mspabi_remu(magnitude_16(a), magnitude_16(b));
    return (int16_t)((a < 0) ? (uint16_t)(0u - rest) : rest);
}

uint32_t __mspabi_divul(uint32_t a, uint32_t b)
{
    uint32_t rest;
    return divide_32(a, b, &rest);
}

uint32_t __mspabi_remul(uint32_t a, uint32_t b)
{
    uint32_t rest;
    (void)divide_32(a, b, &rest);
    return rest;
}

int32_t __mspabi_divli(int32_t a, int32_t b)
{
    uint32_t quotient = __mspabi_divul(magnitude_32(a), magnitude_32(b));
    return (int32_t)(((a < 0) != (b < 0)) ? 0u - quotient : quotient);
}

int32_t __mspabi_remli(int32_t a, int32_t b)
{
    uint32_t rest = __mspabi_remul(magnitude_32(a), magnitude_32(b));
    return (int32_t)((a < 0) ? 0u - rest : rest);
}

/* operands[0] becomes the quotient, operands[1] the remainder. */
void fm_divide_unsigned_64(fm_pair operands[2])
{
    uint32_t low = operands[0].half[0];
    uint32_t high = operands[0].half[1];
    fm_pair rest;
    uint16_t bit;

    rest.whole = 0u;
    for (bit = 0u; bit < 64u; bit++) {
        uint32_t carry = rest.half[1] & 0x80000000u;
        rest.whole = rest.whole + rest.whole;
        if ((high & 0x80000000u) != 0u) {
            rest.half[0] |= 1u;
        }
        high = high + high + ((low & 0x80000000u) != 0u ? 1u : 0u);
        low = low + low;
        if (carry != 0u || rest.whole >= operands[1].whole) {
            rest.whole -= operands[1].whole;
            low |= 1u;
        }
    }
    operands[0].half[0] = low;
    operands[0].half[1] = high;
    operands[1] = rest;
}

void fm_divide_signed_64(fm_pair operands[2])
{
    uint32_t sign_of_dividend = operands[0].half[1] & 0x80000000u;
    uint32_t sign_of_divisor = operands[1].half[1] & 0x80000000u;

    if (sign_of_dividend != 0u) {
        operands[0].whole = 0u - operands[0].whole;
    }
    if (sign_of_divisor != 0u) {
        operands[1].whole = 0u - operands[1].whole;
    }
    fm_divide_unsigned_64(operands);
    if (sign_of_dividend != sign_of_divisor) {
        operands[0].whole = 0u - operands[0].whole;
    }
    if (sign_of_dividend != 0u) {
        operands[1].whole = 0u - operands[1].whole;
    }
}

/* 64-bit shifts of LLVM up to 14; later versions shift in line. Word moves first, single bits last. */
int64_t __ashldi3(int64_t value, int count)
{
    fm_pair x;
    x.whole = (uint64_t)value;
    if (count >= 32) {
        x.half[1] = x.half[0];
        x.half[0] = 0u;
        count -= 32;
    }
    while (count > 0) {
        x.half[1] = x.half[1] + x.half[1] + ((x.half[0] & 0x80000000u) != 0u ? 1u : 0u);
        x.half[0] = x.half[0] + x.half[0];
        count--;
    }
    return (int64_t)x.whole;
}

uint64_t __lshrdi3(uint64_t value, int count)
{
    fm_pair x;
    x.whole = value;
    if (count >= 32) {
        x.half[0] = x.half[1];
        x.half[1] = 0u;
        count -= 32;
    }
    while (count > 0) {
        x.half[0] = (x.half[0] >> 1) | ((x.half[1] & 1u) != 0u ? 0x80000000u : 0u);
        x.half[1] = x.half[1] >> 1;
        count--;
    }
    return x.whole;
}

int64_t __ashrdi3(int64_t value, int count)
{
    fm_pair x;
    x.whole = (uint64_t)value;
    if ((x.half[1] & 0x80000000u) == 0u) {
        return (int64_t)__lshrdi3(x.whole, count);
    }
    return (int64_t)~__lshrdi3(~x.whole, count);
}

#else
typedef int fm_mspabi_is_for_clang_only; /* ISO C forbids an empty translation unit */
#endif
