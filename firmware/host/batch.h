/* The model over many samples, for the host: a plain function, so that it works as a shared library too. */
#ifndef FM_HOST_BATCH_H
#define FM_HOST_BATCH_H

#include <stddef.h>

/* Bytes of one sample's inputs, one after the other. */
size_t fm_host_input_bytes(void);

/* Bytes written per sample: all outputs; with `trace` first what each layer left behind, layer after layer. */
size_t fm_host_result_bytes(int trace);

/* Run `samples` samples. Before each the arena is filled with rubbish, so that a layer that reads what no layer wrote
 * cannot go unseen. */
void fm_host_batch(const unsigned char *inputs, unsigned char *results, size_t samples, int trace);

#endif
