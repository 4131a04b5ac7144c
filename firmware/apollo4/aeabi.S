/* The 64-bit divisions return two 64-bit numbers in four registers, which C cannot say: operands and results travel
 * through the stack. For LLVM only; GCC has them in libgcc. Each notes its frame in .stack_sizes, as LLVM does for
 * C. */
#ifdef __clang__
        .syntax unified
        .thumb

        .macro division name, worker
        .section .text.\name, "ax", %progbits
        .global \name
        .type \name, %function
        .thumb_func
\name:
        push    {r0-r3, r4, lr}         /* r4 keeps the stack aligned to 8 bytes */
        mov     r0, sp
        bl      \worker
        pop     {r0-r3, r4, pc}
        .size \name, . - \name
        .section .stack_sizes, "o", %progbits, .text.\name
        .word   \name
        .uleb128 24
        .endm

        division __aeabi_uldivmod, fm_divide_unsigned_64
        division __aeabi_ldivmod, fm_divide_signed_64
#endif
