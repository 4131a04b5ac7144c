/* net: sizes and number formats of the model; how to run it is in fm_model.h.
 *
 * A real number is scale * (q - zero point); quantize inputs as floor(x / scale + 0.5) + zero point, saturated.
 *
 * Generated for a golden file. */
#ifndef FM_MODEL_GENERATED_H
#define FM_MODEL_GENERATED_H

#include "fm_model.h"
#include "fm_run.h"

#define FM_LAYER_COUNT 5U
#define FM_INPUT_COUNT 1U
#define FM_OUTPUT_COUNT 1U
#define FM_EXIT_COUNT 0U

/* x: int8[1x2x8x8] scale 0.0294118 zero -5 */
typedef int8_t fm_input_0_t;
#define FM_INPUT_0_LENGTH 128U

/* v9: int8[1x3] scale 0.00980392 zero -13 */
typedef int8_t fm_output_0_t;
#define FM_OUTPUT_0_LENGTH 3U

/* For the runtime. State in non-volatile memory that bears this number is this program's: a hash of all its parts. */
#define FM_IDENTITY 0xC42F662DUL
#define FM_REGION_COUNT 5U

extern const fm_layer fm_layers[FM_LAYER_COUNT];
extern const fm_span fm_inputs[FM_INPUT_COUNT];
extern const fm_span fm_outputs[FM_OUTPUT_COUNT];

#endif
