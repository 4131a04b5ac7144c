/* Where the Apollo4 keeps things: weights in MRAM in a section of their own, activations in TCM with the other
 * variables. */
#ifndef FM_PORT_BOARD_H
#define FM_PORT_BOARD_H

#include <stddef.h>
#include <stdint.h>

#define FM_WEIGHTS __attribute__((section(".fm_weights")))

/* The console is a trace port, which only speaks. */
#define FM_BOARD_DEAF

/* Bytes that MRAM is programmed in (fm_nv.h). */
#define FM_NV_GRANULE 16

/* Activations are in TCM; what of them must outlive the power is written to MRAM besides. */
#define FM_ARENA_IN_SRAM

/* Dot products in dot.S. */
#define FM_PORT_DOT
int32_t fm_dot_s8_s8(const int8_t *x, const int8_t *w, size_t count);
int32_t fm_dot_s16_s8(const int16_t *x, const int8_t *w, size_t count);
int32_t fm_dot_s8_s16(const int8_t *x, const int16_t *w, size_t count);
int32_t fm_dot_s16_s16(const int16_t *x, const int16_t *w, size_t count);
#define FM_PORT_DOT_BLOCK
int32_t fm_dot_block_s8_s8(const int8_t *x, const uint8_t *row, size_t blocks);
int32_t fm_dot_block_s16_s8(const int16_t *x, const uint8_t *row, size_t blocks);

#endif
