#include "cycles.h"

#include "alu.h"

/* Table 4-10, "MSP430 Format I instruction cycles and length" (section 4.5.1.5.4). */
static const uint8_t table_4_10[ROWS][COLUMNS] = {
    {1, 3, 4}, /* Rn */
    {2, 4, 5}, /* @Rn */
    {2, 4, 5}, /* @Rn+ */
    {2, 3, 5}, /* #N */
    {3, 5, 6}, /* x(Rn), EDE, &EDE */
};

unsigned cycles_of_double_operand(unsigned code, enum source_row source, enum target_column target)
{
    /* Its footnote: MOV, BIT and CMP to memory take one cycle less. */
    const int saves = target == TO_MEMORY && (code == MOV || code == BIT || code == CMP);
    return table_4_10[source][target] - (saves ? 1u : 0u);
}

/* Table 4-18, "MSP430X Format I instruction cycles and length" (section 4.5.2.7.2): .B and .W, then .A. */
static const uint8_t table_4_18[ROWS][COLUMNS][2] = {
    {{2, 2}, {4, 4}, {5, 7}},
    {{3, 4}, {5, 6}, {6, 9}},
    {{3, 4}, {5, 6}, {6, 9}},
    {{3, 3}, {4, 4}, {6, 8}},
    {{4, 5}, {6, 7}, {7, 10}},
};

unsigned cycles_of_extended_double_operand(
    unsigned code, enum source_row source, enum target_column target, unsigned width)
{
    const unsigned is_address = width == ADDRESS;
    unsigned cycles = table_4_18[source][target][is_address];
    /* Footnotes 2 and 3: MOV, BIT and CMP to memory save one cycle, two with .A. */
    if (target == TO_MEMORY && (code == MOV || code == BIT || code == CMP)) {
        cycles -= 1u + is_address;
    }
    /* Footnote 4: MOV, ADD and SUB to PC save one where the source takes an extra word. */
    if (target == TO_PC && (source == ROW_IMMEDIATE || source == ROW_MEMORY) &&
        (code == MOV || code == ADD || code == SUB)) {
        cycles -= 1u;
    }
    return cycles;
}

/* Table 4-9, "MSP430 Format II instruction cycles and length" (section 4.5.1.5.2): Rn, @Rn, @Rn+, #N, X(Rn), EDE,
 * &EDE. */
static const uint8_t table_4_9_rotation[] = {1, 3, 3, 3, 4, 4, 4};
static const uint8_t table_4_9_push[] = {3, 3, 3, 3, 4, 4, 4};
static const uint8_t table_4_9_call[] = {4, 4, 4, 4, 5, 5, 6};

unsigned cycles_of_rotation(enum single_mode mode)
{
    return table_4_9_rotation[mode];
}

unsigned cycles_of_push(enum single_mode mode)
{
    return table_4_9_push[mode];
}

unsigned cycles_of_call(enum single_mode mode)
{
    return table_4_9_call[mode];
}

/* Table 4-17, "MSP430X Format II instruction cycles and length" (section 4.5.2.7.1). Register mode is 1 + n there: the
 * repetitions beyond the first are added when the instruction runs. */
static const uint8_t table_4_17_rotation[2][7] = {{2, 4, 4, 4, 5, 5, 5}, {2, 6, 6, 6, 7, 7, 7}};
static const uint8_t table_4_17_push[2][7] = {{4, 4, 4, 4, 5, 5, 5}, {5, 6, 6, 5, 7, 7, 7}};
static const uint8_t table_4_17_calla[7] = {5, 6, 6, 5, 5, 7, 7};

unsigned cycles_of_extended_rotation(enum single_mode mode, unsigned width)
{
    return table_4_17_rotation[width == ADDRESS][mode];
}

unsigned cycles_of_extended_push(enum single_mode mode, unsigned width, int by_sp)
{
    /* Its footnote: one cycle more for X(SP). */
    return table_4_17_push[width == ADDRESS][mode] + (mode == MODE_INDEX && by_sp ? 1u : 0u);
}

unsigned cycles_of_address_call(enum single_mode mode, int by_sp)
{
    return table_4_17_calla[mode] + (mode == MODE_INDEX && by_sp ? 1u : 0u);
}

/* Table 4-19, "Address instruction cycles and length" (section 4.5.2.7.3), the column of MOVA and BRA. */
static const uint8_t table_4_19[ROWS][COLUMNS] = {
    {1, 3, 4},
    {3, 5, 0},
    {3, 5, 0},
    {2, 3, 0},
    {4, 6, 0},
};

unsigned cycles_of_address_move(enum source_row source, enum target_column target)
{
    return table_4_19[source][target];
}
