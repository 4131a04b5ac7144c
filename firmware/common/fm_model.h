/* How a program uses a compiled model. The same for every model; sizes and formats are in the model's own model.h.
 *
 *     fm_boot();
 *     for (;;) {
 *         if (!fm_pending()) {
 *             memcpy(fm_input(0), samples, FM_INPUT_0_LENGTH * sizeof(fm_input_0_t));
 *             fm_start();
 *         }
 *         fm_run();
 *         const fm_output_0_t *scores = fm_output(0);
 *     }
 *
 * The supply may fail at any instant: after the next reset fm_boot finds out how far the inference was, and fm_run goes
 * on from there. The answer is the one that an uninterrupted run gives. */
#ifndef FM_MODEL_H
#define FM_MODEL_H

#include <stddef.h>
#include <stdint.h>

/* Call once after every reset, before anything else: finds out what was under way. State that another model left
 * behind counts as none. */
void fm_boot(void);

/* Whether an inference was started and has not ended. */
int fm_pending(void);

/* Where to put input number `index`; any larger index means the last. An inference under way is given up for good: what
 * is written here would spoil it. Inputs are consumed, so write them anew before each fm_start. */
void *fm_input(unsigned index);

/* The inputs are complete: from here on the inference survives. */
void fm_start(void);

/* Bring the inference under way to its end; nothing where there is none. */
void fm_run(void);

/* One step of that: a region, or, behind the last, the outputs. Whether there is more to do. */
int fm_advance(void);

/* fm_start and fm_run. */
void fm_infer(void);

/* Output number `index` of the last inference that ended, or NULL before the first has. It stays, across resets and
 * while the next inference runs, until that one has ended; any larger index means the last. */
const void *fm_output(unsigned index);

/* What follows is for models that were compiled with exits: FM_EXIT_COUNT in model.h. */

/* When an inference ends at an exit. What thresholds mean, by kind: the least margin between the two largest scores;
 * the entropy, in 1/1024 nat, below which it ends; nothing for patience; the entropy again; the least share of
 * validation samples with such a margin that were right, 0..255. 0xFFFF is a margin and a share that nothing reaches.
 */
#define FM_POLICY_NONE 0U        /* always run to the end */
#define FM_POLICY_CONFIDENCE 1U  /* the margin */
#define FM_POLICY_ENTROPY 2U     /* the entropy */
#define FM_POLICY_PATIENCE 3U    /* as many exits in a row agree */
#define FM_POLICY_LABEL_FREE 4U  /* the entropy, against one threshold that was set without labels */
#define FM_POLICY_RELIABILITY 5U /* the table of how often such answers were right */

/* The rule (struct fm_policy, in model.h): its kind; how many exits must agree; the first and the last exit that may
 * end an inference; whether the energy left may, see fm_energy_left; a threshold for each exit. */
typedef struct fm_policy fm_policy;

/* The rule of the next inference, to be changed between fm_boot, which sets it to what was compiled, and fm_start,
 * which keeps it: a power failure changes nothing of the rule of an inference under way. */
fm_policy *fm_next_policy(void);

/* Where the rule has `energy`: a function of the program that says how many nanojoules may be spent before the answer
 * is due. From the first exit on an inference ends, with the answer of the last exit passed, when that does not pay for
 * the next region. NULL, as it is after every reset, means that there is always enough. */
extern uint32_t (*fm_energy_left)(void);

/* Why an inference ended. */
#define FM_REASON_END 0U
#define FM_REASON_RULE 1U
#define FM_REASON_ENERGY 2U

/* The class; the exit that gave it (FM_EXIT_COUNT for the end of the net); why there; how often, of 255, answers as
 * sure as this were right on validation samples. The last output of the model is one of these. Outputs that an
 * inference did not come to are zeros. */
typedef struct fm_answer {
    uint16_t answer;
    uint16_t exit;
    uint16_t reason;
    uint16_t confidence;
} fm_answer;

/* The answer of the last inference that ended, or NULL: as fm_output. */
const fm_answer *fm_answered(void);

/* The answer of the inference under way, were it to end now: whether an exit was passed, and what it says. */
int fm_best(fm_answer *answer);

#endif
