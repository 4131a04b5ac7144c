#ifndef FM_VECTORS_H
#define FM_VECTORS_H

#include "model.h"

#define FM_VECTOR_COUNT 2U
extern const fm_input_0_t fm_vector_input_0[FM_VECTOR_COUNT][FM_INPUT_0_LENGTH];
extern const fm_output_0_t fm_vector_output_0[FM_VECTOR_COUNT][FM_OUTPUT_0_LENGTH];

#endif
