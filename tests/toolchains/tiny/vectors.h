#ifndef FM_VECTORS_H
#define FM_VECTORS_H

#include "model.h"

#define FM_MODEL_ID "0123abcd"
#define FM_VECTOR_COUNT 2U
#define FM_EACH_INPUT(x) x(0)
#define FM_EACH_OUTPUT(x) x(0)
extern const fm_input_0_t fm_vector_input_0[FM_VECTOR_COUNT][FM_INPUT_0_LENGTH];
extern const fm_output_0_t fm_vector_output_0[FM_VECTOR_COUNT][FM_OUTPUT_0_LENGTH];

#endif
