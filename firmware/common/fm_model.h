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

/* fm_start and fm_run. */
void fm_infer(void);

/* Output number `index` of the last inference that ended, or NULL before the first has. It stays, across resets and
 * while the next inference runs, until that one has ended; any larger index means the last. */
const void *fm_output(unsigned index);

#endif
