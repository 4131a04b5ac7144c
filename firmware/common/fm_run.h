/* What the generated model.c tells the runtime (fm_run.c): layers, and where values lie. DESIGN.md says why it is like
 * this, SPEC.md what is in non-volatile memory. */
#ifndef FM_RUN_H
#define FM_RUN_H

#include <stdint.h>

/* Computes units [first, end) of a layer: rows of a map, pixels, outputs, whatever it is split by. Reads the layer's
 * inputs and nothing that it writes, so that doing it again changes nothing. */
typedef void (*fm_step)(unsigned first, unsigned end);

/* A layer and the regions that it is cut into. A region is what happens between two commits. */
typedef struct fm_layer {
    fm_step run;
    unsigned units;
    unsigned per_region; /* units of a region; the last one may have fewer */
    unsigned regions;
    unsigned out;  /* where the layer's output lies in the arena; this and the following in bytes */
    unsigned lead; /* what unit 0 writes beyond the others */
    unsigned unit; /* what each unit writes, one after the other */
    unsigned size; /* all of the output, the last unit's tail included */
} fm_layer;

/* An input or output: its place in the arena, its bytes, rounded up to whole granules, its place in a result, and the
 * number of the layer that ends it. */
typedef struct fm_span {
    unsigned at;
    unsigned size;
    unsigned result;
    unsigned layer;
} fm_span;

/* The word of progress as last committed:
 *
 *     bit 15       which of the two results is the newest
 *     bit 14       whether there is one
 *     bits 13..0   0: no inference under way; n: n - 1 regions are done */
extern uint16_t fm_progress_now;

#define FM_PROGRESS_RESULT 0x8000U
#define FM_PROGRESS_VALID 0x4000U
#define FM_PROGRESS_CURSOR 0x3FFFU

#endif
