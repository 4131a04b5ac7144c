/* The helper functions of mspabi.c and mspabi.S. Only compilers call them; the prototypes keep the definitions
 * honest. */
#ifndef FM_MSPABI_H
#define FM_MSPABI_H

#include <stdint.h>

/* A 64-bit number and its two halves, low half first: this way no helper needs another helper to shift. */
typedef union {
    uint32_t half[2];
    uint64_t whole;
} fm_pair;

int16_t __mspabi_mpyi_f5hw(int16_t a, int16_t b);
int32_t __mspabi_mpyl_f5hw(int32_t a, int32_t b);
int64_t __mspabi_mpyll_f5hw(int64_t a, int64_t b);

uint16_t __mspabi_divu(uint16_t a, uint16_t b);
uint16_t __mspabi_remu(uint16_t a, uint16_t b);
int16_t __mspabi_divi(int16_t a, int16_t b);
int16_t __mspabi_remi(int16_t a, int16_t b);
uint32_t __mspabi_divul(uint32_t a, uint32_t b);
uint32_t __mspabi_remul(uint32_t a, uint32_t b);
int32_t __mspabi_divli(int32_t a, int32_t b);
int32_t __mspabi_remli(int32_t a, int32_t b);

int64_t __ashldi3(int64_t value, int count);
int64_t __ashrdi3(int64_t value, int count);
uint64_t __lshrdi3(uint64_t value, int count);

/* Called by the assembly of mspabi.S with the operands on the stack. */
void fm_divide_unsigned_64(fm_pair operands[2]);
void fm_divide_signed_64(fm_pair operands[2]);

#endif
