#include "model.h"

#include "fm_port.h"

#include "fm_kernels.h"
#include "weights.h"

#define SCRATCH 100

FM_ARENA static int8_t arena[FM_INPUT_0_LENGTH + FM_OUTPUT_0_LENGTH];

/* An initialised variable: startup must copy it. */
extern volatile int16_t divisor;
volatile int16_t divisor = 7;

static void dense(void);
static void quotient(void);

static void dense(void)
{
    const int32_t sum = fm_dot_s8_s8(arena, weights, FM_INPUT_0_LENGTH);
    arena[FM_INPUT_0_LENGTH] = (int8_t)fm_requant(sum, 0x40000000, 3U, 1U, 2, -128, 127);
}

/* With a frame large enough to show in the stack estimate. */
static void quotient(void)
{
    volatile int16_t scratch[SCRATCH];
    for (int i = 0; i < SCRATCH; ++i) {
        scratch[i] = divisor;
    }
    arena[FM_INPUT_0_LENGTH + 1U] = (int8_t)(arena[FM_INPUT_0_LENGTH] / scratch[divisor]);
}

const fm_step fm_layers[FM_LAYER_COUNT] = {dense, quotient};

void fm_infer(void)
{
    for (unsigned i = 0; i < FM_LAYER_COUNT; ++i) {
        fm_layers[i]();
    }
}

void *fm_input(unsigned index)
{
    (void)index;
    return arena;
}

const void *fm_output(unsigned index)
{
    (void)index;
    return &arena[FM_INPUT_0_LENGTH];
}
