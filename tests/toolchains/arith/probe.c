/* Applies every operation that needs a helper on a 16-bit machine to a table of operands. Operands and results lie in
 * memory that the test writes and reads; volatile, so that nothing is computed at compile time. */
#include <stdint.h>

#include "fm_board.h"

#define PAIRS 16

struct pair {
    uint64_t a;
    uint64_t b;
};

struct results {
    uint16_t product_16;
    uint32_t product_32;
    uint64_t product_64;
    uint16_t quotient_u16;
    uint16_t rest_u16;
    uint16_t quotient_s16;
    uint16_t rest_s16;
    uint32_t quotient_u32;
    uint32_t rest_u32;
    uint32_t quotient_s32;
    uint32_t rest_s32;
    uint64_t quotient_u64;
    uint64_t rest_u64;
    uint64_t quotient_s64;
    uint64_t rest_s64;
    uint32_t left_32;
    uint32_t right_u32;
    uint32_t right_s32;
    uint64_t left_64;
    uint64_t right_u64;
    uint64_t right_s64;
};

extern volatile struct pair probe_pairs[PAIRS];
extern volatile struct results probe_results[PAIRS];
volatile struct pair probe_pairs[PAIRS] __attribute__((section(".fm_nv")));
volatile struct results probe_results[PAIRS] __attribute__((section(".fm_nv")));

int main(void);

int main(void)
{
    for (int i = 0; i < PAIRS; ++i) {
        const uint64_t a = probe_pairs[i].a;
        const uint64_t b = probe_pairs[i].b;
        volatile struct results *const r = &probe_results[i];
        const uint32_t a32 = (uint32_t)a;
        const uint32_t b32 = (uint32_t)b;
        const uint16_t a16 = (uint16_t)a;
        const uint16_t b16 = (uint16_t)b;
        const int by_32 = (int)(b & 31U);
        const int by_64 = (int)(b & 63U);

        r->product_16 = (uint16_t)((uint32_t)a16 * b16);
        r->product_32 = a32 * b32;
        r->product_64 = a * b;
        r->quotient_u16 = (uint16_t)(a16 / b16);
        r->rest_u16 = (uint16_t)(a16 % b16);
        r->quotient_s16 = (uint16_t)((int16_t)a16 / (int16_t)b16);
        r->rest_s16 = (uint16_t)((int16_t)a16 % (int16_t)b16);
        r->quotient_u32 = a32 / b32;
        r->rest_u32 = a32 % b32;
        r->quotient_s32 = (uint32_t)((int32_t)a32 / (int32_t)b32);
        r->rest_s32 = (uint32_t)((int32_t)a32 % (int32_t)b32);
        r->quotient_u64 = a / b;
        r->rest_u64 = a % b;
        r->quotient_s64 = (uint64_t)((int64_t)a / (int64_t)b);
        r->rest_s64 = (uint64_t)((int64_t)a % (int64_t)b);
        r->left_32 = a32 << by_32;
        r->right_u32 = a32 >> by_32;
        r->right_s32 = (uint32_t)((int32_t)a32 >> by_32);
        r->left_64 = a << by_64;
        r->right_u64 = a >> by_64;
        r->right_s64 = (uint64_t)((int64_t)a >> by_64);
    }
    fm_board_report(FM_STATUS_OK);
    return 0;
}
