/* FRAM is written by plain stores, a 16-bit word at a time; its controller finishes a word that it has begun, whatever
 * the supply does meanwhile. */
#include "fm_nv.h"

#include <stdint.h>

/* Whatever the objects' types are. */
typedef uint16_t __attribute__((may_alias)) fm_word;

void fm_nv_write(void *nv, const void *from, size_t size)
{
    /* Volatile: whole words, each once, in this order. */
    volatile fm_word *to = nv;
    const fm_word *word = from;
    for (; size != 0u; size -= sizeof *to) {
        *to++ = *word++;
    }
}
