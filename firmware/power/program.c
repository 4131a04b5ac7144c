/* The program of fm_model.h, once around its loop. */
#include "host_values.h"
#include "model.h"
#include "power.h"

static void capture(const unsigned char *sample)
{
    for (unsigned i = 0U; i < FM_INPUT_COUNT; ++i) {
        unsigned char *const to = fm_input(i);
        fm_power_at(FM_POWER_AT_INPUT);
        for (size_t n = 0U; n < fm_host_inputs[i].size; ++n) {
            to[n] = *sample++;
        }
    }
}

void fm_power_program(void)
{
    fm_boot();
    const unsigned char *const sample = fm_power_booted(fm_pending());
    if (sample != NULL) {
        capture(sample);
        fm_power_at(FM_POWER_AT_START);
        fm_start();
        fm_power_at(FM_POWER_AT_STARTED);
    }
    fm_run();
    fm_power_end();
}
