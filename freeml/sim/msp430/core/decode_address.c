/* The words below 0x1800 that MSP430X added: address instructions, CALLA, PUSHM and POPM, rotations by several bits. */
#include "reader.h"

int decode_address_call(struct reader *reader, uint32_t word)
{
    struct op *op = reader->op;
    const unsigned form = word >> 4 & 0xFu;
    const unsigned name = word & 0xFu;
    enum single_mode mode = MODE_REGISTER;
    uint32_t low = 0;
    if (word == 0x1300u) {
        op->cycles = CYCLES_OF_RETI;
        op->read_at = 2u;
        op->run = return_from_interrupt;
        return 0;
    }
    op->width = ADDRESS;
    op->run = address_call;
    if (form >= 4u && form <= 7u) {
        static const unsigned modes[] = {0, 1, 2, 3};
        if (name == CG || (name == SR && form != 4u) || (name == PC && form != 5u)) {
            return illegal(reader, word);
        }
        if (read_source(reader, name, modes[form - 4u], 0u, &mode)) {
            return 1;
        }
        if (op->source_kind == AT_INDEX) {
            op->source_kind = AT_INDEX_20; /* a signed index of 16 bits, from anywhere to anywhere */
        }
    } else if (form == 8u || form == 9u || form == 11u) {
        const uint32_t here = reader->at;
        if (next_word(reader, &low)) {
            return 1;
        }
        op->read_at = 3u;
        op->source_kind = form == 11u ? AT_CONSTANT : AT_ABSOLUTE;
        op->x = low | name << 16;
        mode = form == 8u ? MODE_ABSOLUTE : form == 9u ? MODE_SYMBOLIC : MODE_IMMEDIATE;
        if (form == 9u) {
            op->x = (here + op->x) & ADDRESS_MASK;
        }
    } else {
        return illegal(reader, word);
    }
    op->cycles = (uint8_t)cycles_of_address_call(mode, op->src == SP);
    return 0;
}

int decode_address(struct reader *reader, uint32_t word)
{
    static const uint8_t codes[] = {MOV, CMP, ADD, SUB};
    struct op *op = reader->op;
    const unsigned form = word >> 4 & 0xFu;
    const unsigned upper = word >> 8 & 0xFu;
    const unsigned lower = word & 0xFu;
    enum source_row row = ROW_REGISTER;
    enum target_column column = lower == PC ? TO_PC : TO_REGISTER;
    enum single_mode mode = MODE_REGISTER;
    uint32_t low = 0;

    if (form == 4u || form == 5u) {
        op->code = (uint8_t)(upper & 3u);
        op->repeat = (uint8_t)(upper >> 2);
        op->width = form == 4u ? ADDRESS : WORD;
        op->dst = (uint8_t)lower;
        op->cycles = (uint8_t)(op->repeat + 1u);
        op->run = rotate_many;
        return 0;
    }
    op->width = ADDRESS;
    op->run = double_operand_any;
    op->src = (uint8_t)upper;
    op->dst = (uint8_t)lower;
    op->code = form < 8u ? MOV : codes[form & 3u];
    op->target_kind = lower < 4u && writes(op->code) ? AT_SPECIAL : AT_REGISTER;
    op->read_at = 2u;
    switch (form) {
    case 0: /* @Rsrc */
    case 1: /* @Rsrc+ */
        if (upper < 4u && upper != SP) {
            return illegal(reader, word);
        }
        row = form == 0u ? ROW_INDIRECT : ROW_INCREMENT;
        op->source_kind = form == 0u ? AT_INDIRECT : AT_INCREMENT;
        op->step = 4u;
        break;
    case 2: /* &abs20 */
    case 8: /* #imm20 */
    case 9:
    case 10:
    case 11:
        if (next_word(reader, &low)) {
            return 1;
        }
        row = form == 2u ? ROW_MEMORY : ROW_IMMEDIATE;
        op->source_kind = form == 2u ? AT_ABSOLUTE : AT_CONSTANT;
        op->src = CG;
        op->x = low | upper << 16;
        op->read_at = 3u;
        break;
    case 3: /* x(Rsrc) */
        if (upper == SR || upper == CG) {
            return illegal(reader, word);
        }
        row = ROW_MEMORY;
        if (read_source(reader, upper, 1u, 0u, &mode)) {
            return 1;
        }
        if (op->source_kind == AT_INDEX) {
            op->source_kind = AT_INDEX_20;
        }
        break;
    case 6: /* Rsrc to &abs20 */
        if (next_word(reader, &low)) {
            return 1;
        }
        column = TO_MEMORY;
        op->target_kind = AT_ABSOLUTE;
        op->y = low | lower << 16;
        break;
    case 7: /* Rsrc to x(Rdst) */
        column = TO_MEMORY;
        if (lower == SR || lower == CG) {
            return illegal(reader, word);
        }
        if (read_index(reader, lower, 0u, &op->target_kind, &op->y)) {
            return 1;
        }
        if (op->target_kind == AT_INDEX) {
            op->target_kind = AT_INDEX_20;
        }
        break;
    default:
        break;
    }
    if (row == ROW_REGISTER && upper == PC) {
        op->source_kind = AT_CONSTANT;
        op->x = reader->after;
    }
    if (op->code == MOV) {
        op->cycles = (uint8_t)cycles_of_address_move(row, column);
    } else if (row == ROW_IMMEDIATE) {
        op->cycles = CYCLES_OF_ADDRESS_IMMEDIATE;
    } else {
        op->cycles = column == TO_PC ? CYCLES_OF_ADDRESS_REGISTER_PC : CYCLES_OF_ADDRESS_REGISTER;
    }
    return 0;
}

void decode_many(struct reader *reader, uint32_t word)
{
    struct op *op = reader->op;
    op->code = (uint8_t)((word >> 4 & 0xFu) + 1u);
    op->dst = (uint8_t)(word & 0xFu);
    op->width = word & 0x100u ? WORD : ADDRESS;
    op->cycles = (uint8_t)(2u + op->code * (op->width == ADDRESS ? 2u : 1u)); /* table 4-17 */
    op->run = word & 0x200u ? pop_many : push_many;
}
