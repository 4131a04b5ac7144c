/* The values that the host's batch feeds and shows, and where far constants are; generated host_values.c lists them. */
#ifndef FM_HOST_VALUES_H
#define FM_HOST_VALUES_H

#include <stddef.h>
#include <stdint.h>

#include "model.h"

struct fm_host_value {
    void *data;
    size_t size;
};

/* An array that the board keeps at a far address. The list ends with one whose data is NULL. */
struct fm_host_far {
    const void *data;
    uint32_t address;
    uint32_t size;
};

extern const struct fm_host_value fm_host_inputs[FM_INPUT_COUNT];
extern const struct fm_host_value fm_host_outputs[FM_OUTPUT_COUNT];
extern const struct fm_host_value fm_host_layers[FM_LAYER_COUNT];
extern const struct fm_host_far fm_host_far[];

#endif
