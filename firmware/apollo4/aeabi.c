/* Functions that Arm compilers call by name where no libgcc is linked: memory moves and 64-bit division
 * (Run-time ABI for the Arm Architecture, IHI 0043). Linked only where something calls them; GCC brings its own. */
#ifdef __clang__

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *destination, const void *source, size_t size);
void *memmove(void *destination, const void *source, size_t size);
void *memset(void *destination, int value, size_t size);

void __aeabi_memcpy(void *destination, const void *source, size_t size);
void __aeabi_memcpy4(void *destination, const void *source, size_t size);
void __aeabi_memcpy8(void *destination, const void *source, size_t size);
void __aeabi_memmove(void *destination, const void *source, size_t size);
void __aeabi_memmove4(void *destination, const void *source, size_t size);
void __aeabi_memmove8(void *destination, const void *source, size_t size);
void __aeabi_memset(void *destination, size_t size, int value);
void __aeabi_memset4(void *destination, size_t size, int value);
void __aeabi_memset8(void *destination, size_t size, int value);
void __aeabi_memclr(void *destination, size_t size);
void __aeabi_memclr4(void *destination, size_t size);
void __aeabi_memclr8(void *destination, size_t size);
void fm_divide_unsigned_64(uint64_t operands[2]);
void fm_divide_signed_64(uint64_t operands[2]);

void __aeabi_memcpy(void *destination, const void *source, size_t size)
{
    (void)memcpy(destination, source, size);
}

void __aeabi_memcpy4(void *destination, const void *source, size_t size)
{
    (void)memcpy(destination, source, size);
}

void __aeabi_memcpy8(void *destination, const void *source, size_t size)
{
    (void)memcpy(destination, source, size);
}

void __aeabi_memmove(void *destination, const void *source, size_t size)
{
    (void)memmove(destination, source, size);
}

void __aeabi_memmove4(void *destination, const void *source, size_t size)
{
    (void)memmove(destination, source, size);
}

void __aeabi_memmove8(void *destination, const void *source, size_t size)
{
    (void)memmove(destination, source, size);
}

void __aeabi_memset(void *destination, size_t size, int value)
{
    (void)memset(destination, value, size);
}

void __aeabi_memset4(void *destination, size_t size, int value)
{
    (void)memset(destination, value, size);
}

void __aeabi_memset8(void *destination, size_t size, int value)
{
    (void)memset(destination, value, size);
}

void __aeabi_memclr(void *destination, size_t size)
{
    (void)memset(destination, 0, size);
}

void __aeabi_memclr4(void *destination, size_t size)
{
    (void)memset(destination, 0, size);
}

void __aeabi_memclr8(void *destination, size_t size)
{
    (void)memset(destination, 0, size);
}

/* operands[0] becomes the quotient, operands[1] the remainder; one bit of the quotient a round. */
void fm_divide_unsigned_64(uint64_t operands[2])
{
    const uint64_t divisor = operands[1];
    uint64_t quotient = operands[0];
    uint64_t rest = 0u;
    unsigned bit;

    for (bit = 0u; bit < 64u; bit++) {
        const uint64_t carry = rest >> 63;
        rest = (rest << 1) | (quotient >> 63);
        quotient <<= 1;
        if (carry != 0u || rest >= divisor) {
            rest -= divisor;
            quotient |= 1u;
        }
    }
    operands[0] = quotient;
    operands[1] = rest;
}

void fm_divide_signed_64(uint64_t operands[2])
{
    const uint64_t sign_of_dividend = operands[0] >> 63;
    const uint64_t sign_of_divisor = operands[1] >> 63;

    operands[0] = (sign_of_dividend != 0u) ? 0u - operands[0] : operands[0];
    operands[1] = (sign_of_divisor != 0u) ? 0u - operands[1] : operands[1];
    fm_divide_unsigned_64(operands);
    operands[0] = (sign_of_dividend != sign_of_divisor) ? 0u - operands[0] : operands[0];
    operands[1] = (sign_of_dividend != 0u) ? 0u - operands[1] : operands[1];
}

#else
typedef int fm_aeabi_is_for_clang_only; /* ISO C forbids an empty translation unit */
#endif
