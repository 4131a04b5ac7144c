#include "api.h"

#include "devices.h"
#include "memory.h"

#define PAGE_BYTES 1024u

uint64_t m430_memory_bytes(uint32_t flat)
{
    return flat ? FLAT_BYTES : NV_END;
}

uint64_t m430_core_bytes(uint32_t flat)
{
    return sizeof(struct core) + m430_memory_bytes(flat);
}

uint64_t m430_state_offset(void)
{
    const struct core *none = 0;
    return (uint64_t)((const uint8_t *)&none->s - (const uint8_t *)none);
}

uint64_t m430_op_bytes(void)
{
    return sizeof(struct op);
}

void m430_init(struct core *core, uint32_t flat)
{
    core->memory = (uint8_t *)(core + 1);
    core->memory_bytes = (uint32_t)m430_memory_bytes(flat);
    core->ram_start = flat ? 0u : RAM_START;
    core->ram_bytes = flat ? FLAT_BYTES : RAM_END - RAM_START;
    core->nv_bytes = flat ? 0u : NV_END - NV_START;
    core->plain_nv_bytes = core->nv_bytes;
    core->s.event_at = NEVER;
    core->s.clock.watchdog_at = NEVER;
    core->s.clock.mclk_hz = 8000000u;
}

void m430_forget(struct core *core, uint32_t address, uint32_t bytes)
{
    for (uint32_t line = address >> 3; line <= (address + bytes - 1u) >> 3; line++) {
        if (core->code[line] != 0u) {
            for (uint32_t n = 0; n < 8u; n += 2u) {
                forget_code(core, (line << 3) + n);
            }
        }
    }
}

/* Volatile, or compilers would call memset, and this library needs no other. */
static void fill(volatile uint8_t *to, uint64_t bytes, uint32_t value)
{
    for (uint64_t n = 0; n < bytes; n++) {
        to[n] = (uint8_t)value;
    }
}

void m430_reset(struct core *core, uint32_t sram)
{
    fill((uint8_t *)&core->s, sizeof core->s, 0u);
    fill(core->memory, PERIPHERAL_END, 0u);
    fill(core->memory + RAM_START, RAM_END - RAM_START, sram);
    fill(core->memory + TINY_RAM_START, TINY_RAM_END - TINY_RAM_START, sram);
    for (unsigned n = 0; n < 4u; n++) {
        core->s.cache[n] = UINT32_MAX;
    }
    m430_forget(core, RAM_START, RAM_END - RAM_START);
    devices_reset(core);
    core->s.r[PC] = get_word(core->memory + VECTOR_RESET) & ~1u;
}

static int differ(const uint8_t *restrict a, const uint8_t *restrict b)
{
    uint8_t difference = 0;
    for (uint32_t n = 0; n < PAGE_BYTES; n++) {
        difference = (uint8_t)(difference | (a[n] ^ b[n]));
    }
    return difference != 0u;
}

void m430_forget_changes(struct core *core, const uint8_t *memory)
{
    for (uint32_t page = 0; page < core->memory_bytes; page += PAGE_BYTES) {
        if (differ(core->memory + page, memory + page)) {
            m430_forget(core, page, PAGE_BYTES);
        }
    }
}

void m430_set_break(struct core *core, uint32_t address, uint32_t flag, uint32_t on)
{
    if (address >= core->memory_bytes) {
        return;
    }
    const uint32_t n = address >> 1;
    core->breaks[n] = (uint8_t)(on ? core->breaks[n] | flag : core->breaks[n] & ~flag);
    core->ops[n].run = 0;
}
