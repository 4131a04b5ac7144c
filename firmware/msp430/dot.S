/* Dot products on the hardware multiplier MPY32, which adds up by itself (SLAU367, chapter "32-bit hardware
 * multiplier", MACS mode): two moves from autoincremented pointers per product, eight products a turn. A byte written
 * to an operand register is sign-extended there; a byte that meets a word is extended here first, in R11.
 *
 * fm_dot_<x>_<w>(x [r12], w [r13], count [r14]), fm_dot_strided_<x>_<w>(the same, stride [r15]) -> int32_t [r12:r13].
 * fm_dot_block_<x>_s8(x [r12], row [r13], blocks [r14], not 0) -> int32_t [r12:r13].
 * The compiler of the net has proved that no sum overflows 32 bits. R11 to R15 belong to the callee (MSP430 EABI,
 * SLAA534). */

        .file "dot.S"

#ifdef __MSP430X_LARGE__
#define RETURN reta
#else
#define RETURN ret
#endif

        /* MOV from a pointer to an operand register, spelled as numbers because LLVM's assembler does not know the pair
         * of modes: 4nXd with n the pointer's register, X = B (@Rn+) or A (@Rn), 4 more for a byte, and d = 2
         * (absolute). */
        .macro feed opcode, register
        .word   \opcode
        .word   \register
        .endm

        .macro begin name
        .section .text.\name, "ax", @progbits
        .global \name
        .type \name, @function
\name:
        mov     #0, &RESLO
        mov     #0, &RESHI
        .endm

        /* The sum's words may be read once the last product is done, three cycles after OP2 was written ("Result
         * availability" in the same chapter): the loops' last instructions take as long. */
        .macro end name
        mov     &RESLO, r12
        mov     &RESHI, r13
        RETURN
        .size \name, . - \name
        .section .stack_sizes, "o", @progbits, .text.\name
        .word   \name
        .uleb128 0
        .endm

        .macro product_s8_s8
        feed    0x4CF2, MACS            /* mov.b @r12+, &MACS */
        feed    0x4DF2, OP2             /* mov.b @r13+, &OP2 */
        .endm

        .macro product_s16_s16
        feed    0x4CB2, MACS            /* mov @r12+, &MACS */
        feed    0x4DB2, OP2             /* mov @r13+, &OP2 */
        .endm

        .macro product_s16_s8
        mov.b   @r13+, r11
        sxt     r11
        feed    0x4CB2, MACS            /* mov @r12+, &MACS */
        mov     r11, &OP2
        .endm

        .macro product_s8_s16
        mov.b   @r12+, r11
        sxt     r11
        mov     r11, &MACS
        feed    0x4DB2, OP2             /* mov @r13+, &OP2 */
        .endm

        .macro dot types
        begin fm_dot_\types
        mov     r14, r15
        and     #7, r15
        jz      2f
1:      product_\types
        sub     #1, r15
        jnz     1b
2:      clrc
        rrc     r14
        rra     r14
        rra     r14
        jz      4f
3:      product_\types
        product_\types
        product_\types
        product_\types
        product_\types
        product_\types
        product_\types
        product_\types
        sub     #1, r14
        jnz     3b
4:
        end fm_dot_\types
        .endm

        dot s8_s8
        dot s16_s16
        dot s16_s8
        dot s8_s16

        /* A word pointer advances by the stride twice: it counts elements. */
        begin fm_dot_strided_s8_s8
        tst     r14
        jz      2f
1:      feed    0x4CE2, MACS            /* mov.b @r12, &MACS */
        add     r15, r12
        feed    0x4DE2, OP2             /* mov.b @r13, &OP2 */
        add     r15, r13
        sub     #1, r14
        jnz     1b
2:
        end fm_dot_strided_s8_s8

        begin fm_dot_strided_s16_s16
        add     r15, r15
        tst     r14
        jz      2f
1:      feed    0x4CA2, MACS            /* mov @r12, &MACS */
        add     r15, r12
        feed    0x4DA2, OP2             /* mov @r13, &OP2 */
        add     r15, r13
        sub     #1, r14
        jnz     1b
2:
        end fm_dot_strided_s16_s16

        begin fm_dot_strided_s16_s8
        tst     r14
        jz      2f
1:      mov.b   @r13, r11
        add     r15, r13
        sxt     r11
        feed    0x4CA2, MACS            /* mov @r12, &MACS */
        add     r15, r12
        add     r15, r12
        mov     r11, &OP2
        sub     #1, r14
        jnz     1b
2:
        end fm_dot_strided_s16_s8

        begin fm_dot_strided_s8_s16
        tst     r14
        jz      2f
1:      mov.b   @r12, r11
        add     r15, r12
        sxt     r11
        mov     r11, &MACS
        feed    0x4DA2, OP2             /* mov @r13, &OP2 */
        add     r15, r13
        add     r15, r13
        sub     #1, r14
        jnz     1b
2:
        end fm_dot_strided_s8_s16

        /* R15 holds the bits of the blocks ahead, and a one above them: that alone says that they are used up. `skip`
         * is the bytes of four elements of x. */
        .macro dot_block types, skip
        begin fm_dot_block_\types
1:      mov.b   @r13+, r15
        bis     #0x100, r15
2:      rra     r15
        jc      3f
        add     #\skip, r12
        sub     #1, r14
        jz      5f
        cmp     #1, r15
        jne     2b
        jmp     1b
3:      product_\types
        product_\types
        product_\types
        product_\types
        sub     #1, r14
        jz      5f
        cmp     #1, r15
        jne     2b
        jmp     1b
5:
        end fm_dot_block_\types
        .endm

        dot_block s8_s8, 4
        dot_block s16_s8, 8
