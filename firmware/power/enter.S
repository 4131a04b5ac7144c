/* Switching to the product's stack and back, and its registers: see power.h. */
#if defined(__x86_64__)

    .text
    .globl fm_power_enter
    .hidden fm_power_enter
    .type fm_power_enter, @function
fm_power_enter:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdx)
    movq %rsi, %rsp
    pushq %rdx
    pushq %rdx
    xorl %ebp, %ebp
    xorl %ebx, %ebx
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    callq *%rdi
    popq %rdx
    movq (%rdx), %rdi
    .size fm_power_enter, . - fm_power_enter

    .globl fm_power_leave
    .hidden fm_power_leave
    .type fm_power_leave, @function
fm_power_leave:
    movq %rdi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size fm_power_leave, . - fm_power_leave

    .globl fm_power_registers
    .hidden fm_power_registers
    .type fm_power_registers, @function
fm_power_registers:
    movq %rsp, 0(%rdi)
    movq %rbp, 8(%rdi)
    movq %rbx, 16(%rdi)
    movq %r12, 24(%rdi)
    movq %r13, 32(%rdi)
    movq %r14, 40(%rdi)
    movq %r15, 48(%rdi)
    ret
    .size fm_power_registers, . - fm_power_registers

#elif defined(__aarch64__)

    .text
    .globl fm_power_enter
    .hidden fm_power_enter
    .type fm_power_enter, %function
fm_power_enter:
    stp x29, x30, [sp, #-160]!
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x2]
    mov sp, x1
    str x2, [sp, #-16]!
    mov x19, xzr
    mov x20, xzr
    mov x21, xzr
    mov x22, xzr
    mov x23, xzr
    mov x24, xzr
    mov x25, xzr
    mov x26, xzr
    mov x27, xzr
    mov x28, xzr
    mov x29, xzr
    fmov d8, xzr
    fmov d9, xzr
    fmov d10, xzr
    fmov d11, xzr
    fmov d12, xzr
    fmov d13, xzr
    fmov d14, xzr
    fmov d15, xzr
    blr x0
    ldr x2, [sp]
    ldr x0, [x2]
    .size fm_power_enter, . - fm_power_enter

    .globl fm_power_leave
    .hidden fm_power_leave
    .type fm_power_leave, %function
fm_power_leave:
    mov sp, x0
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    ldp x29, x30, [sp], #160
    ret
    .size fm_power_leave, . - fm_power_leave

    .globl fm_power_registers
    .hidden fm_power_registers
    .type fm_power_registers, %function
fm_power_registers:
    mov x9, sp
    str x9, [x0]
    stp x19, x20, [x0, #8]
    stp x21, x22, [x0, #24]
    stp x23, x24, [x0, #40]
    stp x25, x26, [x0, #56]
    stp x27, x28, [x0, #72]
    str x29, [x0, #88]
    stp d8, d9, [x0, #96]
    stp d10, d11, [x0, #112]
    stp d12, d13, [x0, #128]
    stp d14, d15, [x0, #144]
    ret
    .size fm_power_registers, . - fm_power_registers

#else
#error "the power-failure harness on the host knows x86-64 and AArch64"
#endif

#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
