/* Where an inference may end early: the exits' tables (generated), the rule, and what both say of scores. Only for
 * models compiled with exits; DESIGN.md says why a power failure changes nothing of it. */
#ifndef FM_EXITS_H
#define FM_EXITS_H

#include <stdint.h>

#include "fm_model.h"

/* Bins of a reliability table, and the threshold at which no margin and no reliability ends an inference. */
#define FM_EXIT_BINS 16U
#define FM_NEVER 0xFFFFU

/* An exit: the number of the layer that ends its scores, where those lie in the arena (bytes), whether they have 16
 * bits and not 8; sixteenths of a nat for 65,536 units of scores; how often answers were right on validation samples,
 * by the margin shifted right. One more entry behind the exits is the net's own output. */
typedef struct fm_exit {
    unsigned layer;
    unsigned at;
    unsigned wide;
    uint16_t steps;
    uint16_t shift;
    const uint8_t *right;
} fm_exit;

/* The rule of the next inference; lost with the supply. */
extern fm_policy fm_policy_chosen;

/* Makes the rule that was compiled that of the next inference. */
void fm_policy_reset(void);

/* The rule of the inference under way, kept in non-volatile memory, where fm_start put it. */
const fm_policy *fm_policy_kept(void);

/* Whether the rule of the inference under way ends it at an exit whose scores are complete. */
int fm_exit_stops(unsigned exit);

/* What an inference answers that ends at an exit, or, behind the last, at its end. */
void fm_exit_answer(unsigned exit, unsigned reason, fm_answer *answer);

/* Copies the rule of the next inference to non-volatile memory; none may be under way. */
void fm_policy_keep(void);

#endif
