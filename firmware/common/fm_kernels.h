/* The loops every layer is made of: dot products and gathering of windows. */
#ifndef FM_KERNELS_H
#define FM_KERNELS_H

#include "fm_math.h"

/* Dot products of `count` pairs; the compiler of the net has proved that no sum can overflow.
 * Names: element type of the activations, then of the weights. `_wide` sums in 64 bits. */
int32_t fm_dot_s8_s8(const int8_t *x, const int8_t *w, size_t count);
int32_t fm_dot_s16_s8(const int16_t *x, const int8_t *w, size_t count);
int32_t fm_dot_s8_s16(const int8_t *x, const int16_t *w, size_t count);
int32_t fm_dot_s16_s16(const int16_t *x, const int16_t *w, size_t count);
int64_t fm_dot_s16_s8_wide(const int16_t *x, const int8_t *w, size_t count);
int64_t fm_dot_s8_s16_wide(const int8_t *x, const int16_t *w, size_t count);
int64_t fm_dot_s16_s16_wide(const int16_t *x, const int16_t *w, size_t count);

/* The same over every `stride`-th element of both operands: one channel of a depthwise window. */
int32_t fm_dot_strided_s8_s8(const int8_t *x, const int8_t *w, size_t count, size_t stride);
int32_t fm_dot_strided_s16_s8(const int16_t *x, const int8_t *w, size_t count, size_t stride);
int32_t fm_dot_strided_s8_s16(const int8_t *x, const int16_t *w, size_t count, size_t stride);
int32_t fm_dot_strided_s16_s16(const int16_t *x, const int16_t *w, size_t count, size_t stride);
int64_t fm_dot_strided_s16_s16_wide(const int16_t *x, const int16_t *w, size_t count, size_t stride);

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

/* Copy the window whose first tap is at row y, column x (they may lie outside the map) to `patch`; taps outside become `pad`. */
void fm_gather_s8(const fm_window *g, const int8_t *in, int y, int x, int8_t pad, int8_t *patch);
void fm_gather_s16(const fm_window *g, const int16_t *in, int y, int x, int16_t pad, int16_t *patch);

#endif
