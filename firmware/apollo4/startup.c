/* Vector table and reset entry of the Cortex-M4. */
#include "apollo4.h"
#include "fm_board.h"

/* The end of the stack's memory, set by the linker script. */
extern uint32_t __stack[];

void _start(void) __attribute__((noreturn));
void fm_trap(void) __attribute__((noreturn));

typedef union {
    const uint32_t *stack;
    void (*handler)(void);
} fm_vector;

/* The sixteen entries that the architecture fixes. No interrupt of the chip is ever enabled. */
extern const fm_vector fm_vectors[16];
const fm_vector fm_vectors[16] __attribute__((section(".vectors"), used, aligned(128))) = {
    {.stack = __stack},   /* initial stack pointer */
    {.handler = _start},  /* reset */
    {.handler = fm_trap}, /* NMI */
    {.handler = fm_trap}, /* hard fault */
    {.handler = fm_trap}, /* memory management fault */
    {.handler = fm_trap}, /* bus fault */
    {.handler = fm_trap}, /* usage fault */
    {.handler = fm_trap}, /* reserved */
    {.handler = fm_trap}, /* reserved */
    {.handler = fm_trap}, /* reserved */
    {.handler = fm_trap}, /* reserved */
    {.handler = fm_trap}, /* supervisor call */
    {.handler = fm_trap}, /* debug monitor */
    {.handler = fm_trap}, /* reserved */
    {.handler = fm_trap}, /* pending supervisor call */
    {.handler = fm_trap}, /* system tick */
};

void _start(void)
{
    /* The compiler may use floating-point registers from here on, and the boot loader left its own vectors active. */
    SCB_CPACR |= CPACR_FULL_FPU;
    __asm__ volatile("dsb\n\tisb" : : : "memory");
    SCB_VTOR = (uint32_t)(uintptr_t)fm_vectors;
    fm_board_start();
}

void fm_trap(void)
{
    fm_board_report(FM_STATUS_TRAP);
    fm_board_halt();
}
