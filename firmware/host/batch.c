#include "batch.h"

#include "fm_memory.h"
#include "host_values.h"
#include "model.h"

static void copy(unsigned char *to, const unsigned char *from, size_t count)
{
    while (count-- != 0U) {
        *to++ = *from++;
    }
}

static unsigned char *show(unsigned char *to, const struct fm_host_value *value)
{
    copy(to, value->data, value->size);
    return to + value->size;
}

size_t fm_host_input_bytes(void)
{
    size_t total = 0;
    for (unsigned i = 0; i < FM_INPUT_COUNT; ++i) {
        total += fm_host_inputs[i].size;
    }
    return total;
}

size_t fm_host_result_bytes(int trace)
{
    size_t total = 0;
    for (unsigned i = 0; trace != 0 && i < FM_LAYER_COUNT; ++i) {
        total += fm_host_layers[i].size;
    }
    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {
        total += fm_host_outputs[i].size;
    }
    return total;
}

/* Region by region, as fm_run goes, and then what the layer left behind. */
static unsigned char *trace_layer(unsigned char *results, unsigned index)
{
    const fm_layer *const layer = &fm_layers[index];
    for (unsigned first = 0; first < layer->units; first += layer->per_region) {
        const unsigned left = layer->units - first;
        layer->run(first, first + (left < layer->per_region ? left : layer->per_region));
    }
    return show(results, &fm_host_layers[index]);
}

void fm_host_batch(const unsigned char *inputs, unsigned char *results, size_t samples, int trace)
{
    fm_boot();
    for (; samples != 0U; --samples) {
        unsigned char *const arena = (unsigned char *)&fm_arena;
        for (size_t i = 0; i < sizeof fm_arena; ++i) {
            arena[i] = 0xA5U;
        }
        for (unsigned i = 0; i < FM_INPUT_COUNT; ++i) {
            copy(fm_input(i), inputs, fm_host_inputs[i].size);
            inputs += fm_host_inputs[i].size;
        }
        if (trace != 0) {
            for (unsigned i = 0; i < FM_LAYER_COUNT; ++i) {
                results = trace_layer(results, i);
            }
            for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {
                results = show(results, &fm_host_outputs[i]);
            }
        } else {
            fm_infer();
            for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {
                copy(results, fm_output(i), fm_host_outputs[i].size);
                results += fm_host_outputs[i].size;
            }
        }
    }
}
