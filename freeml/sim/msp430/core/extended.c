/* MSP430X instructions with one operand or many. Those with two are double operands like any other (format1.c). */
#include "alu.h"
#include "handlers.h"
#include "memory.h"
#include "operand.h"

int extended_rotate(struct core *core, const struct op *op)
{
    uint32_t *r = core->s.r;
    uint32_t sr = r[SR];
    if (op->source_kind != AT_REGISTER) {
        struct operand operand;
        if (fetch_operand(core, op, core->s.cycles - 1u, &operand)) {
            return 1;
        }
        const uint32_t carry = op->carry_zeroed ? 0u : sr & SR_C;
        const uint32_t result = rotate(op->code, operand.value, carry, op->width, 0, &sr);
        if (store(core, operand.address, op->width, core->s.cycles, result)) {
            return drop_operand(core, op, &operand);
        }
        r[SR] = sr;
        return 0;
    }
    unsigned left = op->repeat & 0x80u ? r[op->repeat & 0xFu] & 0xFu : op->repeat;
    core->s.cycles += left;
    for (;;) {
        const uint32_t carry = op->carry_zeroed ? 0u : sr & SR_C;
        const uint32_t result = rotate(op->code, r[op->dst] & mask_of(op->width), carry, op->width, 1, &sr);
        r[SR] = sr;
        if (write_register(core, op->dst, result)) {
            return 1;
        }
        if (left == 0u) {
            return 0;
        }
        left--;
    }
}

int extended_push(struct core *core, const struct op *op)
{
    struct operand operand;
    const uint32_t bytes = op->width == ADDRESS ? 4u : 2u;
    unsigned left = op->repeat & 0x80u ? core->s.r[op->repeat & 0xFu] & 0xFu : op->repeat;
    core->s.cycles += left;
    for (;;) {
        if (fetch_operand(core, op, source_time(core, op), &operand)) {
            return 1;
        }
        const uint32_t place = (core->s.r[SP] - bytes) & ADDRESS_MASK;
        if (op->source_kind == AT_REGISTER && op->src == SP) {
            operand.value = place & mask_of(op->width);
        }
        if (grow_stack(core, place) || store(core, place, op->width, core->s.cycles, operand.value)) {
            return drop_operand(core, op, &operand);
        }
        core->s.r[SP] = place;
        if (left == 0u) {
            return 0;
        }
        left--;
    }
}

/* PUSHM: Rdst first, then the registers below it. Nothing is pushed unless everything can be. */
int push_many(struct core *core, const struct op *op)
{
    const uint32_t bytes = op->width == ADDRESS ? 4u : 2u;
    const uint32_t count = op->code;
    uint32_t sp = core->s.r[SP];
    const uint32_t last = (sp - count * bytes) & ADDRESS_MASK;
    if (grow_stack(core, last)) {
        return 1;
    }
    for (uint32_t offset = 0; offset < count * bytes; offset += 2u) {
        if (check_store(core, (last + offset) & ADDRESS_MASK)) {
            return 1;
        }
    }
    for (uint32_t n = 0; n < count; n++) {
        const uint32_t value = core->s.r[(op->dst - n) & 0xFu] & mask_of(op->width);
        sp = (sp - bytes) & ADDRESS_MASK;
        if (store(core, sp, op->width, core->s.cycles, value)) {
            return 1;
        }
    }
    core->s.r[SP] = sp;
    return 0;
}

/* POPM: the opcode names the lowest register; it is popped first. */
int pop_many(struct core *core, const struct op *op)
{
    const uint32_t bytes = op->width == ADDRESS ? 4u : 2u;
    const uint32_t count = op->code;
    const uint32_t sp = core->s.r[SP];
    uint32_t values[16];
    for (uint32_t n = 0; n < count; n++) {
        if (load(core, (sp + n * bytes) & ADDRESS_MASK, op->width, core->s.cycles, &values[n])) {
            return 1;
        }
    }
    core->s.r[SP] = (sp + count * bytes) & ADDRESS_MASK;
    for (uint32_t n = 0; n < count; n++) {
        if (write_register(core, (op->dst + n) & 0xFu, values[n])) {
            return 1;
        }
    }
    return 0;
}

enum { MANY_RRC, MANY_RRA, MANY_RLA, MANY_RRU };

/* V is undefined after RLAM by the guide; here it is cleared, as the others do. */
int rotate_many(struct core *core, const struct op *op)
{
    const unsigned top = bits_of(op->width) - 1u;
    uint32_t value = core->s.r[op->dst] & mask_of(op->width);
    uint32_t carry = core->s.r[SR] & SR_C;
    for (unsigned n = op->repeat + 1u; n != 0u; n--) {
        const uint32_t lowest = value & 1u;
        switch (op->code) {
        case MANY_RRC:
            value = value >> 1 | carry << top;
            carry = lowest;
            break;
        case MANY_RRA:
            value = value >> 1 | (value & 1u << top);
            carry = lowest;
            break;
        case MANY_RLA:
            carry = value >> top;
            value = value << 1 & mask_of(op->width);
            break;
        default:
            value = value >> 1;
            carry = lowest;
            break;
        }
    }
    core->s.r[SR] = with_flags(core->s.r[SR], value, carry, 0u, op->width);
    return write_register(core, op->dst, value);
}

/* CALLA pushes the 20 bits of PC in two words, the upper bits first. */
int address_call(struct core *core, const struct op *op)
{
    struct operand operand;
    if (fetch_operand(core, op, source_time(core, op), &operand)) {
        return 1;
    }
    const uint32_t place = (core->s.r[SP] - 4u) & ADDRESS_MASK;
    if (grow_stack(core, place) || store(core, place, ADDRESS, core->s.cycles, core->s.r[PC])) {
        return drop_operand(core, op, &operand);
    }
    core->s.r[SP] = place;
    core->s.r[PC] = operand.value & ~1u;
    return 0;
}
