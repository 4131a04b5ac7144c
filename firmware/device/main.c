/* Runs the test vectors on the board: writes the verdict to the console and to fm_board_status. An inference that a
 * power failure cut short is brought to its end first. Where the board can hear, the program then answers requests of
 * one character, for ever:
 *
 *   ?   say which model this is, and that it is ready
 *   r   run the test vectors again
 *   x   run one sample: the bytes of all inputs follow, in order, then the CRC-32 of them, low byte first
 *
 * The answer to x is "sample", the bytes of all outputs in hex and the CRC-32 of those, or "crc error". Any other
 * character is ignored. */
#include <stddef.h>
#include <stdint.h>

#include "fm_board.h"
#include "fm_nv.h"
#include "vectors.h"

/* CRC-32 as in IEEE 802.3: the reflected polynomial, its start, and what remains when data is followed by its own
 * CRC. */
#define CRC_POLYNOMIAL UINT32_C(0xEDB88320)
#define CRC_START UINT32_C(0xFFFFFFFF)
#define CRC_RESIDUE UINT32_C(0xDEBB20E3)

int main(void);

/* What the inference under way is for: the number of a test vector, and whether an earlier one was wrong; or a sample
 * from the console. Written before fm_start, so it is whole whenever an inference is pending. */
#define JOB_SAMPLE 0x7FFFU
#define JOB_WRONG 0x8000U

static FM_NV union {
    uint16_t word;
    unsigned char granule[FM_NV_GRANULE];
} job;

static void begin(unsigned what)
{
    static union {
        uint16_t word;
        unsigned char granule[FM_NV_GRANULE];
    } next;
    next.word = (uint16_t)what;
    fm_nv_write(&job, &next, sizeof job);
}

static unsigned pending_job(void)
{
    return *(const volatile uint16_t *)&job.word;
}

#if FM_VECTOR_COUNT > 0U
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
#endif

/* Bit by bit: a table would be faster and larger. */
static uint32_t crc_of(uint32_t crc, const unsigned char *bytes, size_t size)
{
    while (size-- != 0U) {
        crc ^= *bytes++;
        for (unsigned bit = 0; bit < 8U; bit++) {
            crc = (crc & 1U) != 0U ? (crc >> 1) ^ CRC_POLYNOMIAL : crc >> 1;
        }
    }
    return crc;
}

static uint32_t receive(unsigned char *to, size_t size, uint32_t crc)
{
    while (size-- != 0U) {
        *to = (unsigned char)fm_board_wait();
        crc = crc_of(crc, to++, 1U);
    }
    return crc;
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

static void print_hex(const unsigned char *bytes, size_t size)
{
    while (size-- != 0U) {
        fm_board_putc("0123456789abcdef"[*bytes >> 4]);
        fm_board_putc("0123456789abcdef"[*bytes++ & 15U]);
    }
}

/* Ends a line with a finished CRC, high digit first. */
static void print_crc(uint32_t crc)
{
    unsigned char bytes[4];
    for (unsigned i = 4; i-- != 0U; crc >>= 8) {
        bytes[i] = (unsigned char)~crc;
    }
    print(" crc ");
    print_hex(bytes, sizeof bytes);
    print("\r\n");
}

#define BYTES(KIND, kind, index) (FM_##KIND##_##index##_LENGTH * sizeof(fm_##kind##_##index##_t))
#define LOAD(index) load(index, fm_vector_input_##index[vector], BYTES(INPUT, input, index));
#define RECEIVE(index) crc = receive(fm_input(index), BYTES(INPUT, input, index), crc);
#define COMPARE(index) wrong += compare(index, fm_vector_output_##index[vector], BYTES(OUTPUT, output, index));
#define CHECK(index) crc = crc_of(crc, fm_output(index), BYTES(OUTPUT, output, index));
#define SHOW(index) print_hex(fm_output(index), BYTES(OUTPUT, output, index));

static uint32_t crc_of_outputs(void)
{
    uint32_t crc = CRC_START;
    FM_EACH_OUTPUT(CHECK)
    return crc;
}

static void verdict(size_t wrong)
{
    fm_board_report(wrong == 0U ? FM_STATUS_OK : FM_STATUS_MISMATCH);
    print("vectors ");
    print_number(FM_VECTOR_COUNT);
    print(" wrong bytes ");
    print_number(wrong);
    print("\r\n");
}

#if FM_VECTOR_COUNT > 0U
/* Compares the answer to a vector that has ended; the wrong bytes so far. */
static size_t check_vector(unsigned vector, size_t wrong)
{
    FM_EACH_OUTPUT(COMPARE)
    print("vector ");
    print_number(vector);
    print_crc(crc_of_outputs());
    return wrong;
}

static void run_vectors(unsigned vector, size_t wrong)
{
    for (; vector < FM_VECTOR_COUNT; vector++) {
        FM_EACH_INPUT(LOAD)
        begin(vector | (wrong != 0U ? JOB_WRONG : 0U));
        fm_infer();
        wrong = check_vector(vector, wrong);
    }
    verdict(wrong);
}
#else
/* There is nothing to compare with, but the net runs to its end. */
static void run_vectors(unsigned vector, size_t wrong)
{
    begin(vector);
    fm_infer();
    verdict(wrong);
}
#endif

static void show_sample(void)
{
    print("sample ");
    FM_EACH_OUTPUT(SHOW)
    print_crc(crc_of_outputs());
}

static void run_sample(void)
{
    unsigned char sent[4];
    uint32_t crc = CRC_START;

    FM_EACH_INPUT(RECEIVE)
    if (receive(sent, sizeof sent, crc) != CRC_RESIDUE) {
        print("crc error\r\n");
        return;
    }
    begin(JOB_SAMPLE);
    fm_infer();
    show_sample();
}

/* The power failed during an inference: first of all, and with nothing said, the rest of it. */
static void resume(void)
{
    const unsigned what = pending_job();

    fm_run();
#ifndef FM_BOARD_DEAF
    if ((what & JOB_SAMPLE) == JOB_SAMPLE) {
        show_sample();
        return;
    }
#endif
#if FM_VECTOR_COUNT > 0U
    if ((what & JOB_SAMPLE) >= FM_VECTOR_COUNT) { /* begun by another program with the same model: nothing to compare */
        run_vectors(0U, 0U);
        return;
    }
    /* How many bytes were wrong before is lost, that there were any is not. */
    run_vectors((what & JOB_SAMPLE) + 1U, check_vector(what & JOB_SAMPLE, (what & JOB_WRONG) != 0U ? 1U : 0U));
#else
    (void)what; /* a deaf board without vectors has begun nothing else */
    verdict(0U);
#endif
}

int main(void)
{
    fm_board_init();
    fm_boot();
    if (fm_pending()) {
        resume();
    } else {
        print("model " FM_MODEL_ID "\r\n");
        fm_board_report(FM_STATUS_RUNNING);
        run_vectors(0U, 0U);
    }
    for (;;) {
        const int request = fm_board_wait();
        if (request < 0) {
            return 0;
        }
        if (request == '?') {
            print("model " FM_MODEL_ID " ready\r\n");
        } else if (request == 'r') {
            fm_board_report(FM_STATUS_RUNNING);
            run_vectors(0U, 0U);
        } else if (request == 'x') {
            run_sample();
        }
    }
}
