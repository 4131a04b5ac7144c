/* Runs the model on a workstation: samples come on standard input as raw integers, results go to standard output.
 *
 *   model run     after each sample: all outputs
 *   model trace   after each sample: what each layer left behind, layer after layer, then all outputs */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

int main(int argc, char **argv)
{
    const int trace = argc > 1 && strcmp(argv[1], "trace") == 0;
    const size_t input_bytes = fm_host_input_bytes();
    const size_t result_bytes = fm_host_result_bytes(trace);
    unsigned char *const inputs = malloc(input_bytes);
    unsigned char *const results = malloc(result_bytes);
    int status = inputs != NULL && results != NULL ? 0 : 1;
    while (status == 0 && fread(inputs, 1, input_bytes, stdin) == input_bytes) {
        fm_host_batch(inputs, results, 1, trace);
        status = fwrite(results, 1, result_bytes, stdout) == result_bytes ? 0 : 1;
    }
    free(inputs);
    free(results);
    return fflush(stdout) == 0 ? status : 1;
}
