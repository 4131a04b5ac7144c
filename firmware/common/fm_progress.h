/* One 16-bit word that survives and changes all at once: the commit of an intermittent program. */
#ifndef FM_PROGRESS_H
#define FM_PROGRESS_H

#include <stdint.h>

/* The word that was stored last under this identity; 0 where there is none. Call once after a reset. */
uint16_t fm_progress_load(uint32_t identity);

/* Replace it. When this returns, the new word is there for good; a power failure inside leaves either. */
void fm_progress_store(uint16_t word);

#endif
