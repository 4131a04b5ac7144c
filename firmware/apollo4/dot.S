/* Dot products with the DSP extension: two 16-bit products and their sum in one SMLAD (Armv7-M ARM, DDI 0403). Loads
 * need not be aligned: normal memory allows it while CCR.UNALIGN_TRP is clear, as it is after reset.
 *
 * fm_dot_<x>_<w>(x [r0], w [r1], count [r2]), fm_dot_block_<x>_s8(x [r0], row [r1], blocks [r2], not 0) -> int32_t
 * [r0]. The compiler of the net has proved that no sum overflows 32 bits, whatever the order of its terms. */

        .file "dot.S"
        .syntax unified
        .thumb

        /* r3 += products of four elements; r4 to r7 are spare. */
        .macro four_s8_s8
        ldr     r4, [r0], #4
        ldr     r5, [r1], #4
        sxtb16  r6, r4                  /* elements 0 and 2 */
        sxtb16  r7, r5
        sxtb16  r4, r4, ror #8          /* elements 1 and 3 */
        sxtb16  r5, r5, ror #8
        smlad   r3, r6, r7, r3
        smlad   r3, r4, r5, r3
        .endm

        .macro four_s16_s16
        ldr     r4, [r0], #4
        ldr     r5, [r1], #4
        ldr     r6, [r0], #4
        ldr     r7, [r1], #4
        smlad   r3, r4, r5, r3
        smlad   r3, r6, r7, r3
        .endm

        /* The bytes are spread to pairs of neighbours, as the words lie. */
        .macro four_mixed bytes, words
        ldr     r4, [\bytes], #4
        ldr     r5, [\words], #4
        ldr     r6, [\words], #4
        sxtb16  r7, r4                  /* elements 0 and 2 */
        sxtb16  r4, r4, ror #8          /* elements 1 and 3 */
        pkhbt   r12, r7, r4, lsl #16    /* elements 0 and 1 */
        pkhtb   r4, r4, r7, asr #16     /* elements 2 and 3 */
        smlad   r3, r12, r5, r3
        smlad   r3, r4, r6, r3
        .endm

        .macro four_s16_s8
        four_mixed r1, r0
        .endm

        .macro four_s8_s16
        four_mixed r0, r1
        .endm

        .macro one_s8_s8
        ldrsb   r4, [r0], #1
        ldrsb   r5, [r1], #1
        .endm

        .macro one_s16_s16
        ldrsh   r4, [r0], #2
        ldrsh   r5, [r1], #2
        .endm

        .macro one_s16_s8
        ldrsh   r4, [r0], #2
        ldrsb   r5, [r1], #1
        .endm

        .macro one_s8_s16
        ldrsb   r4, [r0], #1
        ldrsh   r5, [r1], #2
        .endm

        .macro dot types
        .section .text.fm_dot_\types, "ax", %progbits
        .global fm_dot_\types
        .type fm_dot_\types, %function
        .thumb_func
fm_dot_\types:
        push    {r4-r7}
        movs    r3, #0
        subs    r2, #16
        blo     2f
1:      four_\types
        four_\types
        four_\types
        four_\types
        subs    r2, #16
        bhs     1b
2:      adds    r2, #12                 /* what is left, less four */
        bmi     4f
3:      four_\types
        subs    r2, #4
        bhs     3b
4:      adds    r2, #4
        beq     6f
5:      one_\types
        mla     r3, r4, r5, r3
        subs    r2, #1
        bne     5b
6:      mov     r0, r3
        pop     {r4-r7}
        bx      lr
        .size fm_dot_\types, . - fm_dot_\types
        .section .stack_sizes, "o", %progbits, .text.fm_dot_\types
        .word   fm_dot_\types
        .uleb128 16
        .endm

        dot s8_s8
        dot s16_s16
        dot s16_s8
        dot s8_s16

        /* r8 holds the bits of the blocks ahead, and a one above them: that alone says that they are used up. `skip` is
         * the bytes of four elements of x. */
        .macro dot_block types, skip
        .section .text.fm_dot_block_\types, "ax", %progbits
        .global fm_dot_block_\types
        .type fm_dot_block_\types, %function
        .thumb_func
fm_dot_block_\types:
        push    {r4-r8}
        movs    r3, #0
1:      ldrb    r8, [r1], #1
        orr     r8, r8, #0x100
2:      lsrs    r8, r8, #1
        bcs     3f
        adds    r0, #\skip
        subs    r2, #1
        beq     4f
        cmp     r8, #1
        bne     2b
        b       1b
3:      four_\types
        subs    r2, #1
        beq     4f
        cmp     r8, #1
        bne     2b
        b       1b
4:      mov     r0, r3
        pop     {r4-r8}
        bx      lr
        .size fm_dot_block_\types, . - fm_dot_block_\types
        .section .stack_sizes, "o", %progbits, .text.fm_dot_block_\types
        .word   fm_dot_block_\types
        .uleb128 20
        .endm

        dot_block s8_s8, 4
        dot_block s16_s8, 8
