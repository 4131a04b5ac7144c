/* On the host, far addresses are looked up in a table of the arrays that the board keeps there. */
#include "fm_far.h"

#include "host_values.h"

void fm_far_read(void *to, uint32_t from, size_t size)
{
    unsigned char *out = to;
    for (const struct fm_host_far *part = fm_host_far; part->data != NULL && size != 0U; ++part) {
        while (size != 0U && from >= part->address && from - part->address < part->size) {
            *out++ = ((const unsigned char *)part->data)[from - part->address];
            ++from;
            --size;
        }
    }
}
