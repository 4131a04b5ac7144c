/* Constants beyond the reach of a plain pointer: on the MSP430, FRAM above 64 K. A layer copies a row of weights to
 * SRAM before it uses it. Only boards with such memory, and the host, implement this. */
#ifndef FM_FAR_H
#define FM_FAR_H

#include <stddef.h>
#include <stdint.h>

/* Copy `size` bytes (1 or more) from the address `from` to `to`. */
void fm_far_read(void *to, uint32_t from, size_t size);

#endif
