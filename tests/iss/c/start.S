/* Sets the stack up, calls main, and stops at `done`, where a simulator finds the code that ends its run. */
        .section .start, "ax"
        .global _start
        .global done
        /* Referred to by whatever has data: they lie where they are used already. */
        .global __crt0_init_bss
        .global __crt0_movedata
        .set    __crt0_init_bss, 0
        .set    __crt0_movedata, 0
_start:
        mov.w   #0xfe00, r1
#ifdef __MSP430X_LARGE__
        calla   #main
#else
        call    #main
#endif
done:
        .space  64
