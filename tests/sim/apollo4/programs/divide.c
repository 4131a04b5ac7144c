/* 64-bit divisions as the compiler calls them, on operands that the test writes when main begins. */
#include <stdint.h>

#define PAIRS 64

int main(void);

volatile uint64_t operands[PAIRS][2];
volatile uint64_t unsigned_results[PAIRS][2];
volatile int64_t signed_results[PAIRS][2];

int main(void)
{
    for (unsigned i = 0; i < PAIRS; i++) {
        const uint64_t a = operands[i][0];
        const uint64_t b = operands[i][1];
        unsigned_results[i][0] = a / b;
        unsigned_results[i][1] = a % b;
        signed_results[i][0] = (int64_t)a / (int64_t)b;
        signed_results[i][1] = (int64_t)a % (int64_t)b;
    }
    return 0;
}
