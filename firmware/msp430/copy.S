/* Copies of short runs: fm_copy_<x>(to [r12], from [r13], count [r14]) -> the place behind the last element [r12].
 * Bytes that lie evenly on both sides go by words. Uses R15 besides. */

        .file "copy.S"

#ifdef __MSP430X_LARGE__
#define RETURN reta
#else
#define RETURN ret
#endif

        /* LLVM's assembler does not know this pair of modes. */
        .macro move opcode
        .word   \opcode
        .word   0
        .endm

        .macro end name
        RETURN
        .size \name, . - \name
        .section .stack_sizes, "o", @progbits, .text.\name
        .word   \name
        .uleb128 0
        .endm

        .section .text.fm_copy_s8, "ax", @progbits
        .global fm_copy_s8
        .type fm_copy_s8, @function
fm_copy_s8:
        cmp     #4, r14
        jlo     2f                      /* words would not pay */
        mov     r12, r15
        bis     r13, r15
        bit     #1, r15
        jnz     3f
        mov     r14, r15
        and     #1, r14                 /* the odd byte is left for the end */
        clrc
        rrc     r15
1:      move    0x4DBC                  /* mov @r13+, 0(r12) */
        add     #2, r12
        sub     #1, r15
        jnz     1b
2:      tst     r14
        jz      4f
3:      move    0x4DFC                  /* mov.b @r13+, 0(r12) */
        add     #1, r12
        sub     #1, r14
        jnz     3b
4:
        end fm_copy_s8

        .section .text.fm_copy_s16, "ax", @progbits
        .global fm_copy_s16
        .type fm_copy_s16, @function
fm_copy_s16:
        tst     r14
        jz      2f
1:      move    0x4DBC                  /* mov @r13+, 0(r12) */
        add     #2, r12
        sub     #1, r14
        jnz     1b
2:
        end fm_copy_s16
