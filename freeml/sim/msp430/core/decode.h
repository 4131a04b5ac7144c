#ifndef M430_DECODE_H
#define M430_DECODE_H

#include "machine.h"

/* Decodes the instruction at `pc` (even). Not 0: a fault. */
int decode(struct core *core, uint32_t pc, struct op *op);

/* Whether instructions may lie there. */
int executable(const struct core *core, uint32_t address);

#endif
