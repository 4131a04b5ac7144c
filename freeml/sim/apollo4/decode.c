/* What the simulator must know of a Thumb instruction before the engine executes it. Encodings: Armv7-M Architecture
 * Reference Manual (DDI 0403), chapter A5 "The Thumb Instruction Set Encoding". */
#include "hooks.h"

#define SP 13u

uint32_t a4_instruction_bytes(uint16_t first)
{
    return first >= 0xE800u ? 4u : 2u;
}

unsigned a4_base_register(uint16_t first)
{
    return a4_instruction_bytes(first) == 4u ? first & 15u : (first >> 8) & 7u;
}

static unsigned decode_16(unsigned code)
{
    if (code >> 12 == 12u) { /* STM, LDM */
        return A4_ALIGNED;
    }
    if ((code & 0xFF00u) == 0xBF00u && (code & 15u) != 0u) {
        return A4_IT;
    }
    if (code == 0xBF20u || code == 0xBF30u) {
        return A4_SLEEPS;
    }
    /* PUSH; SUB SP, #n; MOV SP, Rm; ADD SP, Rm */
    if ((code & 0xFE00u) == 0xB400u || (code & 0xFF80u) == 0xB080u || (code & 0xFF87u) == 0x4685u ||
        (code & 0xFF87u) == 0x4485u) {
        return A4_MOVES_SP;
    }
    return 0;
}

/* STM, LDM, STRD, LDRD, and among the same encodings exclusive accesses and table branches. */
static unsigned decode_multiple(unsigned first, unsigned second)
{
    const unsigned base = first & 15u;
    const int exclusive = (first & 0xFE40u) == 0xE840u && (first & 0x0120u) == 0u;
    const int word_exclusive = (first & 0xFFE0u) == 0xE840u;
    unsigned marks = 0;
    if (base != SP && base != 15u && (!exclusive || word_exclusive)) {
        marks |= A4_ALIGNED;
    }
    if (base == SP && !exclusive && (first & 0x20u) != 0u) {
        marks |= A4_MOVES_SP;
    }
    /* No compiler loads SP, but the encodings exist: a list with it, or one of two registers. */
    if ((first & 0x10u) != 0u &&
        ((first & 0x40u) == 0u ? (second & 0x2000u) != 0u : second >> 12 == SP || ((second >> 8) & 15u) == SP)) {
        marks |= A4_MOVES_SP;
    }
    return marks;
}

/* Coprocessors 10 and 11. VLDR, VSTR, VLDM and VSTM go to memory; among their encodings are moves of two registers. */
static unsigned decode_float(unsigned first)
{
    const unsigned base = first & 15u;
    unsigned marks = A4_FLOAT;
    if ((first & 0xFE00u) == 0xEC00u && (first & 0xFFE0u) != 0xEC40u) {
        if (base != SP && base != 15u) {
            marks |= A4_ALIGNED;
        }
        if (base == SP && (first & 0x20u) != 0u) {
            marks |= A4_MOVES_SP;
        }
    }
    return marks;
}

/* Loads and stores of one item: the index may be written back, and a load may have SP as its target. */
static int single_moves_sp(unsigned first, unsigned second)
{
    const int writes_back = (first & 0x80u) == 0u && (second & 0x0900u) == 0x0900u;
    const int loads = (first & 0x10u) != 0u;
    return ((first & 15u) == SP && writes_back) || (loads && second >> 12 == SP);
}

static unsigned decode_32(unsigned first, unsigned second)
{
    if ((first & 0xFE00u) == 0xE800u) {
        return decode_multiple(first, second);
    }
    if ((first & 0xEC00u) == 0xEC00u && (second & 0x0E00u) == 0x0A00u) {
        return decode_float(first);
    }
    if ((first & 0xFE00u) == 0xF800u) {
        return single_moves_sp(first, second) ? A4_MOVES_SP : 0;
    }
    if ((first & 0xF800u) == 0xF000u && (second & 0x8000u) != 0u) {
        if ((first & 0xFFF0u) == 0xF3A0u && (second == 0x8002u || second == 0x8003u)) {
            return A4_SLEEPS; /* WFE.W, WFI.W */
        }
        return (first & 0xFFE0u) == 0xF380u ? A4_MOVES_SP : 0; /* MSR */
    }
    /* Data processing: Rd where ADD, SUB and MOV of SP have it, and the low half of a long product. */
    return ((second >> 8) & 15u) == SP || ((first & 0xFF80u) == 0xFB80u && second >> 12 == SP) ? A4_MOVES_SP : 0;
}

uint8_t a4_decode(uint16_t first, uint16_t second)
{
    const unsigned marks = a4_instruction_bytes(first) == 4u ? decode_32(first, second) : decode_16(first);
    return (uint8_t)(marks | A4_DECODED);
}
