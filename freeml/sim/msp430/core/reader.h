/* What the two halves of the decoder share. */
#ifndef M430_READER_H
#define M430_READER_H

#include "alu.h"
#include "cycles.h"
#include "handlers.h"
#include "memory.h"

struct reader {
    struct core *core;
    struct op *op;
    uint32_t at;       /* the next word */
    uint32_t after;    /* PC as the source operand sees it: behind the opcode */
    int extended;      /* an extension word came first */
    uint32_t high_src; /* its bits 19:16 for the source and the destination */
    uint32_t high_dst;
};

int next_word(struct reader *reader, uint32_t *word);
int illegal(struct reader *reader, uint32_t word);

/* The extra word of an indexed, symbolic or absolute operand. */
int read_index(struct reader *reader, unsigned name, uint32_t high, uint8_t *kind, uint32_t *index);

/* A source, or the operand of a single-operand instruction. Fills src, source_kind, x, step and read_at. */
int read_source(struct reader *reader, unsigned name, unsigned mode, uint32_t high, enum single_mode *single);

int decode_address_call(struct reader *reader, uint32_t word); /* words 0x1300 to 0x13FF: RETI and CALLA */
int decode_address(struct reader *reader, uint32_t word);      /* 0x0000 to 0x0FFF: MOVA, CMPA, ADDA, SUBA, RRCM... */
void decode_many(struct reader *reader, uint32_t word);        /* 0x1400 to 0x17FF: PUSHM and POPM */

#endif
