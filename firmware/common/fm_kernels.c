#include "fm_kernels.h"

#define FM_DEFINE_DOT(name, sum_t, x_t, w_t)                                                                                       \
    sum_t fm_dot_##name(const x_t *x, const w_t *w, size_t count)                                                                  \
    {                                                                                                                              \
        sum_t sum = 0;                                                                                                             \
        for (; count != 0U; --count) {                                                                                             \
            sum += fm_mul16(*x++, *w++);                                                                                           \
        }                                                                                                                          \
        return sum;                                                                                                                \
    }

FM_DEFINE_DOT(s8_s8, int32_t, int8_t, int8_t)
FM_DEFINE_DOT(s16_s8, int32_t, int16_t, int8_t)
FM_DEFINE_DOT(s8_s16, int32_t, int8_t, int16_t)
FM_DEFINE_DOT(s16_s16, int32_t, int16_t, int16_t)
FM_DEFINE_DOT(s16_s8_wide, int64_t, int16_t, int8_t)
FM_DEFINE_DOT(s8_s16_wide, int64_t, int8_t, int16_t)
FM_DEFINE_DOT(s16_s16_wide, int64_t, int16_t, int16_t)

#define FM_DEFINE_DOT_STRIDED(name, sum_t, x_t, w_t)                                                                               \
    sum_t fm_dot_strided_##name(const x_t *x, const w_t *w, size_t count, size_t stride)                                           \
    {                                                                                                                              \
        sum_t sum = 0;                                                                                                             \
        for (; count != 0U; --count) {                                                                                             \
            sum += fm_mul16(*x, *w);                                                                                               \
            x += stride;                                                                                                           \
            w += stride;                                                                                                           \
        }                                                                                                                          \
        return sum;                                                                                                                \
    }

FM_DEFINE_DOT_STRIDED(s8_s8, int32_t, int8_t, int8_t)
FM_DEFINE_DOT_STRIDED(s16_s8, int32_t, int16_t, int8_t)
FM_DEFINE_DOT_STRIDED(s8_s16, int32_t, int8_t, int16_t)
FM_DEFINE_DOT_STRIDED(s16_s16, int32_t, int16_t, int16_t)
FM_DEFINE_DOT_STRIDED(s16_s16_wide, int64_t, int16_t, int16_t)

#define FM_DEFINE_GATHER(name, x_t)                                                                                                \
    static x_t *fill_##name(x_t *patch, x_t pad, size_t count)                                                                     \
    {                                                                                                                              \
        for (; count != 0U; --count) {                                                                                             \
            *patch++ = pad;                                                                                                        \
        }                                                                                                                          \
        return patch;                                                                                                              \
    }                                                                                                                              \
                                                                                                                                   \
    void fm_gather_##name(const fm_window *g, const x_t *in, int y, int x, x_t pad, x_t *patch)                                    \
    {                                                                                                                              \
        for (int ky = 0; ky < g->kernel_h; ++ky, y += g->dilation_h) {                                                             \
            if (y < 0 || y >= g->in_h) {                                                                                           \
                patch = fill_##name(patch, pad, (size_t)g->kernel_w * g->channels);                                                \
                continue;                                                                                                          \
            }                                                                                                                      \
            const x_t *const row = in + (size_t)y * (size_t)g->in_w * g->pixel;                                                    \
            int tap_x = x;                                                                                                         \
            for (int kx = 0; kx < g->kernel_w; ++kx, tap_x += g->dilation_w) {                                                     \
                if (tap_x < 0 || tap_x >= g->in_w) {                                                                               \
                    patch = fill_##name(patch, pad, g->channels);                                                                  \
                    continue;                                                                                                      \
                }                                                                                                                  \
                const x_t *tap = row + (size_t)tap_x * g->pixel;                                                                   \
                for (size_t n = g->channels; n != 0U; --n) {                                                                       \
                    *patch++ = *tap++;                                                                                             \
                }                                                                                                                  \
            }                                                                                                                      \
        }                                                                                                                          \
    }

FM_DEFINE_GATHER(s8, int8_t)
FM_DEFINE_GATHER(s16, int16_t)
