/* The loops every layer is made of: dot products and gathering of windows. They are inline, so that a compiler that
 * optimises for speed knows each loop's length, and one that optimises for size keeps a single copy. */
#ifndef FM_KERNELS_H
#define FM_KERNELS_H

#include "fm_math.h"

/* fm_dot_<x>_<w>: dot product of `count` pairs of activations and weights; the compiler of the net has proved that no
 * sum can overflow, and `_wide` ones sum in 64 bits. A port may bring its own of those that sum in 32 bits.
 *
 * fm_dot_strided_<x>_<w>: the same over every `stride`-th element of both: one channel of a depthwise window. */
#define FM_DEFINE_DOT(name, sum_t, x_t, w_t)                                                                           \
    static inline sum_t fm_dot_##name(const x_t *x, const w_t *w, size_t count)                                        \
    {                                                                                                                  \
        sum_t sum = 0;                                                                                                 \
        for (; count != 0U; --count) {                                                                                 \
            sum += fm_mul16(*x++, *w++);                                                                               \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

#define FM_DEFINE_DOT_STRIDED(name, sum_t, x_t, w_t)                                                                   \
    static inline sum_t fm_dot_strided_##name(const x_t *x, const w_t *w, size_t count, size_t stride)                 \
    {                                                                                                                  \
        sum_t sum = 0;                                                                                                 \
        for (; count != 0U; --count) {                                                                                 \
            sum += fm_mul16(*x, *w);                                                                                   \
            x += stride;                                                                                               \
            w += stride;                                                                                               \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

#ifndef FM_PORT_DOT
FM_DEFINE_DOT(s8_s8, int32_t, int8_t, int8_t)
FM_DEFINE_DOT(s16_s8, int32_t, int16_t, int8_t)
FM_DEFINE_DOT(s8_s16, int32_t, int8_t, int16_t)
FM_DEFINE_DOT(s16_s16, int32_t, int16_t, int16_t)
#endif
#ifndef FM_PORT_DOT_STRIDED
FM_DEFINE_DOT_STRIDED(s8_s8, int32_t, int8_t, int8_t)
FM_DEFINE_DOT_STRIDED(s16_s8, int32_t, int16_t, int8_t)
FM_DEFINE_DOT_STRIDED(s8_s16, int32_t, int8_t, int16_t)
FM_DEFINE_DOT_STRIDED(s16_s16, int32_t, int16_t, int16_t)
#endif
FM_DEFINE_DOT(s8_s8_wide, int64_t, int8_t, int8_t)
FM_DEFINE_DOT(s16_s8_wide, int64_t, int16_t, int8_t)
FM_DEFINE_DOT(s8_s16_wide, int64_t, int8_t, int16_t)
FM_DEFINE_DOT(s16_s16_wide, int64_t, int16_t, int16_t)
FM_DEFINE_DOT_STRIDED(s8_s8_wide, int64_t, int8_t, int8_t)
FM_DEFINE_DOT_STRIDED(s16_s8_wide, int64_t, int16_t, int8_t)
FM_DEFINE_DOT_STRIDED(s8_s16_wide, int64_t, int8_t, int16_t)
FM_DEFINE_DOT_STRIDED(s16_s16_wide, int64_t, int16_t, int16_t)

/* Where a window sits in a channels-last map. `channels` elements are taken from each pixel of `pixel` elements. */
typedef struct fm_window {
    int in_h;
    int in_w;
    int kernel_h;
    int kernel_w;
    int dilation_h;
    int dilation_w;
    size_t channels;
    size_t pixel;
} fm_window;

/* fm_gather_<x>: copy the window whose first tap is at row y, column x (they may lie outside the map) to `patch`, row
 * by row; taps outside become `pad`. */
#define FM_DEFINE_GATHER(name, x_t)                                                                                    \
    static inline x_t *fm_fill_##name(x_t *to, x_t value, size_t count)                                                \
    {                                                                                                                  \
        for (; count != 0U; --count) {                                                                                 \
            *to++ = value;                                                                                             \
        }                                                                                                              \
        return to;                                                                                                     \
    }                                                                                                                  \
                                                                                                                       \
    static inline x_t *fm_copy_##name(x_t *to, const x_t *from, size_t count)                                          \
    {                                                                                                                  \
        for (; count != 0U; --count) {                                                                                 \
            *to++ = *from++;                                                                                           \
        }                                                                                                              \
        return to;                                                                                                     \
    }                                                                                                                  \
                                                                                                                       \
    static inline void fm_gather_##name(const fm_window *g, const x_t *in, int y, int x, x_t pad, x_t *patch)          \
    {                                                                                                                  \
        const size_t step = (size_t)g->dilation_w * g->pixel;                                                          \
        int first = 0; /* taps first..last-1 of a row lie inside the map */                                            \
        int last = g->kernel_w;                                                                                        \
        while (first < last && x + first * g->dilation_w < 0) {                                                        \
            ++first;                                                                                                   \
        }                                                                                                              \
        while (last > first && x + (last - 1) * g->dilation_w >= g->in_w) {                                            \
            --last;                                                                                                    \
        }                                                                                                              \
        for (int ky = 0; ky < g->kernel_h; ++ky, y += g->dilation_h) {                                                 \
            if (y < 0 || y >= g->in_h || first == last) {                                                              \
                patch = fm_fill_##name(patch, pad, (size_t)g->kernel_w * g->channels);                                 \
                continue;                                                                                              \
            }                                                                                                          \
            patch = fm_fill_##name(patch, pad, (size_t)first * g->channels);                                           \
            const x_t *tap = in + ((size_t)y * (size_t)g->in_w + (size_t)(x + first * g->dilation_w)) * g->pixel;      \
            if (step == g->channels) {                                                                                 \
                patch = fm_copy_##name(patch, tap, (size_t)(last - first) * step);                                     \
            } else {                                                                                                   \
                for (int kx = first; kx < last; ++kx, tap += step) {                                                   \
                    patch = fm_copy_##name(patch, tap, g->channels);                                                   \
                }                                                                                                      \
            }                                                                                                          \
            patch = fm_fill_##name(patch, pad, (size_t)(g->kernel_w - last) * g->channels);                            \
        }                                                                                                              \
    }

FM_DEFINE_GATHER(s8, int8_t)
FM_DEFINE_GATHER(s16, int16_t)

#endif
