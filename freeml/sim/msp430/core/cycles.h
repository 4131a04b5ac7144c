/* How long instructions take: the tables of the chapter "CPUX", for CPU version 2 (the one in FRAM devices). */
#ifndef M430_CYCLES_H
#define M430_CYCLES_H

#include "machine.h"

/* Columns of the tables by source: memory stands for x(Rn), EDE and &EDE. */
enum source_row { ROW_REGISTER, ROW_INDIRECT, ROW_INCREMENT, ROW_IMMEDIATE, ROW_MEMORY, ROWS };
enum target_column { TO_REGISTER, TO_PC, TO_MEMORY, COLUMNS };

unsigned cycles_of_double_operand(unsigned code, enum source_row source, enum target_column target);
unsigned cycles_of_extended_double_operand(
    unsigned code, enum source_row source, enum target_column target, unsigned width);

/* `mode` is a column of the tables of single-operand instructions. */
enum single_mode {
    MODE_REGISTER,
    MODE_INDIRECT,
    MODE_INCREMENT,
    MODE_IMMEDIATE,
    MODE_INDEX,
    MODE_SYMBOLIC,
    MODE_ABSOLUTE
};

unsigned cycles_of_rotation(enum single_mode mode);
unsigned cycles_of_push(enum single_mode mode);
unsigned cycles_of_call(enum single_mode mode);
unsigned cycles_of_extended_rotation(enum single_mode mode, unsigned width);
unsigned cycles_of_extended_push(enum single_mode mode, unsigned width, int by_sp);
unsigned cycles_of_address_call(enum single_mode mode, int by_sp);
unsigned cycles_of_address_move(enum source_row source, enum target_column target);

#define CYCLES_OF_JUMP 2u               /* 4.5.1.5.3 */
#define CYCLES_OF_RETI 5u               /* table 4-8 */
#define CYCLES_OF_INTERRUPT 6u          /* table 4-8: from acceptance to the handler's first instruction */
#define CYCLES_OF_ADDRESS_IMMEDIATE 3u  /* table 4-19: ADDA, SUBA, CMPA #N, to Rm and to PC alike */
#define CYCLES_OF_ADDRESS_REGISTER 1u   /* table 4-19: Rn to Rn */
#define CYCLES_OF_ADDRESS_REGISTER_PC 3u

#endif
