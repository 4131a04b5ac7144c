/* Work of many kinds on static data: sorting, a checksum, fixed-point sums, long division, bits, recursion, pointers. */
#include <stdint.h>

#ifdef __MSP430X_LARGE__
#define FAR __attribute__((section(".far")))
#else
#define FAR
#endif

static int16_t numbers[40];
FAR uint8_t bytes[64] = {1, 2, 3};
uint32_t results[24];
int64_t wide[4];

static uint16_t state = 0xACE1u;

static uint16_t next(void)
{
    state = (uint16_t)((state >> 1) ^ ((uint16_t)(-(int16_t)(state & 1u)) & 0xB400u));
    return state;
}

static void sort(int16_t *first, int16_t count)
{
    for (int16_t i = 1; i < count; i++) {
        const int16_t value = first[i];
        int16_t j = (int16_t)(i - 1);
        while (j >= 0 && first[j] > value) {
            first[j + 1] = first[j];
            j--;
        }
        first[j + 1] = value;
    }
}

static uint32_t crc(const uint8_t *data, uint16_t size)
{
    uint32_t value = 0xFFFFFFFFul;
    for (uint16_t i = 0; i < size; i++) {
        value ^= data[i];
        for (uint8_t bit = 0; bit < 8; bit++) {
            value = (value & 1u) ? (value >> 1) ^ 0xEDB88320ul : value >> 1;
        }
    }
    return ~value;
}

static uint16_t depth(uint16_t n)
{
    return n < 2u ? n : (uint16_t)(depth((uint16_t)(n - 1u)) + depth((uint16_t)(n - 2u)));
}

static int32_t dot(const int16_t *a, const int16_t *b, uint16_t count)
{
    int32_t sum = 0;
    for (uint16_t i = 0; i < count; i++) {
        sum += (int32_t)a[i] * b[i];
    }
    return sum;
}

int main(void)
{
    uint16_t at = 0;
    for (uint16_t i = 0; i < 40u; i++) {
        numbers[i] = (int16_t)next();
    }
    for (uint16_t i = 0; i < 64u; i++) {
        bytes[i] ^= (uint8_t)(next() >> 3);
    }
    results[at++] = crc(bytes, sizeof bytes);
    results[at++] = (uint32_t)dot(numbers, numbers + 5, 30);
    sort(numbers, 40);
    results[at++] = crc((const uint8_t *)numbers, sizeof numbers);
    results[at++] = depth(11);
    for (uint16_t i = 0; i < 6u; i++) {
        const int32_t big = ((int32_t)numbers[i] << 15) ^ numbers[39 - i];
        const int16_t small = (int16_t)(numbers[i * 3u] | 1);
        results[at++] = (uint32_t)(big / small);
        results[at++] = (uint32_t)(big % small);
        results[at++] = (uint32_t)(big >> (i * 3u)) ^ ((uint32_t)big << (i + 1u)) ^ ((uint32_t)big >> (9u - i));
    }
    for (uint16_t i = 0; i < 4u; i++) {
        wide[i] = (int64_t)(int32_t)results[i] * (int32_t)results[i + 4u] - (int64_t)results[i + 2u];
        wide[i] += numbers[i] > numbers[i + 1u] ? -1 : (numbers[i] < 0) + 7;
    }
    return 0;
}
