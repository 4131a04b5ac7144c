/* The functions that execute decoded instructions, and how the decoder finds them. */
#ifndef M430_HANDLERS_H
#define M430_HANDLERS_H

#include "machine.h"

/* [source kind][register, index, absolute][byte, word]: the common double-operand instructions. DADD has no such
 * forms. */
typedef handler *const forms[6][3][2];
extern forms forms_of_MOV, forms_of_ADD, forms_of_ADDC, forms_of_SUBC, forms_of_SUB, forms_of_CMP, forms_of_BIT,
    forms_of_BIC, forms_of_BIS, forms_of_XOR, forms_of_AND;

handler double_operand_any; /* all others: extended, repeated, address instructions; those that write PC, SP or SR */
handler single_rotate;      /* RRC, SWPB, RRA, SXT */
handler single_rotate_register;
handler single_push;
handler single_call;
handler single_call_constant;
handler single_return; /* RET: MOV @SP+, PC */
handler return_from_interrupt;
handler no_operation;

extern handler *const jumps[8];

handler extended_rotate; /* RRCX, RRAX, RRUX, SWPBX, SXTX */
handler extended_push;
handler push_many;
handler pop_many;
handler rotate_many; /* RRCM, RRAM, RLAM, RRUM */
handler address_call;

enum rotation { ROTATE_RRC, ROTATE_SWPB, ROTATE_RRA, ROTATE_SXT };

#endif
