/* Runs the test vectors on the board: writes the verdict to the console and to fm_board_status. */
#include <stddef.h>
#include <stdint.h>

#include "fm_board.h"
#include "vectors.h"

int main(void);

static void load(unsigned index, const void *values, size_t size)
{
    const unsigned char *from = values;
    unsigned char *to = fm_input(index);
    while (size-- != 0U) {
        *to++ = *from++;
    }
}

/* The number of bytes that differ. */
static size_t compare(unsigned index, const void *expected, size_t size)
{
    const unsigned char *want = expected;
    const unsigned char *have = fm_output(index);
    size_t wrong = 0;
    while (size-- != 0U) {
        if (*want++ != *have++) {
            wrong++;
        }
    }
    return wrong;
}

static void print(const char *text)
{
    while (*text != '\0') {
        fm_board_putc(*text++);
    }
}

static void print_number(size_t number)
{
    char digits[24];
    char *first = &digits[sizeof digits - 1U];
    *first = '\0';
    do {
        *--first = (char)('0' + (char)(number % 10U));
        number /= 10U;
    } while (number != 0U);
    print(first);
}

#define LOAD(index) load(index, fm_vector_input_##index[vector], sizeof fm_vector_input_##index[vector]);
#define COMPARE(index) wrong += compare(index, fm_vector_output_##index[vector], sizeof fm_vector_output_##index[vector]);

int main(void)
{
    size_t wrong = 0;

    fm_board_init();
    fm_board_report(FM_STATUS_RUNNING);
    for (unsigned vector = 0; vector < FM_VECTOR_COUNT; vector++) {
        FM_EACH_INPUT(LOAD)
        fm_infer();
        FM_EACH_OUTPUT(COMPARE)
    }
    fm_board_report(wrong == 0U ? FM_STATUS_OK : FM_STATUS_MISMATCH);
    print("vectors ");
    print_number(FM_VECTOR_COUNT);
    print(" wrong bytes ");
    print_number(wrong);
    print("\r\n");
    return 0;
}
