/* Non-volatile memory behind the port. It is read by plain loads; it is written by this one function, whatever the
 * board does to program it. A granule is what the board writes at once: a power failure leaves it as it was or as it
 * was to be, and granules are written in ascending order, so that a cut leaves some number of the first ones
 * written. */
#ifndef FM_NV_H
#define FM_NV_H

#include <stddef.h>

#include "fm_port.h"

/* A port without such a memory imitates that of the board which the model was compiled for. */
#ifdef FM_NV_IMITATED
#include "fm_target.h"
#endif

/* Bytes of a granule. A board whose granule is larger than a 16-bit word says so in its fm_port_board.h. There it also
 * says FM_ARENA_IN_SRAM, where activations are not in non-volatile memory themselves. */
#ifndef FM_NV_GRANULE
#define FM_NV_GRANULE 2
#endif

/* Attributes of an object in non-volatile memory: placed, aligned, never initialised. Its size should be a multiple of
 * the granule, or the linker may put something else into its last one. */
#ifndef FM_NV
#define FM_NV __attribute__((section(".fm_nv"), aligned(FM_NV_GRANULE)))
#endif

/* The same for an object that flashing sets to its initial value. */
#ifndef FM_NV_LOADED
#define FM_NV_LOADED __attribute__((section(".fm_nv_loaded"), aligned(FM_NV_GRANULE)))
#endif

/* Copies `size` bytes to `nv`, both multiples of the granule. `from` is at an even address in any memory and does not
 * overlap the target. Returns when the bytes are there for good. */
void fm_nv_write(void *nv, const void *from, size_t size);

#endif
