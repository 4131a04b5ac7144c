/* From instruction words to handlers (chapter "CPUX", "MSP430 and MSP430X instructions" and "Extended instruction
 * binary descriptions"). Symbolic mode becomes absolute here, the constant generators and PC as a source become
 * constants. */
#include "decode.h"

#include "reader.h"

int executable(const struct core *core, uint32_t address)
{
    return address - core->ram_start < core->ram_bytes || address - NV_START < core->nv_bytes ||
           (core->nv_bytes != 0u && address - INFO_START < TLV_START - INFO_START);
}

int next_word(struct reader *reader, uint32_t *word)
{
    if (!executable(reader->core, reader->at)) {
        return raise_fault(reader->core, FAULT_EXECUTE, reader->at, 2u, 0u);
    }
    *word = get_word(reader->core->memory + reader->at);
    reader->core->code[reader->at >> 3] = 1u;
    reader->at = (reader->at + 2u) & ADDRESS_MASK;
    return 0;
}

int illegal(struct reader *reader, uint32_t word)
{
    return raise_fault(reader->core, FAULT_ILLEGAL, word, 2u, word);
}

int read_index(struct reader *reader, unsigned name, uint32_t high, uint8_t *kind, uint32_t *index)
{
    uint32_t word = 0;
    const uint32_t here = reader->at;
    if (next_word(reader, &word)) {
        return 1;
    }
    const uint32_t wide = word | high << 16;
    const uint32_t narrow = (word ^ 0x8000u) - 0x8000u;
    if (name == SR) {
        *kind = AT_ABSOLUTE;
        *index = reader->extended ? wide : word;
    } else if (name == PC) {
        *kind = AT_ABSOLUTE;
        *index = reader->extended ? (here + wide) & ADDRESS_MASK : indexed_16(here, narrow);
    } else {
        *kind = reader->extended ? AT_INDEX_20 : AT_INDEX;
        *index = reader->extended ? wide : narrow;
    }
    return 0;
}

int read_source(struct reader *reader, unsigned name, unsigned mode, uint32_t high, enum single_mode *single)
{
    static const uint32_t constants[2][4] = {{0, 0, 4, 8}, {0, 1, 2, 0xFFFFF}};
    struct op *op = reader->op;
    const unsigned extra = reader->extended ? 1u : 0u;
    op->src = (uint8_t)name;
    op->read_at = (uint8_t)(2u + extra);
    if ((name == SR && mode >= 2u) || name == CG) {
        op->source_kind = AT_CONSTANT;
        op->x = constants[name == CG][mode] & mask_of(op->width);
        *single = MODE_REGISTER;
        return 0;
    }
    if (mode == 0u) {
        *single = MODE_REGISTER;
        op->source_kind = name == PC ? AT_CONSTANT : AT_REGISTER;
        op->x = reader->after & mask_of(op->width);
        return 0;
    }
    if (mode == 1u) {
        *single = name == SR ? MODE_ABSOLUTE : name == PC ? MODE_SYMBOLIC : MODE_INDEX;
        op->read_at = (uint8_t)(3u + extra);
        return read_index(reader, name, high, &op->source_kind, &op->x);
    }
    if (name == PC && mode == 3u) {
        uint32_t word = 0;
        if (next_word(reader, &word)) {
            return 1;
        }
        *single = MODE_IMMEDIATE;
        op->source_kind = AT_CONSTANT;
        op->x = (word | high << 16) & mask_of(op->width);
        return 0;
    }
    *single = mode == 2u ? MODE_INDIRECT : MODE_INCREMENT;
    op->source_kind = name == PC ? AT_ABSOLUTE : mode == 2u ? AT_INDIRECT : AT_INCREMENT;
    op->x = reader->after;
    /* SP stays even. */
    op->step = op->width == ADDRESS ? 4u : op->width == WORD || name == SP ? 2u : 1u;
    return 0;
}

static enum source_row row_of(enum single_mode mode)
{
    return mode >= MODE_INDEX ? ROW_MEMORY : (enum source_row)mode;
}

static forms *const common_forms[] = {
    &forms_of_MOV, &forms_of_ADD, &forms_of_ADDC, &forms_of_SUBC, &forms_of_SUB, &forms_of_CMP,
    0,             &forms_of_BIT, &forms_of_BIC,  &forms_of_BIS,  &forms_of_XOR, &forms_of_AND,
};

static int decode_double(struct reader *reader, uint32_t word)
{
    struct op *op = reader->op;
    const unsigned code = word >> 12;
    const unsigned name = word & 0xFu;
    enum single_mode mode = MODE_REGISTER;
    enum target_column column;
    op->code = (uint8_t)code;
    op->dst = (uint8_t)name;
    if (read_source(reader, word >> 8 & 0xFu, word >> 4 & 3u, reader->high_src, &mode)) {
        return 1;
    }
    if (word & 0x80u) {
        if (name == CG) {
            return illegal(reader, word);
        }
        column = TO_MEMORY;
        if (read_index(reader, name, reader->high_dst, &op->target_kind, &op->y)) {
            return 1;
        }
    } else {
        column = name == PC && writes(code) ? TO_PC : TO_REGISTER;
        op->target_kind = name < 4u && writes(code) ? AT_SPECIAL : AT_REGISTER;
    }
    if (reader->extended) {
        op->cycles = (uint8_t)cycles_of_extended_double_operand(code, row_of(mode), column, op->width);
        op->run = double_operand_any;
        return 0;
    }
    op->cycles = (uint8_t)cycles_of_double_operand(code, row_of(mode), column);
    if (op->target_kind == AT_SPECIAL) {
        const int is_return = word == 0x4130u;
        const int is_nop = code == MOV && name == CG && op->source_kind <= AT_CONSTANT;
        op->run = is_return ? single_return : is_nop ? no_operation : double_operand_any;
        return 0;
    }
    const unsigned target = op->target_kind == AT_REGISTER ? 0u : op->target_kind == AT_INDEX ? 1u : 2u;
    op->run = code == DADD ? double_operand_any : (*common_forms[code - MOV])[op->source_kind][target][op->width];
    return 0;
}

/* RRC, SWPB, RRA, SXT, PUSH, CALL with or without extension word. */
static int decode_single(struct reader *reader, uint32_t word)
{
    struct op *op = reader->op;
    const unsigned code = word >> 7 & 7u;
    enum single_mode mode = MODE_REGISTER;
    const int no_bytes = code == 1u || code == 3u || code == 5u;
    if ((no_bytes && (word & 0x40u) != 0u) || code > 5u || (reader->extended && code == 5u)) {
        return illegal(reader, word);
    }
    if (read_source(reader, word & 0xFu, word >> 4 & 3u, reader->high_dst, &mode)) {
        return 1;
    }
    op->code = (uint8_t)code;
    op->dst = op->src;
    if (code == 4u) {
        op->cycles = (uint8_t)(reader->extended ? cycles_of_extended_push(mode, op->width, op->src == SP)
                                                : cycles_of_push(mode));
        op->run = reader->extended ? extended_push : single_push;
        return 0;
    }
    if (code == 5u) {
        op->cycles = (uint8_t)cycles_of_call(mode);
        op->run = op->source_kind == AT_CONSTANT ? single_call_constant : single_call;
        return 0;
    }
    /* A result has no place to go to in an immediate, nor in a constant other than R3 in register mode. */
    const int in_register = (word & 0x30u) == 0u;
    if (mode == MODE_IMMEDIATE || (op->source_kind == AT_CONSTANT && !in_register)) {
        return illegal(reader, word);
    }
    if (in_register) {
        op->source_kind = AT_REGISTER;
    }
    op->cycles = (uint8_t)(reader->extended ? cycles_of_extended_rotation(mode, op->width) : cycles_of_rotation(mode));
    op->run = reader->extended ? extended_rotate : in_register ? single_rotate_register : single_rotate;
    return 0;
}

/* An extension word, 0x1800 to 0x1FFF, and the instruction behind it. */
static int decode_extended(struct reader *reader, uint32_t extension)
{
    struct op *op = reader->op;
    uint32_t word = 0;
    if (next_word(reader, &word)) {
        return 1;
    }
    reader->after = reader->at;
    reader->extended = 1;
    const int is_double = word >= 0x4000u;
    const int is_single = word >= 0x1000u && word < 0x1300u;
    const unsigned code = word >> 7 & 7u;
    const int sizeless = is_single && (code == 1u || code == 3u); /* SWPBX, SXTX: B/W is 0, A/L chooses */
    const int long_bit = (extension & 0x40u) != 0u;
    const int byte_bit = (word & 0x40u) != 0u;
    if ((!is_double && !is_single) || (extension & 0x30u) != 0u || (!long_bit && !byte_bit && !sizeless)) {
        return illegal(reader, extension);
    }
    op->width = sizeless ? (long_bit ? WORD : ADDRESS) : !long_bit ? ADDRESS : byte_bit ? BYTE : WORD;
    const int in_registers = is_double ? (word & 0xB0u) == 0u : (word & 0x30u) == 0u;
    if (in_registers) {
        if ((extension & 0x600u) != 0u) {
            return illegal(reader, extension);
        }
        op->repeat = (uint8_t)((extension & 0x8Fu));
        op->carry_zeroed = (extension & 0x100u) != 0u;
    } else {
        reader->high_src = extension >> 7 & 0xFu;
        reader->high_dst = extension & 0xFu;
    }
    return is_double ? decode_double(reader, word) : decode_single(reader, word);
}

int decode(struct core *core, uint32_t pc, struct op *op)
{
    static const struct op blank;
    struct reader reader = {core, op, pc, 0, 0, 0, 0};
    uint32_t word = 0;
    int fault = 0;

    *op = blank;
    if (next_word(&reader, &word)) {
        return 1;
    }
    reader.after = reader.at;
    op->width = WORD;
    if (word >= 0x4000u) {
        op->width = word & 0x40u ? BYTE : WORD;
        fault = decode_double(&reader, word);
    } else if (word >= 0x2000u) {
        const uint32_t offset = ((word & 0x3FFu) ^ 0x200u) - 0x200u;
        op->x = (reader.at + 2u * offset) & ADDRESS_MASK;
        op->cycles = CYCLES_OF_JUMP;
        op->run = jumps[word >> 10 & 7u];
    } else if (word >= 0x1800u) {
        fault = decode_extended(&reader, word);
    } else if (word >= 0x1400u) {
        decode_many(&reader, word);
    } else if (word >= 0x1300u) {
        fault = decode_address_call(&reader, word);
    } else if (word >= 0x1000u) {
        op->width = word & 0x40u ? BYTE : WORD;
        fault = decode_single(&reader, word);
    } else {
        fault = decode_address(&reader, word);
    }
    if (fault) {
        op->run = 0;
        return 1;
    }
    op->length = (uint8_t)((reader.at - pc) & ADDRESS_MASK);
    if (pc - NV_START < core->nv_bytes) {
        op->lines = (uint8_t)((((reader.at - 2u) & ADDRESS_MASK) >> 3) - (pc >> 3) + 1u);
    }
    return 0;
}
