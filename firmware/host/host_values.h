/* The values that host/main.c feeds and shows; generated host_values.c lists them. */
#ifndef FM_HOST_VALUES_H
#define FM_HOST_VALUES_H

#include <stddef.h>

#include "model.h"

struct fm_host_value {
    void *data;
    size_t size;
};

extern const struct fm_host_value fm_host_inputs[FM_INPUT_COUNT];
extern const struct fm_host_value fm_host_outputs[FM_OUTPUT_COUNT];
extern const struct fm_host_value fm_host_layers[FM_LAYER_COUNT];

#endif
