/* Helpers that C cannot express: 32-bit shifts by a variable count, which the compiler would turn into a call of
 * themselves, and 64-bit divisions, whose operands arrive in R8:R11 and R12:R15 (MSP430 EABI, SLAA534, "Helper
 * functions"). For LLVM only: GCC has them in libgcc. Each notes its frame in .stack_sizes, as LLVM does for C. */
#ifdef __clang__

        .macro begin name
        .section .text.\name, "ax", @progbits
        .global \name
        .type \name, @function
\name:
        .endm

        .macro end name, frame_bytes
        .size \name, . - \name
        .section .stack_sizes, "o", @progbits, .text.\name
        .word   \name
        .uleb128 \frame_bytes
        .endm

        /* R12:R13 shifted by R14. */
        begin __mspabi_slll
        tst     r14
        jz      2f
1:      add     r12, r12
        addc    r13, r13
        sub     #1, r14
        jnz     1b
2:      ret
        end __mspabi_slll, 0

        begin __mspabi_srll
        tst     r14
        jz      2f
1:      clrc
        rrc     r13
        rrc     r12
        sub     #1, r14
        jnz     1b
2:      ret
        end __mspabi_srll, 0

        begin __mspabi_sral
        tst     r14
        jz      2f
1:      rra     r13
        rrc     r12
        sub     #1, r14
        jnz     1b
2:      ret
        end __mspabi_sral, 0

        /* Both operands go to the stack, the worker replaces them by quotient (0) and remainder (8). */
        .macro division name, worker, offset
        begin \name
        push    r15
        push    r14
        push    r13
        push    r12
        push    r11
        push    r10
        push    r9
        push    r8
        mov     r1, r12
        call    #\worker
        mov     \offset+0(r1), r12
        mov     \offset+2(r1), r13
        mov     \offset+4(r1), r14
        mov     \offset+6(r1), r15
        add     #16, r1
        ret
        end \name, 16
        .endm

        division __mspabi_divull, fm_divide_unsigned_64, 0
        division __mspabi_remull, fm_divide_unsigned_64, 8
        division __mspabi_divlli, fm_divide_signed_64, 0
        division __mspabi_remlli, fm_divide_signed_64, 8

#endif
