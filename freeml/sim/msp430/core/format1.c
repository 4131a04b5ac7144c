/* Double-operand instructions in their less common forms. */
#include "format1.h"

int double_operand_any(struct core *core, const struct op *op)
{
    unsigned left = op->repeat & 0x80u ? core->s.r[op->repeat & 0xFu] & 0xFu : op->repeat;
    core->s.cycles += left;
    for (;;) {
        if (format1(core, op, op->code, op->source_kind, op->target_kind, op->width)) {
            return 1;
        }
        if (left == 0u) {
            return 0;
        }
        left--;
    }
}

int no_operation(struct core *core, const struct op *op)
{
    (void)core;
    (void)op;
    return 0;
}

/* RET, the most frequent instruction that writes PC. */
int single_return(struct core *core, const struct op *op)
{
    uint32_t to = 0;
    if (load(core, core->s.r[SP], WORD, source_time(core, op), &to)) {
        return 1;
    }
    core->s.r[SP] = (core->s.r[SP] + 2u) & ADDRESS_MASK;
    core->s.r[PC] = to & ~1u;
    return 0;
}
