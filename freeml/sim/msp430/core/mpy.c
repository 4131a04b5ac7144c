/* The 32-bit hardware multiplier MPY32 (chapter "32-bit hardware multiplier").
 *
 * A result that is read before the tables "Result availability" allow it is a fault: the chip would deliver something
 * else. Where a table has a row for OP2L and one for OP2H, both must have passed. */
#include "devices.h"

#define MPYC 0x001u
#define MPYFRAC 0x004u
#define MPYSAT 0x008u
#define MPYM_SIGNED 0x010u
#define MPYM_ACCUMULATE 0x020u
#define MPYM 0x030u
#define MPYOP1_32 0x040u
#define MPYOP2_32 0x080u
#define MPYDLY 0x300u

/* Offsets of registers; the twelve of OP1 follow a pattern, see write_op1. */
enum { OP2 = 0x08, RESLO = 0x0A, RESHI = 0x0C, SUMEXT = 0x0E };
enum { OP2L = 0x20, OP2H = 0x22, RES0 = 0x24, RES3 = 0x2A, CTL0 = 0x2C };

/* Cycles until RES0 to RES3 can be read. Tables 5-4 and 5-5 (MPYSAT = 0), then 5-6 (MPYSAT = 1).
 * Rows: 16 x 16 after OP2; 32 x 16 after OP2; 16 x 32 after OP2L and OP2H; 32 x 32 after OP2L and OP2H. In the last
 * table RES2 and RES3 are not available after 16 x 16; they get the other tables' figures. */
enum availability { AFTER_16_16, AFTER_32_16, AFTER_16_32_LOW, AFTER_16_32_HIGH, AFTER_32_32_LOW, AFTER_32_32_HIGH };
static const uint8_t ready_after[2][6][4] = {
    {{3, 3, 4, 4}, {3, 5, 6, 7}, {3, 5, 6, 7}, {0, 3, 4, 4}, {3, 8, 10, 11}, {0, 3, 5, 6}},
    {{3, 3, 4, 4}, {7, 7, 7, 7}, {7, 7, 7, 7}, {4, 4, 4, 4}, {11, 11, 11, 11}, {6, 6, 6, 6}},
};

static int is_wide(const struct mpy *mpy)
{
    return (mpy->control & (MPYOP1_32 | MPYOP2_32)) != 0u;
}

static void set_ready(struct mpy *mpy, enum availability row, uint64_t since, int first)
{
    for (unsigned n = 0; n < 4u; n++) {
        const uint64_t at = since + ready_after[(mpy->control & MPYSAT) != 0u][row][n];
        if (first || at > mpy->ready[n]) {
            mpy->ready[n] = at;
        }
    }
}

/* The result with its sign bit (bit 31 or 63) checked against the carry: what MPYSAT makes of it. Signed modes only. */
static uint64_t saturated(const struct mpy *mpy, int wide, int fractional)
{
    const unsigned top_bit = wide ? 63u : 31u;
    const uint64_t top = mpy->result >> top_bit & 1u;
    const uint64_t next = mpy->result >> (top_bit - 1u) & 1u;
    const int carry = (mpy->control & MPYC) != 0u;
    const uint64_t upper = wide ? 0u : mpy->result & ~(uint64_t)UINT32_MAX;
    const uint64_t highest = wide ? (uint64_t)INT64_MAX : (uint64_t)INT32_MAX;
    if (!carry && (top != 0u || (fractional && next != 0u))) {
        return upper | highest;
    }
    if (carry && (top == 0u || (fractional && next == 0u))) {
        return upper | (highest + 1u);
    }
    return fractional ? mpy->result << 1 : mpy->result;
}

static uint64_t shown(const struct mpy *mpy)
{
    const int fractional = (mpy->control & MPYFRAC) != 0u;
    if ((mpy->control & MPYSAT) != 0u && (mpy->control & MPYM_SIGNED) != 0u) {
        return saturated(mpy, is_wide(mpy), fractional);
    }
    return fractional ? mpy->result << 1 : mpy->result;
}

/* What the product will be added to: nothing, or the result, saturated as if MPYFRAC were 0. */
static uint64_t accumulated(const struct mpy *mpy)
{
    if ((mpy->control & MPYM_ACCUMULATE) == 0u) {
        return 0u;
    }
    if ((mpy->control & MPYSAT) == 0u || (mpy->control & MPYM_SIGNED) == 0u) {
        return mpy->result;
    }
    const uint64_t value = saturated(mpy, is_wide(mpy), 0);
    return is_wide(mpy) ? value : (uint64_t)(int64_t)(int32_t)(uint32_t)value;
}

static void finish(struct mpy *mpy, uint64_t product)
{
    const uint64_t sum = mpy->base + product;
    const int is_signed = (mpy->control & MPYM_SIGNED) != 0u;
    const unsigned top = is_wide(mpy) ? 63u : 31u;
    const uint64_t cut = UINT64_MAX >> (63u - top);
    const uint64_t a = mpy->base & cut;
    const uint64_t b = product & cut;
    const uint64_t s = sum & cut;
    uint64_t carry;
    mpy->result = sum;
    if (is_signed) {
        /* The bit beyond the result: its sign, had there been room for it. */
        carry = s >> top ^ (((a ^ s) & (b ^ s)) >> top);
        mpy->sumext = s >> top & 1u ? 0xFFFFu : 0u;
    } else {
        carry = s < a;
        mpy->sumext = (uint32_t)carry;
    }
    mpy->control = (mpy->control & ~MPYC) | ((carry & 1u) != 0u ? MPYC : 0u);
}

static uint64_t extended(uint32_t value, int is_wide_operand, int is_signed)
{
    if (!is_signed) {
        return value;
    }
    return is_wide_operand ? (uint64_t)(int64_t)(int32_t)value : (uint64_t)(int64_t)(int16_t)(uint16_t)value;
}

static uint64_t product(const struct mpy *mpy)
{
    const int is_signed = (mpy->control & MPYM_SIGNED) != 0u;
    return extended(mpy->op1, (mpy->control & MPYOP1_32) != 0u, is_signed) *
           extended(mpy->op2, (mpy->control & MPYOP2_32) != 0u, is_signed);
}

/* Byte writes to OP1, OP2 and to the upper halves of 24-bit operands: the module extends them to 16 bits. */
static uint32_t byte_extended(const struct mpy *mpy, uint32_t value)
{
    return (mpy->control & MPYM_SIGNED) != 0u ? ((value ^ 0x80u) - 0x80u) & 0xFFFFu : value;
}

static void write_op1(struct mpy *mpy, uint32_t offset, uint32_t bytes, uint32_t value)
{
    const int wide = offset >= 0x10u;
    const uint32_t mode = (wide ? (offset - 0x10u) >> 2 : offset >> 1) & 3u;
    mpy->control = (mpy->control & ~(MPYM | MPYOP1_32)) | mode << 4 | (wide ? MPYOP1_32 : 0u);
    if (bytes == 1u) {
        value = byte_extended(mpy, value);
    }
    if (!wide) {
        mpy->op1 = value;
    } else if ((offset & 2u) == 0u) {
        mpy->op1 = (mpy->op1 & 0xFFFF0000u) | value;
    } else {
        mpy->op1 = (mpy->op1 & 0xFFFFu) | value << 16;
    }
}

static void write_op2(struct mpy *mpy, uint32_t offset, uint32_t bytes, uint64_t time, uint32_t value)
{
    const int op1_wide = (mpy->control & MPYOP1_32) != 0u;
    if (bytes == 1u) {
        value = byte_extended(mpy, value);
    }
    if (offset == OP2) {
        mpy->control &= ~MPYOP2_32;
        mpy->op2 = value;
        mpy->base = accumulated(mpy);
        finish(mpy, product(mpy));
        set_ready(mpy, op1_wide ? AFTER_32_16 : AFTER_16_16, time, 1);
    } else if (offset == OP2L) {
        /* The lower half of OP2 is multiplied at once; RES0 is then final. */
        mpy->control |= MPYOP2_32;
        mpy->op2 = value;
        mpy->low_written = time;
        mpy->base = accumulated(mpy);
        mpy->result = mpy->base + extended(mpy->op1, op1_wide, (mpy->control & MPYM_SIGNED) != 0u) * value;
        set_ready(mpy, op1_wide ? AFTER_32_32_LOW : AFTER_16_32_LOW, time, 1);
    } else {
        mpy->control |= MPYOP2_32;
        mpy->op2 = (mpy->op2 & 0xFFFFu) | value << 16;
        finish(mpy, product(mpy));
        set_ready(mpy, op1_wide ? AFTER_32_32_HIGH : AFTER_16_32_HIGH, time, 0);
    }
}

static int read_result(struct core *core, uint32_t address, unsigned word, uint64_t time, uint32_t *value)
{
    const struct mpy *mpy = &core->s.mpy;
    if (time < mpy->ready[word]) {
        return raise_fault(core, FAULT_MPY_EARLY, address, 2u, (uint32_t)(mpy->ready[word] - time));
    }
    *value = (uint32_t)(shown(mpy) >> 16 * word) & 0xFFFFu;
    return 0;
}

int mpy_read(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t *value)
{
    const struct mpy *mpy = &core->s.mpy;
    const uint32_t offset = (address & ~1u) - MPY_START;
    uint32_t word = 0;
    int fault = 0;
    if (offset < OP2) {
        word = mpy->op1 & 0xFFFFu;
    } else if (offset == OP2 || offset == OP2L) {
        word = mpy->op2 & 0xFFFFu;
    } else if (offset == OP2H) {
        word = mpy->op2 >> 16;
    } else if (offset == RESLO || offset == RESHI) {
        fault = read_result(core, address, (offset - RESLO) >> 1, time, &word);
    } else if (offset == SUMEXT) {
        fault = read_result(core, address, 1u, time, &word);
        const uint32_t top = (uint32_t)(mpy->result >> (is_wide(mpy) ? 63u : 31u)) & 1u;
        word = mpy->control & MPYFRAC ? (mpy->sumext << 1 | top) & 0xFFFFu : mpy->sumext;
    } else if (offset < OP2L) {
        word = offset & 2u ? mpy->op1 >> 16 : mpy->op1 & 0xFFFFu;
    } else if (offset <= RES3) {
        fault = read_result(core, address, (offset - RES0) >> 1, time, &word);
    } else {
        word = mpy->control;
    }
    *value = bytes == 2u ? word : address & 1u ? word >> 8 : word & 0xFFu;
    return fault;
}

static void write_result(struct mpy *mpy, unsigned word, uint64_t time, uint32_t value)
{
    const unsigned shift = 16u * word;
    mpy->result = (mpy->result & ~((uint64_t)0xFFFFu << shift)) | (uint64_t)value << shift;
    mpy->ready[word] = time;
}

int mpy_write(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value)
{
    struct mpy *mpy = &core->s.mpy;
    const uint32_t offset = address - MPY_START;
    /* Byte forms: OP1 and OP2 of 16 bits, and the upper half of those of 32 (tables 5-2 and 5-3). */
    const int has_byte_form = offset <= OP2 || (offset >= 0x10u && offset <= OP2H && (offset & 2u) != 0u);
    if (bytes == 1u && (offset & 1u || !has_byte_form)) {
        return raise_fault(core, FAULT_ACCESS_WIDTH, address, bytes, 0u);
    }
    if (offset < OP2 || (offset >= 0x10u && offset < OP2L)) {
        write_op1(mpy, offset, bytes, value);
    } else if (offset == OP2 || offset == OP2L || offset == OP2H) {
        write_op2(mpy, offset, bytes, time, value);
    } else if (offset == RESLO || offset == RESHI) {
        write_result(mpy, (offset - RESLO) >> 1, time, value);
    } else if (offset >= RES0 && offset <= RES3) {
        write_result(mpy, (offset - RES0) >> 1, time, value);
    } else if (offset == CTL0) {
        mpy->control = value & (MPYDLY | MPYOP2_32 | MPYOP1_32 | MPYM | MPYSAT | MPYFRAC | MPYC);
    }
    return 0; /* SUMEXT is read-only */
}
