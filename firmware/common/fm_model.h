/* How a program uses a compiled model. The same for every model; sizes and formats are in the model's own model.h.
 *
 *     memcpy(fm_input(0), samples, FM_INPUT_0_LENGTH * sizeof(fm_input_0_t));
 *     fm_infer();
 *     const fm_output_0_t *scores = fm_output(0);
 *
 * Writing an input while an inference runs spoils it; inputs are consumed, so write them anew before each run. */
#ifndef FM_MODEL_H
#define FM_MODEL_H

#include <stddef.h>
#include <stdint.h>

/* One layer of the model, or one step of an inference. */
typedef void (*fm_step)(void);

/* Where to put input number `index`; any larger index means the last. */
void *fm_input(unsigned index);

/* Output number `index`, valid after fm_infer until the next input is written. */
const void *fm_output(unsigned index);

/* Run all layers, once each, in order. To run them one by one, call the entries of fm_layers. */
void fm_infer(void);

#endif
