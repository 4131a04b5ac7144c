/* Reset entry, trap handler and vectors. The only assembly that every MSP430 firmware carries.
 * Written with base instructions, so that LLVM and GNU as both take it; CALL becomes CALLA in GCC's large model. */

#ifdef __MSP430X_LARGE__
#define CALL calla
#else
#define CALL call
#endif

        .file "startup.S"

        .section .text.fm_reset, "ax", @progbits
        .global _start
        .type _start, @function
_start:
        mov     #__stack, r1
        CALL    #fm_board_start         /* does not return */
        .size _start, . - _start

        /* Nothing enables an interrupt: whoever comes here is a fault. Note it and stop. */
        .section .text.fm_trap, "ax", @progbits
        .type fm_trap, @function
fm_trap:
        mov     #0x5452, &fm_board_status       /* FM_STATUS_TRAP */
        CALL    #fm_board_halt
        .size fm_trap, . - fm_trap

        /* 0xFFB4 (LEA) to 0xFFFE (reset), 38 words. The signatures below are left as they are: a wrong word there
         * locks the debug port for good. */
        .section .vectors, "a", @progbits
        .rept 37
        .word   fm_trap
        .endr
        .word   _start
