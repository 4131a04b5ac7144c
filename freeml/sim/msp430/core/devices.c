/* What lies outside SRAM and main FRAM, and who owns it. */
#include "devices.h"

#include "memory.h"

/* Registers without behaviour here: they keep what is written. First and last address (data sheet SLASE54). */
static const struct {
    uint16_t first;
    uint16_t last;
} stored[] = {
    {0x000A, 0x001F}, /* tiny RAM */
    {0x0100, 0x0105}, /* SFR */
    {0x0120, 0x0121}, /* PMM: PMMCTL0 */
    {0x012A, 0x012B}, /* PMM: PMMIFG */
    {0x0130, 0x0131}, /* PMM: PM5CTL0 */
    {0x0144, 0x0147}, /* FRAM controller: GCCTL0, GCCTL1 */
    {0x0158, 0x0159}, /* RAM controller */
    {0x0180, 0x019F}, /* SYS */
    {0x01B0, 0x01B1}, /* REF */
    {0x0200, 0x021F}, /* ports 1 and 2 */
    {0x0220, 0x023F}, /* ports 3 and 4 */
    {0x0240, 0x025F}, /* ports 5 and 6 */
    {0x0260, 0x027F}, /* ports 7 and 8 */
    {0x0320, 0x0337}, /* port J */
};

static int is_stored(uint32_t address)
{
    for (unsigned n = 0; n < sizeof stored / sizeof stored[0]; n++) {
        if (address >= stored[n].first && address <= stored[n].last) {
            return 1;
        }
    }
    return 0;
}

static int is_timer(uint32_t address)
{
    const uint32_t offset = (address & ~1u) - TIMER_START;
    return offset <= 0x06u || (offset >= 0x10u && offset <= 0x16u) || offset == 0x20u || offset == 0x2Eu;
}

static int is_dma(uint32_t address)
{
    const uint32_t offset = (address & ~1u) - DMA_START;
    return offset <= 0x08u || offset == 0x0Eu || (offset >= 0x10u && offset < 0x70u && (offset & 0xFu) <= 0xAu);
}

/* Word registers of which one byte is read or written. */
static uint32_t merged(uint32_t old, uint32_t address, uint32_t bytes, uint32_t value)
{
    if (bytes == 2u) {
        return value;
    }
    return address & 1u ? (old & 0x00FFu) | value << 8 : (old & 0xFF00u) | value;
}

static int read_peripheral(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t *value)
{
    const uint32_t even = address & ~1u;
    uint32_t word = 0;
    if (is_stored(address) || (even >= CSCTL0 && even <= CSCTL6) || even == WDTCTL || even == FRCTL0) {
        word = get_register(core, even);
    } else if (address >= UART_START && address < UART_END) {
        word = uart_read(core, even, time);
    } else if (address >= TIMER_START && address < TIMER_END && is_timer(address)) {
        word = timer_read(core, even, time);
    } else if (address >= DMA_START && address < DMA_END && is_dma(address)) {
        if (dma_read(core, even, &word)) {
            return 1;
        }
    } else if (address >= LEA_START && address < LEA_END) {
        return raise_fault(core, FAULT_LEA, address, bytes, 0u);
    } else {
        return raise_fault(core, FAULT_READ_UNMAPPED, address, bytes, 0u);
    }
    /* Of WDTCTL, either byte reads as the lower one. */
    *value = bytes == 2u ? word : (address & 1u) != 0u && even != WDTCTL ? word >> 8 : word & 0xFFu;
    return 0;
}

static int write_peripheral(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value)
{
    const uint32_t even = address & ~1u;
    if (even == WDTCTL) {
        return watchdog_write(core, bytes, time, value);
    }
    if (even == FRCTL0 || even == PMMCTL0 || (even >= CSCTL0 && even <= CSCTL6)) {
        return clock_write(core, address, bytes, time, value);
    }
    if (is_stored(address)) {
        set_register(core, even, merged(get_register(core, even), address, bytes, value));
        return 0;
    }
    if (address >= UART_START && address < UART_END) {
        const uint32_t old = bytes == 2u ? 0u : uart_read(core, even, time);
        return uart_write(core, even, time, merged(old, address, bytes, value));
    }
    if (address >= TIMER_START && address < TIMER_END && is_timer(address)) {
        timer_write(core, even, time, bytes == 2u ? value : merged(timer_read(core, even, time), address, 1u, value));
        return 0;
    }
    if (address >= DMA_START && address < DMA_END && is_dma(address)) {
        return bytes == 2u ? dma_write(core, even, value) : raise_fault(core, FAULT_ACCESS_WIDTH, address, bytes, 0u);
    }
    if (address >= LEA_START && address < LEA_END) {
        return raise_fault(core, FAULT_LEA, address, bytes, 0u);
    }
    return raise_fault(core, FAULT_WRITE_UNMAPPED, address, bytes, 0u);
}

/* The low-energy accelerator's registers belong here: a model would get them in place of the fault above. */

int load_elsewhere(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t *value)
{
    if (bytes == 2u && (address & 1u) != 0u) {
        return raise_fault(core, FAULT_READ_ODD, address, bytes, 0u);
    }
    if (address >= MPY_START && address < MPY_END) {
        return mpy_read(core, address, bytes, time, value);
    }
    if (address < PERIPHERAL_END) {
        return read_peripheral(core, address, bytes, time, value);
    }
    if (address - NV_START < core->nv_bytes) {
        watch_load(core, address, bytes);
        touch_line(core, address >> 3);
        *value = bytes == 1u ? core->memory[address] : get_word(core->memory + address);
        return 0;
    }
    if (address < INFO_START) {
        return raise_fault(core, FAULT_READ_BOOT, address, bytes, 0u);
    }
    if (address < TLV_START + 0x100u) {
        if (address < TLV_START) {
            touch_line(core, address >> 3);
        }
        *value = bytes == 1u ? core->memory[address] : get_word(core->memory + address);
        return 0;
    }
    return raise_fault(core, FAULT_READ_UNMAPPED, address, bytes, 0u);
}

int store_elsewhere(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value)
{
    if (bytes == 2u && (address & 1u) != 0u) {
        return raise_fault(core, FAULT_WRITE_ODD, address, bytes, 0u);
    }
    if (address >= MPY_START && address < MPY_END) {
        return mpy_write(core, address, bytes, time, value);
    }
    if (address < PERIPHERAL_END) {
        return write_peripheral(core, address, bytes, time, value);
    }
    const int is_main = address - NV_START < core->nv_bytes;
    if (is_main) {
        watch_store(core, address, bytes);
    }
    if (is_main || (address >= INFO_START && address < TLV_START)) {
        if (core->code[address >> 3] != 0u) {
            forget_code(core, address);
        }
        core->s.nv_writes++;
        core->s.cycles += core->s.waits;
        if (core->log != 0) {
            log_store(core, address, bytes, value);
        }
        core->memory[address] = (uint8_t)value;
        if (bytes == 2u) {
            core->memory[address + 1u] = (uint8_t)(value >> 8);
        }
        return 0;
    }
    if (address < TLV_START + 0x100u) {
        return raise_fault(core, FAULT_WRITE_ROM, address, bytes, 0u);
    }
    return raise_fault(core, FAULT_WRITE_UNMAPPED, address, bytes, 0u);
}

int check_store(struct core *core, uint32_t address)
{
    if (address & 1u) {
        return raise_fault(core, FAULT_WRITE_ODD, address, 2u, 0u);
    }
    if (address - core->ram_start < core->ram_bytes || address - NV_START < core->nv_bytes ||
        address < PERIPHERAL_END || address - INFO_START < TLV_START - INFO_START) {
        return 0;
    }
    return raise_fault(core, address < TLV_START + 0x100u ? FAULT_WRITE_ROM : FAULT_WRITE_UNMAPPED, address, 2u, 0u);
}

/* Instructions decoded from words that change: one may begin up to three words before. */
void forget_code(struct core *core, uint32_t address)
{
    const uint32_t last = (address & ADDRESS_MASK) >> 1;
    const uint32_t first = last < 3u ? 0u : last - 3u;
    for (uint32_t n = first; n <= last; n++) {
        core->ops[n].run = 0;
    }
}

void log_store(struct core *core, uint32_t address, uint32_t bytes, uint32_t value)
{
    struct log_entry *entry = &core->log[core->s.log_used++];
    entry->cycle = core->s.cycles;
    entry->pc = core->pc;
    entry->address = address;
    entry->value = bytes == 1u ? value & 0xFFu : value & 0xFFFFu;
    entry->bytes = bytes;
    if (core->s.log_used + 64u > core->log_capacity) {
        core->s.attention = 1u;
    }
}

int raise_fault(struct core *core, enum fault kind, uint32_t address, uint32_t bytes, uint32_t detail)
{
    core->fault = kind;
    core->fault_address = address;
    core->fault_bytes = bytes;
    core->fault_detail = detail;
    return 1;
}

void plan_events(struct core *core)
{
    uint64_t next = core->s.clock.watchdog_at;
    const uint64_t others[] = {timer_next(core), uart_next(core), dma_next(core)};
    for (unsigned n = 0; n < 3u; n++) {
        next = others[n] < next ? others[n] : next;
    }
    core->s.event_at = next;
}

void devices_reset(struct core *core)
{
    set_register(core, SFRIFG1, 0x0082u);
    set_register(core, PMMCTL0, 0x9640u);
    set_register(core, 0x0130u, 0x0001u); /* PM5CTL0: pins locked */
    set_register(core, FRCTL0, 0x9600u);
    set_register(core, UART_START, 0x0001u); /* UCSWRST */
    clock_reset(core);
    plan_events(core);
}
