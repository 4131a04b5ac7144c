#include "fm_memory.h"
#include "fm_nv.h"
#include "model.h"

#include "fm_kernels.h"
#include "weights.h"

#define SCRATCH 100

FM_ARENA union fm_arena fm_arena;
#ifdef FM_ARENA_IN_SRAM
FM_NV unsigned char fm_kept[FM_KEPT_BYTES];
#endif
FM_NV unsigned char fm_results[2][FM_RESULT_BYTES];

#define OUT 16

/* An initialised variable: startup must copy it. */
extern volatile int16_t divisor;
volatile int16_t divisor = 7;

static void dense(unsigned first, unsigned end);
static void quotient(unsigned first, unsigned end);

static void dense(unsigned first, unsigned end)
{
    (void)first;
    (void)end;
    const int32_t sum = fm_dot_s8_s8(fm_arena.s8, weights, FM_INPUT_0_LENGTH);
    fm_arena.s8[OUT] = (int8_t)fm_requant(sum, 0x40000000, 3U, 1U, 2, -128, 127);
}

/* With a frame large enough to show in the stack estimate. */
static void quotient(unsigned first, unsigned end)
{
    (void)first;
    (void)end;
    volatile int16_t scratch[SCRATCH];
    for (int i = 0; i < SCRATCH; ++i) {
        scratch[i] = divisor;
    }
    fm_arena.s8[OUT + 1] = (int8_t)(fm_arena.s8[OUT] / scratch[divisor]);
}

/* Both write to one granule, so they are one region: the commit is after the second. */
static void both(unsigned first, unsigned end)
{
    dense(first, end);
    quotient(first, end);
}

const fm_layer fm_layers[FM_LAYER_COUNT] = {
    {both, .units = 1U, .per_region = 1U, .regions = 1U, .out = OUT, .lead = 0U, .unit = 2U, .size = 2U},
};

const fm_span fm_inputs[FM_INPUT_COUNT] = {{.at = 0U, .size = 8U, .result = 0U}};
const fm_span fm_outputs[FM_OUTPUT_COUNT] = {{.at = OUT, .size = FM_RESULT_BYTES, .result = 0U}};
