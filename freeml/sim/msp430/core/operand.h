/* The operand of a single-operand instruction, and the rotations. */
#ifndef M430_OPERAND_H
#define M430_OPERAND_H

#include "alu.h"
#include "handlers.h"
#include "memory.h"

struct operand {
    uint32_t value;
    uint32_t address;
    uint32_t before; /* the register of an autoincrement */
};

ALWAYS_INLINE int fetch_operand(struct core *core, const struct op *op, uint64_t time, struct operand *operand)
{
    uint32_t *r = core->s.r;
    const uint32_t before = r[op->src];
    operand->before = before;
    operand->address = 0;
    switch (op->source_kind) {
    case AT_REGISTER:
        operand->value = before & mask_of(op->width);
        return 0;
    case AT_CONSTANT:
        operand->value = op->x;
        return 0;
    case AT_INDEX:
        operand->address = indexed_16(before, op->x);
        break;
    case AT_INDEX_20:
        operand->address = (before + op->x) & ADDRESS_MASK;
        break;
    case AT_ABSOLUTE:
        operand->address = op->x;
        break;
    default:
        operand->address = before;
        break;
    }
    if (load(core, operand->address, op->width, time, &operand->value)) {
        return 1;
    }
    if (op->source_kind == AT_INCREMENT) {
        r[op->src] = (before + op->step) & ADDRESS_MASK;
    }
    return 0;
}

/* After a fault: as if the operand had not been fetched. */
ALWAYS_INLINE int drop_operand(struct core *core, const struct op *op, const struct operand *operand)
{
    core->s.r[op->src] = operand->before;
    return 1;
}

/* One step of RRC, SWPB, RRA or SXT. In register mode SXT extends into all 20 bits. */
ALWAYS_INLINE uint32_t rotate(
    unsigned code, uint32_t value, uint32_t carry, unsigned width, int in_register, uint32_t *sr)
{
    const unsigned top = bits_of(width) - 1u;
    uint32_t result;
    switch (code) {
    case ROTATE_RRC:
        result = value >> 1 | carry << top;
        *sr = with_flags(*sr, result, value & 1u, 0u, width);
        return result;
    case ROTATE_RRA:
        result = value >> 1 | (value & 1u << top);
        *sr = with_flags(*sr, result, value & 1u, 0u, width);
        return result;
    case ROTATE_SWPB:
        return (value & 0xF0000u) | (value & 0xFFu) << 8 | (value >> 8 & 0xFFu);
    default:
        result = (value & 0x80u) != 0u ? value | 0xFFF00u : value & 0xFFu;
        if (!in_register) {
            result &= mask_of(width);
        }
        *sr = with_flags(*sr, result & mask_of(width), result != 0u, 0u, width);
        return result;
    }
}

#endif
