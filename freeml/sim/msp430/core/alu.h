/* What the operations compute, and the status bits they leave (chapter "CPUX", "Instruction set description"). */
#ifndef M430_ALU_H
#define M430_ALU_H

#include "machine.h"

/* The upper four bits of a double-operand instruction. */
enum alu_code { MOV = 4, ADD, ADDC, SUBC, SUB, CMP, DADD, BIT, BIC, BIS, XOR, AND };

ALWAYS_INLINE unsigned bits_of(unsigned width)
{
    return width == BYTE ? 8u : width == WORD ? 16u : 20u;
}

ALWAYS_INLINE uint32_t with_flags(uint32_t sr, uint32_t result, uint32_t carry, uint32_t overflow, unsigned width)
{
    const uint32_t negative = result >> (bits_of(width) - 1u);
    return (sr & ~SR_FLAGS) | carry | (result == 0u ? SR_Z : 0u) | negative << 2 | overflow << 8;
}

ALWAYS_INLINE uint32_t add(uint32_t s, uint32_t d, uint32_t carry, unsigned width, uint32_t *sr)
{
    const uint32_t sum = s + d + carry;
    const uint32_t result = sum & mask_of(width);
    const uint32_t overflow = ((s ^ result) & (d ^ result)) >> (bits_of(width) - 1u);
    *sr = with_flags(*sr, result, sum >> bits_of(width), overflow, width);
    return result;
}

/* Digit by digit, as a decimal adder does. V is undefined by the guide; here it is cleared. */
ALWAYS_INLINE uint32_t add_decimal(uint32_t s, uint32_t d, uint32_t carry, unsigned width, uint32_t *sr)
{
    uint32_t result = 0;
    for (unsigned shift = 0; shift < bits_of(width); shift += 4u) {
        uint32_t digit = (s >> shift & 0xFu) + (d >> shift & 0xFu) + carry;
        carry = digit > 9u;
        if (carry) {
            digit += 6u;
        }
        result |= (digit & 0xFu) << shift;
    }
    *sr = with_flags(*sr, result, carry, 0u, width);
    return result;
}

/* `s` and `d` are already cut to the width. */
ALWAYS_INLINE uint32_t compute(unsigned code, uint32_t s, uint32_t d, uint32_t carry, unsigned width, uint32_t *sr)
{
    const uint32_t inverse = ~s & mask_of(width);
    uint32_t result;
    switch (code) {
    case ADD:
        return add(s, d, 0u, width, sr);
    case ADDC:
        return add(s, d, carry, width, sr);
    case SUBC:
        return add(inverse, d, carry, width, sr);
    case SUB:
    case CMP:
        return add(inverse, d, 1u, width, sr);
    case DADD:
        return add_decimal(s, d, carry, width, sr);
    case BIC:
        return d & inverse;
    case BIS:
        return d | s;
    case XOR:
        result = d ^ s;
        *sr = with_flags(*sr, result, result != 0u, (s & d) >> (bits_of(width) - 1u), width);
        return result;
    case BIT:
    case AND:
        result = d & s;
        *sr = with_flags(*sr, result, result != 0u, 0u, width);
        return result;
    default:
        return s;
    }
}

ALWAYS_INLINE int writes(unsigned code)
{
    return code != CMP && code != BIT;
}

ALWAYS_INLINE int changes_flags(unsigned code)
{
    return code != MOV && code != BIC && code != BIS;
}

#endif
