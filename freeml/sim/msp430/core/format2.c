/* Single-operand instructions and jumps. */
#include "alu.h"
#include "handlers.h"
#include "memory.h"
#include "operand.h"

int single_rotate_register(struct core *core, const struct op *op)
{
    uint32_t *r = core->s.r;
    uint32_t sr = r[SR];
    const uint32_t result = rotate(op->code, r[op->dst] & mask_of(op->width), sr & SR_C, op->width, 1, &sr);
    r[SR] = sr;
    return write_register(core, op->dst, result);
}

int single_rotate(struct core *core, const struct op *op)
{
    struct operand operand;
    uint32_t sr = core->s.r[SR];
    if (fetch_operand(core, op, core->s.cycles - 1u, &operand)) {
        return 1;
    }
    const uint32_t result = rotate(op->code, operand.value, sr & SR_C, op->width, 0, &sr);
    if (store(core, operand.address, op->width, core->s.cycles, result)) {
        return drop_operand(core, op, &operand);
    }
    core->s.r[SR] = sr;
    return 0;
}

/* PUSH: the address of the operand is computed with SP as it was, the value of SP itself is pushed as it will be
 * (figure "PUSH SP, POP SP sequence"). PUSH.B leaves the upper byte in memory as it was. */
int single_push(struct core *core, const struct op *op)
{
    struct operand operand;
    const uint32_t to = (core->s.r[SP] - 2u) & ADDRESS_MASK;
    if (fetch_operand(core, op, source_time(core, op), &operand)) {
        return 1;
    }
    if (op->source_kind == AT_REGISTER && op->src == SP) {
        operand.value = to & mask_of(op->width);
    }
    /* After POP-like sources (PUSH @SP+) SP has moved. */
    const uint32_t place = (core->s.r[SP] - 2u) & ADDRESS_MASK;
    if (grow_stack(core, place) || store(core, place, op->width, core->s.cycles, operand.value)) {
        return drop_operand(core, op, &operand);
    }
    core->s.r[SP] = place;
    return 0;
}

/* Only the lower 16 bits of PC are saved, and the upper four are cleared. */
int single_call(struct core *core, const struct op *op)
{
    struct operand operand;
    if (fetch_operand(core, op, source_time(core, op), &operand)) {
        return 1;
    }
    const uint32_t place = (core->s.r[SP] - 2u) & ADDRESS_MASK;
    if (grow_stack(core, place) || store(core, place, WORD, core->s.cycles, core->s.r[PC] & 0xFFFFu)) {
        return drop_operand(core, op, &operand);
    }
    core->s.r[SP] = place;
    core->s.r[PC] = operand.value & ~1u;
    return 0;
}

int single_call_constant(struct core *core, const struct op *op)
{
    const uint32_t place = (core->s.r[SP] - 2u) & ADDRESS_MASK;
    if (grow_stack(core, place) || store(core, place, WORD, core->s.cycles, core->s.r[PC] & 0xFFFFu)) {
        return 1;
    }
    core->s.r[SP] = place;
    core->s.r[PC] = op->x & ~1u;
    return 0;
}

/* The saved SR carries PC.19:16 in its upper four bits ("Interrupts"). */
int return_from_interrupt(struct core *core, const struct op *op)
{
    uint32_t sr = 0;
    uint32_t pc = 0;
    const uint32_t sp = core->s.r[SP];
    if (load(core, sp, WORD, source_time(core, op), &sr) ||
        load(core, (sp + 2u) & ADDRESS_MASK, WORD, source_time(core, op) + 1u, &pc)) {
        return 1;
    }
    core->s.r[SP] = (sp + 4u) & ADDRESS_MASK;
    core->s.r[PC] = (pc | (sr & 0xF000u) << 4) & ~1u;
    return write_register(core, SR, sr & 0xFFFu);
}

#define JUMP(name, condition)                                       \
    static int name(struct core *core, const struct op *op)         \
    {                                                               \
        const uint32_t sr = core->s.r[SR];                          \
        (void)sr;                                                   \
        if (condition) {                                            \
            core->s.r[PC] = op->x;                                  \
        }                                                           \
        return 0;                                                   \
    }

JUMP(jump_not_zero, (sr & SR_Z) == 0u)
JUMP(jump_zero, (sr & SR_Z) != 0u)
JUMP(jump_no_carry, (sr & SR_C) == 0u)
JUMP(jump_carry, (sr & SR_C) != 0u)
JUMP(jump_negative, (sr & SR_N) != 0u)
JUMP(jump_greater_equal, ((sr >> 8 ^ sr >> 2) & 1u) == 0u)
JUMP(jump_less, ((sr >> 8 ^ sr >> 2) & 1u) != 0u)
JUMP(jump_always, 1)

handler *const jumps[8] = {
    jump_not_zero, jump_zero, jump_no_carry, jump_carry, jump_negative, jump_greater_equal, jump_less, jump_always,
};
