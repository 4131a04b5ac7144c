/* net: 5 layers, in order of execution, cut into 5 regions.
 *
 * Generated for a golden file. */
#include "fm_memory.h"
#include "fm_kernels.h"
#include "fm_nv.h"
#include "fm_tables.h"
#include "model.h"
#include "weights.h"

#if FM_NV_GRANULE != 2 || defined(FM_ARENA_IN_SRAM)
#error "compiled for another board's non-volatile memory"
#endif

FM_ARENA union fm_arena fm_arena;
FM_NV unsigned char fm_results[2][FM_RESULT_BYTES];
static union {
    int8_t s8[36];
    int16_t s16[18];
    int32_t s32[9];
} fm_scratch;

/* x_last_copy: Transpose (from layout)
 * reads  x: int8[1x2x8x8] scale 0.0294118 zero -5
 * writes x_last: int8[1x8x8x2] scale 0.0294118 zero -5 */
FM_LAYER static void fm_layer_x_last_copy(unsigned first, unsigned end)
{
    const int8_t *const in0 = &fm_arena.s8[0];
    int8_t *out = &fm_arena.s8[128];

    (void)first; /* one unit, always all of it */
    (void)end;
    for (size_t i0 = 0; i0 < 64U; ++i0) {
        const int8_t *const from0 = in0 + i0;
        for (size_t i1 = 0; i1 < 2U; ++i1) {
            *out++ = from0[i1 * 64U];
        }
    }
}

/* n0: Conv + MaxPool
 * reads  x_last: int8[1x8x8x2] scale 0.0294118 zero -5
 * writes v2: int8[1x4x4x4] scale 0.0147059 zero -128 */
FM_LAYER static void fm_layer_n0(unsigned first, unsigned end)
{
    const int8_t *const in0 = &fm_arena.s8[128];
    int8_t *out = &fm_arena.s8[0];
    int8_t *const patch = &fm_scratch.s8[0];
    int32_t *const pixel = &fm_scratch.s32[5];

    (void)first; /* one unit, always all of it */
    (void)end;
    static const fm_window window = {
        .in_h = 8, .in_w = 8,
        .kernel_h = 3,
        .dilation_h = 1, .dilation_w = 1,
        .reach_w = 2,
        .channels = 2U, .pixel = 2U,
        .pitch = 16U, .row = 6U,
        .next_tap = 2U, .next_row = 16U,
    };
    for (int py = 0; py < 4; ++py) {
        const int y0 = fm_max(py * 2, 0);
        const int y1 = fm_min(py * 2 + 2, 8);
        for (int px = 0; px < 4; ++px) {
            const int x0 = fm_max(px * 2, 0);
            const int x1 = fm_min(px * 2 + 2, 8);
            for (int c = 0; c < 4; ++c) {
                pixel[c] = INT32_MIN;
            }
            for (int oy = y0; oy < y1; ++oy) {
                for (int ox = x0; ox < x1; ++ox) {
                    fm_gather_s8(&window, in0, oy - 1, ox - 1, -5, patch);
                    const int8_t *w = fm_n0_weights;
                    for (int c = 0; c < 4; ++c) {
                        const int32_t acc = fm_n0_bias[c] +
                            fm_dot_s8_s8(patch, w, 18U);
                        w += 18;
                        pixel[c] = fm_max32(pixel[c], acc);
                    }
                }
            }
            for (int c = 0; c < 4; ++c) {
                *out++ = (int8_t)fm_requant(pixel[c], fm_n0_multipliers[c], 0U, 5U, -128, -128, 127);
            }
        }
    }
}

/* n3: Conv + Sum
 * reads  v2: int8[1x4x4x4] scale 0.0147059 zero -128
 * writes v5: int8[1x4x4x4] scale 0.0142157 zero -128 */
FM_LAYER static void fm_layer_n3(unsigned first, unsigned end)
{
    const int8_t *const in0 = &fm_arena.s8[0];
    int8_t *out = &fm_arena.s8[64];
    int8_t *const patch = &fm_scratch.s8[0];

    (void)first; /* one unit, always all of it */
    (void)end;
    static const fm_window window = {
        .in_h = 4, .in_w = 4,
        .kernel_h = 3,
        .dilation_h = 1, .dilation_w = 1,
        .reach_w = 2,
        .channels = 4U, .pixel = 4U,
        .pitch = 16U, .row = 12U,
        .next_tap = 4U, .next_row = 16U,
    };
    size_t i = 0;
    for (int oy = 0; oy < 4; ++oy) {
        for (int ox = 0; ox < 4; ++ox) {
            fm_gather_s8(&window, in0, oy - 1, ox - 1, -128, patch);
            const int8_t *w = fm_n3_weights;
            for (int c = 0; c < 4; ++c) {
                const int32_t acc = fm_n3_bias[c] +
                    fm_dot_s8_s8(patch, w, 36U);
                w += 36;
                int32_t v = fm_requant(acc, fm_n3_multipliers[c], 1U, 1U, 0, -32768, 32767);
                v = 7575 * v + 1123145 * ((int32_t)in0[i] + 128);
                v = fm_requant(v, 2074040268, 0U, 19U, -128, -128, 127);
                *out++ = (int8_t)v;
                ++i;
            }
        }
    }
}

/* n6: Conv + Table
 * reads  v5: int8[1x4x4x4] scale 0.0142157 zero -128
 * writes v7: int8[1x4x4x3] scale 0.0078125 zero 0 */
FM_LAYER static void fm_layer_n6(unsigned first, unsigned end)
{
    const int8_t *const in0 = &fm_arena.s8[64];
    int8_t *out = &fm_arena.s8[0];

    (void)first; /* one unit, always all of it */
    (void)end;
    for (int oy = 0; oy < 4; ++oy) {
        for (int ox = 0; ox < 4; ++ox) {
            const int8_t *const patch = in0 + (size_t)(oy) * 16U + (size_t)(ox) * 4U;
            const int8_t *w = fm_n6_weights;
            for (int c = 0; c < 3; ++c) {
                const int32_t acc = fm_n6_bias[c] +
                    fm_dot_s8_s8(patch, w, 4U);
                w += 4;
                int32_t v = fm_requant(acc, fm_n6_multipliers[c], 0U, 6U, -9, -128, 127);
                v = fm_n6_table_table[(uint8_t)(v - (-128))];
                *out++ = (int8_t)v;
            }
        }
    }
}

/* n9: Dense
 * reads  v8_shaped: int8[1x48] scale 0.0078125 zero 0
 * writes v9: int8[1x3] scale 0.00980392 zero -13 */
FM_LAYER static void fm_layer_n9(unsigned first, unsigned end)
{
    const int8_t *const in0 = &fm_arena.s8[0];
    int8_t *out = &fm_arena.s8[48];

    (void)first; /* one unit, always all of it */
    (void)end;
    const int8_t *w = fm_n9_weights;
    for (int c = 0; c < 3; ++c) {
        const int32_t acc = fm_n9_bias[c] +
            fm_dot_s8_s8(in0, w, 48U);
        int32_t v = fm_requant(acc, fm_n9_multipliers[c], 0U, 7U, -13, -128, 127);
        w += 48;
        *out++ = (int8_t)v;
    }
}

const fm_layer fm_layers[FM_LAYER_COUNT] = {
    {
        fm_layer_x_last_copy,
        .units = 1U, .per_region = 1U, .regions = 1U,
        .out = 128U, .lead = 0U, .unit = 0U, .size = 128U,
    },
    {
        fm_layer_n0,
        .units = 1U, .per_region = 1U, .regions = 1U,
        .out = 0U, .lead = 0U, .unit = 0U, .size = 64U,
    },
    {
        fm_layer_n3,
        .units = 1U, .per_region = 1U, .regions = 1U,
        .out = 64U, .lead = 0U, .unit = 0U, .size = 64U,
    },
    {
        fm_layer_n6,
        .units = 1U, .per_region = 1U, .regions = 1U,
        .out = 0U, .lead = 0U, .unit = 0U, .size = 48U,
    },
    {
        fm_layer_n9,
        .units = 1U, .per_region = 1U, .regions = 1U,
        .out = 48U, .lead = 0U, .unit = 0U, .size = 3U,
    },
};

const fm_span fm_inputs[FM_INPUT_COUNT] = {
    {.at = 0U, .size = 128U, .result = 0U, .layer = 0U},
};

const fm_span fm_outputs[FM_OUTPUT_COUNT] = {
    {.at = 48U, .size = 4U, .result = 0U, .layer = 4U},
};
