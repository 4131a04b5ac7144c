/* eUSCI_A0 in UART mode (chapter "eUSCI - UART mode"). What is sent takes its time at the programmed rate: one
 * character leaves while the next waits in TXBUF. What is received is there as soon as the one before was read. */
#include "devices.h"

enum { CTLW0 = 0x00, BRW = 0x06, MCTLW = 0x08, STATW = 0x0A, RXBUF = 0x0C, TXBUF = 0x0E };
enum { IE = 0x1A, IFG = 0x1C, IV = 0x1E };

#define UCSWRST 0x0001u
#define UCRXIFG 0x01u
#define UCTXIFG 0x02u
#define UCBUSY 0x01u
#define UCOS16 0x0001u

static uint32_t setting(const struct core *core, uint32_t offset)
{
    return get_register(core, UART_START + offset);
}

static unsigned ones(uint32_t value)
{
    unsigned count = 0;
    for (; value != 0u; value &= value - 1u) {
        count++;
    }
    return count;
}

/* MCLK cycles that one character takes. Each bit of UCBRSx lengthens one bit in eight by a clock. */
static uint64_t character_cycles(const struct core *core)
{
    const uint32_t control = setting(core, CTLW0);
    const uint32_t modulation = setting(core, MCTLW);
    const uint32_t divider = setting(core, BRW);
    const uint32_t source = control >> 6 & 3u;
    const uint32_t hz = source == 1u ? core->s.clock.aclk_hz : core->s.clock.smclk_hz;
    const uint32_t whole = modulation & UCOS16 ? 16u * divider + (modulation >> 4 & 0xFu) : divider;
    const uint32_t eighths = 8u * (whole != 0u ? whole : 1u) + ones(modulation >> 8);
    const uint32_t data_bits = control & 0x1000u ? 7u : 8u;
    const uint32_t bits = 1u + data_bits + (control & 0x8000u ? 1u : 0u) + (control & 0x0800u ? 2u : 1u);
    return (uint64_t)bits * eighths * core->s.clock.mclk_hz / (8u * (uint64_t)hz);
}

static void receive(struct core *core)
{
    struct uart *uart = &core->s.uart;
    const int ready = (uart->flags & UCRXIFG) == 0u && (setting(core, CTLW0) & UCSWRST) == 0u;
    if (ready && uart->rx_position < core->input_bytes) {
        uart->received = core->input[uart->rx_position++];
        uart->flags |= UCRXIFG;
    }
}

int uart_has_input(const struct core *core)
{
    return (core->s.uart.flags & UCRXIFG) != 0u || core->s.uart.rx_position < core->input_bytes;
}

static uint32_t flags_at(struct core *core, uint64_t time)
{
    receive(core);
    return core->s.uart.flags | (time >= core->s.uart.buffer_free_at ? UCTXIFG : 0u);
}

uint32_t uart_read(struct core *core, uint32_t address, uint64_t time)
{
    struct uart *uart = &core->s.uart;
    uint32_t pending;
    switch (address - UART_START) {
    case STATW:
        return time < uart->idle_at ? UCBUSY : 0u;
    case RXBUF:
        receive(core);
        uart->flags &= ~UCRXIFG;
        return uart->received;
    case IE:
        return uart->enabled;
    case IFG:
        return flags_at(core, time);
    case IV:
        pending = flags_at(core, time) & uart->enabled;
        if (pending & UCRXIFG) {
            uart->flags &= ~UCRXIFG;
            return 2u;
        }
        return pending & UCTXIFG ? 4u : 0u;
    default:
        return get_register(core, address);
    }
}

static void reset(struct uart *uart, uint64_t time)
{
    uart->buffer_free_at = time;
    uart->idle_at = time;
    uart->flags = 0u;
    uart->enabled = 0u;
}

static int send(struct core *core, uint64_t time, uint32_t value)
{
    struct uart *uart = &core->s.uart;
    if (setting(core, CTLW0) & UCSWRST) {
        return raise_fault(core, FAULT_UART_RESET, UART_START + TXBUF, 2u, 0u);
    }
    const uint64_t begins = uart->idle_at > time ? uart->idle_at : time;
    uart->buffer_free_at = begins;
    uart->idle_at = begins + character_cycles(core);
    core->output[core->s.output_used++] = (uint8_t)value;
    if (core->s.output_used + 2u > core->output_capacity) {
        core->s.attention = 1u;
    }
    return 0;
}

int uart_write(struct core *core, uint32_t address, uint64_t time, uint32_t value)
{
    struct uart *uart = &core->s.uart;
    switch (address - UART_START) {
    case CTLW0:
        set_register(core, address, value);
        if (value & UCSWRST) {
            reset(uart, time);
        }
        break;
    case TXBUF:
        set_register(core, address, value & 0xFFu);
        return send(core, time, value);
    case IE:
        uart->enabled = value & 0xFu;
        break;
    case IFG:
        uart->flags = value & UCRXIFG; /* UCTXIFG follows from the time */
        break;
    case RXBUF:
    case IV:
        break;
    default:
        set_register(core, address, value);
        break;
    }
    core->s.attention = 1u;
    return 0;
}

int uart_interrupts(struct core *core, uint64_t time)
{
    return (setting(core, CTLW0) & UCSWRST) == 0u && (flags_at(core, time) & core->s.uart.enabled) != 0u;
}

/* When TXBUF is free again, for those who asked for an interrupt. */
uint64_t uart_next(const struct core *core)
{
    const struct uart *uart = &core->s.uart;
    return (uart->enabled & UCTXIFG) != 0u && core->s.cycles < uart->buffer_free_at ? uart->buffer_free_at : NEVER;
}

int uart_can_wake(const struct core *core)
{
    return (setting(core, CTLW0) & UCSWRST) == 0u && (core->s.uart.enabled & UCRXIFG) != 0u;
}
