/* Code whose instructions were counted by hand: what each function executes stands beside it, IT included. */
        .syntax unified
        .thumb

        .macro function name
        .section .text.\name, "ax", %progbits
        .global \name
        .type \name, %function
        .thumb_func
\name:
        .endm

        .macro done name
        .size \name, . - \name
        .section .stack_sizes, "o", %progbits, .text.\name
        .word   \name
        .uleb128 0
        .endm

        /* 11 for r0 of 0 or 1, 9 for more. */
        function counted_blocks
        cmp     r0, #1
        ite     eq
        addeq   r1, r0, #0x12000        /* four bytes long */
        movne   r1, #6
        itttt   hi
        movhi   r1, #7
        addhi   r1, r1, #1
        addhi.w r0, r1, #2
        bxhi    lr                      /* taken for r0 > 1, so that what follows costs two more for the others */
        mov     r0, r1
        bx      lr
        done counted_blocks

        /* 3 r0 + 3 */
        function counted_loop
        movs    r1, #0
1:      adds    r1, r1, #3
        .inst.n 0x3801                  /* subs r0, #1, in the one of its two encodings that a test changes */
        bne     1b
        mov     r0, r1
        bx      lr
        done counted_loop
