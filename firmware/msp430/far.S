/* Reading FRAM above 64 K with 20-bit addresses, for compilers that know 16-bit pointers only.
 *
 * On CPUX, "indirect register mode" and "indirect autoincrement mode" use all 20 bits of the source register, for plain
 * MSP430 instructions too (SLAU367, chapter "CPUX", "Addressing modes"), so one MOVA that loads the pointer is enough.
 * It is spelled as a number (MOVA @R1, R13) because LLVM's assembler does not know it. */

        .file "far.S"

#ifdef __MSP430X_LARGE__
#define RETURN reta
#else
#define RETURN ret
#endif

        /* void fm_far_copy(void *to [r12], uint16_t low [r13], uint16_t high [r14], uint16_t size [r15]) */
        .section .text.fm_far_copy, "ax", @progbits
        .global fm_far_copy
        .type fm_far_copy, @function
fm_far_copy:
        push    r14
        push    r13
        .word   0x010D                  /* mova @r1, r13 */
        add     #4, r1
        bit     #1, r13
        jnz     bytes
        bit     #1, r12
        jnz     bytes
        bit     #1, r15
        jnz     bytes
words:
        mov     @r13+, r14
        mov     r14, 0(r12)
        add     #2, r12
        sub     #2, r15
        jnz     words
        RETURN
bytes:
        mov.b   @r13+, r14
        mov.b   r14, 0(r12)
        add     #1, r12
        sub     #1, r15
        jnz     bytes
        RETURN
        .size fm_far_copy, . - fm_far_copy
        /* Its frame, noted as LLVM does for C. */
        .section .stack_sizes, "o", @progbits, .text.fm_far_copy
        .word   fm_far_copy
        .uleb128 4
