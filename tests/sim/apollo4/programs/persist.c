/* Writes persistent data from each place that data may be at. */
#include <stdint.h>

#include "fm_nv.h"

int main(void);

uint16_t record[40] FM_NV;
static const uint16_t in_mram[40] = {0xAA00, 0xAA01, [8] = 0xAA08, [39] = 0xAA27};
static uint16_t in_tcm[42] __attribute__((aligned(4)));

int main(void)
{
    for (uint16_t i = 0; i < 42u; i++) {
        in_tcm[i] = (uint16_t)(0xBB00u + i);
    }
    fm_nv_write(record, in_mram, sizeof record);      /* five granules, by way of the stack */
    fm_nv_write(record, in_tcm, 48u);                 /* three at once */
    fm_nv_write(&record[24], &in_tcm[25], 32u);       /* two, the source between words */
    return 0;
}
