/* Memory as the CPU sees it. The frequent cases are here, to be inlined into every instruction. */
#ifndef M430_MEMORY_H
#define M430_MEMORY_H

#include "machine.h"

/* Everything else than SRAM and main FRAM, and that too while it is watched; `time` is the cycle of the access. Not 0:
 * a fault. */
int load_elsewhere(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t *value);
int store_elsewhere(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value);

/* Whether a word can be stored, without storing it: for instructions that store several. Not 0: a fault. */
int check_store(struct core *core, uint32_t address);

void forget_code(struct core *core, uint32_t address);
void log_store(struct core *core, uint32_t address, uint32_t bytes, uint32_t value);

/* A read of FRAM (chapter "FRAM controller A", "Wait state and cache hit"): two sets of two lines of 64 bits; the line
 * used less recently is replaced; a hit costs nothing. */
ALWAYS_INLINE void touch_line(struct core *core, uint32_t line)
{
    uint32_t *set = &core->s.cache[(line & 1u) << 1];
    if (set[0] != line) {
        const uint32_t other = set[1];
        set[1] = set[0];
        set[0] = line;
        if (other != line) {
            core->s.nv_reads++;
            core->s.cycles += core->s.waits;
        }
    }
}

ALWAYS_INLINE uint32_t get_word(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

ALWAYS_INLINE void put_word(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

ALWAYS_INLINE int load_part(struct core *core, uint32_t address, unsigned bytes, uint64_t time, uint32_t *value)
{
    if ((address & (bytes - 1u)) == 0u) {
        const uint8_t *at = core->memory + address;
        if (address - core->ram_start < core->ram_bytes) {
            *value = bytes == 1u ? *at : get_word(at);
            return 0;
        }
        if (address - NV_START < core->plain_nv_bytes) {
            touch_line(core, address >> 3);
            *value = bytes == 1u ? *at : get_word(at);
            return 0;
        }
    }
    return load_elsewhere(core, address, bytes, time, value);
}

ALWAYS_INLINE int store_part(struct core *core, uint32_t address, unsigned bytes, uint64_t time, uint32_t value)
{
    if ((address & (bytes - 1u)) == 0u) {
        const int is_ram = address - core->ram_start < core->ram_bytes;
        if (is_ram || address - NV_START < core->plain_nv_bytes) {
            uint8_t *at = core->memory + address;
            if (core->code[address >> 3] != 0u) {
                forget_code(core, address);
            }
            if (!is_ram) {
                core->s.nv_writes++;
                core->s.cycles += core->s.waits;
                if (core->log != 0) {
                    log_store(core, address, bytes, value);
                }
            }
            if (bytes == 1u) {
                *at = (uint8_t)value;
            } else {
                put_word(at, value);
            }
            return 0;
        }
    }
    return store_elsewhere(core, address, bytes, time, value);
}

/* An operand of any width; 20-bit ones lie in two words (figure "20-bit addresses in memory"). */
ALWAYS_INLINE int load(struct core *core, uint32_t address, unsigned width, uint64_t time, uint32_t *value)
{
    if (width != ADDRESS) {
        return load_part(core, address, width == BYTE ? 1u : 2u, time, value);
    }
    const uint32_t second = (address + 2u) & ADDRESS_MASK;
    uint32_t low = 0;
    uint32_t high = 0;
    if (load_part(core, address, 2u, time, &low) || load_part(core, second, 2u, time + 1u, &high)) {
        return 1;
    }
    *value = low | (high & 0xFu) << 16;
    return 0;
}

ALWAYS_INLINE int store(struct core *core, uint32_t address, unsigned width, uint64_t time, uint32_t value)
{
    if (width != ADDRESS) {
        return store_part(core, address, width == BYTE ? 1u : 2u, time, value);
    }
    const uint32_t second = (address + 2u) & ADDRESS_MASK;
    return check_store(core, second) || store_part(core, address, 2u, time - 1u, value & 0xFFFFu) ||
           store_part(core, second, 2u, time, value >> 16);
}

/* Cycles of the instruction's memory accesses, for devices to which they matter. */
ALWAYS_INLINE uint64_t source_time(const struct core *core, const struct op *op)
{
    return core->s.cycles - op->cycles + op->read_at;
}

/* Indexed mode of plain MSP430 instructions: from the lower 64 K it stays there ("Indexed mode in lower 64 KB memory"),
 * from above the index is a signed number of 16 bits. */
ALWAYS_INLINE uint32_t indexed_16(uint32_t base, uint32_t index)
{
    return (base + index) & (base < 0x10000u ? 0xFFFFu : ADDRESS_MASK);
}

ALWAYS_INLINE int grow_stack(struct core *core, uint32_t to)
{
    return to < core->stack_limit ? raise_fault(core, FAULT_STACK, to, 2u, 0u) : 0;
}

/* Registers that do more than hold a value. */
ALWAYS_INLINE int write_register(struct core *core, unsigned name, uint32_t value)
{
    switch (name) {
    case PC:
        core->s.r[PC] = value & ~1u;
        return 0;
    case SP:
        value &= ~1u;
        if (value < core->stack_limit) {
            return raise_fault(core, FAULT_STACK, value, 2u, 0u);
        }
        core->s.r[SP] = value;
        return 0;
    case SR:
        core->s.r[SR] = value & SR_IMPLEMENTED;
        core->s.attention = 1u;
        return 0;
    case CG:
        return 0;
    default:
        core->s.r[name] = value;
        return 0;
    }
}

#endif
