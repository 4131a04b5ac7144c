#include "vectors.h"

/* The sums are 794, which saturates, and 22, to which the zero point 2 is added; then both are divided by 7. */
const fm_input_0_t fm_vector_input_0[FM_VECTOR_COUNT][FM_INPUT_0_LENGTH] = {
    {1, 2, 3, 4, 5, 6, 7, 8},
    {-1, 2, -3, 4, 5, 6, 7, 0},
};
const fm_output_0_t fm_vector_output_0[FM_VECTOR_COUNT][FM_OUTPUT_0_LENGTH] = {
    {127, 18},
    {24, 3},
};
