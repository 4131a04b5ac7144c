/* A workstation has no memory that survives: its "non-volatile" objects are variables like any other. */
#include "fm_nv.h"

void fm_nv_write(void *nv, const void *from, size_t size)
{
    unsigned char *to = nv;
    const unsigned char *byte = from;
    while (size-- != 0u) {
        *to++ = *byte++;
    }
}
