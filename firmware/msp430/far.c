/* The far address in two halves, which every compiler's calling convention passes in two registers. */
#include "fm_far.h"

void fm_far_copy(void *to, uint16_t low, uint16_t high, uint16_t size);

void fm_far_read(void *to, uint32_t from, size_t size)
{
    fm_far_copy(to, (uint16_t)from, (uint16_t)(from >> 16), (uint16_t)size);
}
