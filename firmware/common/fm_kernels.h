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

/* fm_unpack4, fm_unpack2: `count` weights from 4 or 2 bits each, the lowest bits of a byte first; `book` holds what the
 * bits stand for. A port may bring its own. */
#ifndef FM_PORT_UNPACK
static inline void fm_unpack4(int8_t *to, const uint8_t *from, size_t count, const int8_t *book)
{
    for (; count > 1U; count -= 2U) {
        const unsigned pair = *from++;
        *to++ = book[pair & 15U];
        *to++ = book[pair >> 4];
    }
    if (count != 0U) {
        *to = book[*from & 15U];
    }
}

static inline void fm_unpack2(int8_t *to, const uint8_t *from, size_t count, const int8_t *book)
{
    for (; count > 3U; count -= 4U) {
        const unsigned four = *from++;
        *to++ = book[four & 3U];
        *to++ = book[(four >> 2) & 3U];
        *to++ = book[(four >> 4) & 3U];
        *to++ = book[four >> 6];
    }
    for (unsigned rest = count != 0U ? *from : 0U; count != 0U; --count, rest >>= 2) {
        *to++ = book[rest & 3U];
    }
}
#endif

/* fm_dot_delta_<x>_s8: dot product with a row of `entries` weights, each behind the number of zeros ahead of it.
 *
 * fm_dot_bitmap_<x>_s8: the same with a row of `size` bytes of bits, the lowest first: each that is set has a weight,
 * the next of `w`. A port may bring its own of both.
 *
 * fm_dot_block_<x>_s8: the same with a row of so many blocks (not 0) of four weights: a byte of bits for every eight of
 * them, the lowest first, and behind it those whose bit is set. A port may bring its own. */
#define FM_DEFINE_DOT_SPARSE(name, x_t)                                                                                \
    static inline int32_t fm_dot_delta_##name(const x_t *x, const uint8_t *row, size_t entries)                        \
    {                                                                                                                  \
        int32_t sum = 0;                                                                                               \
        for (; entries != 0U; --entries) {                                                                             \
            x += *row++;                                                                                               \
            sum += fm_mul16(*x++, (int8_t)*row++);                                                                     \
        }                                                                                                              \
        return sum;                                                                                                    \
    }                                                                                                                  \
                                                                                                                       \
    static inline int32_t fm_dot_bitmap_##name(const x_t *x, const uint8_t *bits, const uint8_t *w, size_t size)       \
    {                                                                                                                  \
        int32_t sum = 0;                                                                                               \
        for (; size != 0U; --size, x += 8) {                                                                           \
            const x_t *next = x;                                                                                       \
            for (unsigned left = *bits++; left != 0U; left >>= 1, ++next) {                                            \
                if ((left & 1U) != 0U) {                                                                               \
                    sum += fm_mul16(*next, (int8_t)*w++);                                                              \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

#define FM_DEFINE_DOT_BLOCK(name, x_t)                                                                                 \
    static inline int32_t fm_dot_block_##name(const x_t *x, const uint8_t *row, size_t blocks)                         \
    {                                                                                                                  \
        int32_t sum = 0;                                                                                               \
        unsigned kept = 1U; /* bits of the blocks ahead, and one above them */                                         \
        for (; blocks != 0U; --blocks, x += 4, kept >>= 1) {                                                           \
            if (kept == 1U) {                                                                                          \
                kept = 0x100U | *row++;                                                                                \
            }                                                                                                          \
            if ((kept & 1U) != 0U) {                                                                                   \
                sum += fm_mul16(x[0], (int8_t)row[0]);                                                                 \
                sum += fm_mul16(x[1], (int8_t)row[1]);                                                                 \
                sum += fm_mul16(x[2], (int8_t)row[2]);                                                                 \
                sum += fm_mul16(x[3], (int8_t)row[3]);                                                                 \
                row += 4;                                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        return sum;                                                                                                    \
    }

#ifndef FM_PORT_DOT_BLOCK
FM_DEFINE_DOT_BLOCK(s8_s8, int8_t)
FM_DEFINE_DOT_BLOCK(s16_s8, int16_t)
#endif

#ifndef FM_PORT_DOT_SPARSE
FM_DEFINE_DOT_SPARSE(s8_s8, int8_t)
FM_DEFINE_DOT_SPARSE(s16_s8, int16_t)
#endif

/* Where a window sits in a channels-last map: counts in taps, and in elements how far it is from one thing to the
 * next. */
typedef struct fm_window {
    int in_h; /* rows and columns of the map */
    int in_w;
    int kernel_h;
    int dilation_h;
    int dilation_w;
    int reach_w;     /* columns from the first tap to the last */
    size_t channels; /* elements taken from each pixel */
    size_t pixel;    /* elements of a pixel */
    size_t pitch;    /* elements of a row of the map */
    size_t row;      /* elements of a row of the patch */
    size_t next_tap; /* from one tap to the next, in the map */
    size_t next_row; /* from one row of taps to the next, in the map */
} fm_window;

/* fm_copy_<x>: copy `count` elements; returns the place behind the last. A port may bring its own. */
#define FM_DEFINE_COPY(name, x_t)                                                                                      \
    static inline x_t *fm_copy_##name(x_t *to, const x_t *from, size_t count)                                          \
    {                                                                                                                  \
        for (; count != 0U; --count) {                                                                                 \
            *to++ = *from++;                                                                                           \
        }                                                                                                              \
        return to;                                                                                                     \
    }

#ifndef FM_PORT_COPY
FM_DEFINE_COPY(s8, int8_t)
FM_DEFINE_COPY(s16, int16_t)
#endif

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
    static inline void fm_gather_##name(const fm_window *g, const x_t *in, int y, int x, x_t pad, x_t *patch)          \
    {                                                                                                                  \
        size_t left = 0; /* elements of a row of the patch outside the map, at either end */                           \
        size_t right = 0;                                                                                              \
        for (int last = x + g->reach_w; last >= g->in_w && right < g->row; last -= g->dilation_w) {                    \
            right += g->channels;                                                                                      \
        }                                                                                                              \
        for (; x < 0 && left + right < g->row; x += g->dilation_w) {                                                   \
            left += g->channels;                                                                                       \
        }                                                                                                              \
        const size_t inside = g->row - left - right;                                                                   \
        size_t offset = (size_t)y * g->pitch + (size_t)x * g->pixel; /* wraps while y is above the map, unused there */\
        for (int ky = 0; ky < g->kernel_h; ++ky, y += g->dilation_h, offset += g->next_row) {                          \
            if (y < 0 || y >= g->in_h || inside == 0U) {                                                               \
                patch = fm_fill_##name(patch, pad, g->row);                                                            \
                continue;                                                                                              \
            }                                                                                                          \
            const x_t *tap = in + offset;                                                                              \
            patch = fm_fill_##name(patch, pad, left);                                                                  \
            if (g->next_tap == g->channels) {                                                                          \
                patch = fm_copy_##name(patch, tap, inside);                                                            \
            } else {                                                                                                   \
                for (size_t done = 0; done < inside; done += g->channels, tap += g->next_tap) {                        \
                    patch = fm_copy_##name(patch, tap, g->channels);                                                   \
                }                                                                                                      \
            }                                                                                                          \
            patch = fm_fill_##name(patch, pad, right);                                                                 \
        }                                                                                                              \
    }

FM_DEFINE_GATHER(s8, int8_t)
FM_DEFINE_GATHER(s16, int16_t)

#endif
