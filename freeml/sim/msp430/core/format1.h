/* Double-operand instructions: one inlined template. The common forms are instances of it with everything known at
 * compile time (FORMS, in three files that compile side by side); all others share one that looks at the decoded
 * fields. */
#ifndef M430_FORMAT1_H
#define M430_FORMAT1_H

#include "alu.h"
#include "handlers.h"
#include "memory.h"

ALWAYS_INLINE int format1(
    struct core *core, const struct op *op, unsigned code, unsigned source, unsigned target, unsigned width)
{
    uint32_t *r = core->s.r;
    const uint32_t mask = mask_of(width);
    const uint32_t before = r[op->src];
    uint32_t sr = r[SR];
    const uint32_t carry = op->carry_zeroed ? 0u : sr & SR_C;
    uint32_t s = 0;
    uint32_t d = 0;
    uint32_t at = 0;

    switch (source) {
    case AT_REGISTER:
        s = before & mask;
        break;
    case AT_CONSTANT:
        s = op->x;
        break;
    default:
        at = source == AT_INDEX      ? indexed_16(before, op->x)
             : source == AT_INDEX_20 ? (before + op->x) & ADDRESS_MASK
             : source == AT_ABSOLUTE ? op->x
                                     : before;
        if (load(core, at, width, source_time(core, op), &s)) {
            return 1;
        }
        if (source == AT_INCREMENT) {
            r[op->src] = (before + op->step) & ADDRESS_MASK;
        }
        break;
    }

    if (target == AT_REGISTER || target == AT_SPECIAL) {
        d = r[op->dst] & mask;
    } else {
        at = target == AT_INDEX      ? indexed_16(r[op->dst], op->y)
             : target == AT_INDEX_20 ? (r[op->dst] + op->y) & ADDRESS_MASK
                                     : op->y;
        if (code != MOV && load(core, at, width, core->s.cycles - (writes(code) ? 1u : 0u), &d)) {
            goto undo;
        }
    }

    const uint32_t result = compute(code, s, d, carry, width, &sr);
    if (target == AT_REGISTER) {
        if (changes_flags(code)) {
            r[SR] = sr;
        }
        if (writes(code)) {
            r[op->dst] = result;
        }
        return 0;
    }
    if (target == AT_SPECIAL) {
        if (op->dst == SP && (result & ~1u) < core->stack_limit) {
            (void)raise_fault(core, FAULT_STACK, result, 2u, 0u);
            goto undo;
        }
        if (changes_flags(code)) {
            r[SR] = sr;
        }
        return write_register(core, op->dst, result);
    }
    if (writes(code) && store(core, at, width, core->s.cycles, result)) {
        goto undo;
    }
    if (changes_flags(code)) {
        r[SR] = sr;
    }
    return 0;

undo:
    r[op->src] = before;
    return 1;
}

/* forms_of_ADD and so on: every common form of one operation. */
#define ONE(code, source, target, width)                                                          \
    static int code##_##source##_##target##_##width(struct core *core, const struct op *op)       \
    {                                                                                             \
        return format1(core, op, code, AT_##source, AT_##target, width);                          \
    }
#define WIDTHS(code, source, target) ONE(code, source, target, BYTE) ONE(code, source, target, WORD)
#define TARGETS(code, source) \
    WIDTHS(code, source, REGISTER) WIDTHS(code, source, INDEX) WIDTHS(code, source, ABSOLUTE)
#define SOURCES(code)                                                        \
    TARGETS(code, REGISTER) TARGETS(code, CONSTANT) TARGETS(code, INDEX)     \
    TARGETS(code, ABSOLUTE) TARGETS(code, INDIRECT) TARGETS(code, INCREMENT)

#define NAMED_WIDTHS(code, source, target) {code##_##source##_##target##_BYTE, code##_##source##_##target##_WORD}
#define NAMED_TARGETS(code, source)                                           \
    {                                                                         \
        NAMED_WIDTHS(code, source, REGISTER), NAMED_WIDTHS(code, source, INDEX), \
            NAMED_WIDTHS(code, source, ABSOLUTE)                              \
    }
#define FORMS(code)                                                                                     \
    SOURCES(code)                                                                                       \
    handler *const forms_of_##code[6][3][2] = {                                                         \
        NAMED_TARGETS(code, REGISTER), NAMED_TARGETS(code, CONSTANT), NAMED_TARGETS(code, INDEX),       \
            NAMED_TARGETS(code, ABSOLUTE), NAMED_TARGETS(code, INDIRECT), NAMED_TARGETS(code, INCREMENT) \
    }

#endif
