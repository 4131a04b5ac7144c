/* A model of two layers written by hand, in the shape of an emitted one. */
#ifndef FM_MODEL_GENERATED_H
#define FM_MODEL_GENERATED_H

#include "fm_model.h"
#include "fm_run.h"

#define FM_LAYER_COUNT 1U
#define FM_INPUT_COUNT 1U
#define FM_OUTPUT_COUNT 1U
#define FM_EXIT_COUNT 0U

typedef int8_t fm_input_0_t;
#define FM_INPUT_0_LENGTH 8U
typedef int8_t fm_output_0_t;
#define FM_OUTPUT_0_LENGTH 2U

#define FM_IDENTITY 0x0123ABCDUL
#define FM_REGION_COUNT 1U

extern const fm_layer fm_layers[FM_LAYER_COUNT];
extern const fm_span fm_inputs[FM_INPUT_COUNT];
extern const fm_span fm_outputs[FM_OUTPUT_COUNT];

#endif
