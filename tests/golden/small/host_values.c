/* What goes into the model, what every layer leaves behind, what comes out, and far constants: for host/batch.c, far.c.
 *
 * Generated for a golden file. */
#include "host_values.h"

#include "fm_memory.h"
#include "model.h"
#include "weights.h"

const struct fm_host_value fm_host_inputs[FM_INPUT_COUNT] = {
    {&fm_arena.s8[0], FM_INPUT_0_LENGTH * sizeof(fm_input_0_t)},
};

const struct fm_host_value fm_host_outputs[FM_OUTPUT_COUNT] = {
    {&fm_arena.s8[48], FM_OUTPUT_0_LENGTH * sizeof(fm_output_0_t)},
};

const struct fm_host_value fm_host_layers[FM_LAYER_COUNT] = {
    {&fm_arena.s8[128], 128U}, /* x_last */
    {&fm_arena.s8[0], 64U}, /* v2 */
    {&fm_arena.s8[64], 64U}, /* v5 */
    {&fm_arena.s8[0], 48U}, /* v7 */
    {&fm_arena.s8[48], 3U}, /* v9 */
};

const struct fm_host_far fm_host_far[] = {
    {NULL, 0U, 0U},
};
