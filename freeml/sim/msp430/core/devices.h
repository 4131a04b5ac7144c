/* The peripherals. Times are cycles of MCLK since the reset. Functions that return int return 0 unless there was a
 * fault. */
#ifndef M430_DEVICES_H
#define M430_DEVICES_H

#include "machine.h"

#define NEVER UINT64_MAX

/* Where registers are: data sheet SLASE54, "Peripheral file map". */
#define SFRIE1 0x0100u
#define SFRIFG1 0x0102u
#define PMMCTL0 0x0120u
#define FRCTL0 0x0140u
#define WDTCTL 0x015Cu
#define CSCTL0 0x0160u
#define CSCTL1 0x0162u
#define CSCTL2 0x0164u
#define CSCTL3 0x0166u
#define CSCTL6 0x016Cu
#define TIMER_START 0x0340u
#define TIMER_END 0x0370u
#define MPY_START 0x04C0u
#define MPY_END 0x04EEu
#define DMA_START 0x0500u
#define DMA_END 0x0570u
#define UART_START 0x05C0u
#define UART_END 0x05E0u
#define LEA_START 0x0A80u
#define LEA_END 0x0B00u

/* Interrupt vectors: data sheet SLASE54, "Interrupt vector table and signatures". */
#define VECTOR_WATCHDOG 0xFFF2u
#define VECTOR_UART 0xFFF0u
#define VECTOR_TIMER_CCR0 0xFFEAu
#define VECTOR_TIMER 0xFFE8u
#define VECTOR_DMA 0xFFE4u
#define VECTOR_RESET 0xFFFEu

ALWAYS_INLINE uint32_t get_register(const struct core *core, uint32_t address)
{
    return (uint32_t)core->memory[address] | (uint32_t)core->memory[address + 1u] << 8;
}

ALWAYS_INLINE void set_register(struct core *core, uint32_t address, uint32_t value)
{
    core->memory[address] = (uint8_t)value;
    core->memory[address + 1u] = (uint8_t)(value >> 8);
}

int mpy_read(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t *value);
int mpy_write(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value);

int dma_read(struct core *core, uint32_t address, uint32_t *value);
int dma_write(struct core *core, uint32_t address, uint32_t value);
int dma_wants_bus(const struct core *core);
int dma_transfer(struct core *core);
uint64_t dma_next(const struct core *core);
int dma_interrupts(const struct core *core);

uint32_t timer_read(struct core *core, uint32_t address, uint64_t time);
void timer_write(struct core *core, uint32_t address, uint64_t time, uint32_t value);
void timer_advance(struct core *core, uint64_t time);
uint64_t timer_next(const struct core *core);
uint32_t timer_interrupts(const struct core *core); /* bit 0: CCR0's vector, bit 1: the other */
void timer_accept_ccr0(struct core *core);

uint32_t uart_read(struct core *core, uint32_t address, uint64_t time);
int uart_write(struct core *core, uint32_t address, uint64_t time, uint32_t value);
int uart_interrupts(struct core *core, uint64_t time);
uint64_t uart_next(const struct core *core);
int uart_can_wake(const struct core *core);
int uart_has_input(const struct core *core);

int clock_write(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value);
int clock_check(struct core *core);
void clock_reset(struct core *core);
int watchdog_write(struct core *core, uint32_t bytes, uint64_t time, uint32_t value);
int watchdog_expire(struct core *core);
int watchdog_interrupts(const struct core *core);

void devices_reset(struct core *core);

/* Accesses to main FRAM while it is watched. */
void watch_load(struct core *core, uint32_t address, uint32_t bytes);
void watch_store(struct core *core, uint32_t address, uint32_t bytes);

/* The next cycle at which a device does something by itself that the CPU could notice. */
void plan_events(struct core *core);

#endif
