/* Runs one fixed-point function of the firmware over many arguments: probe FUNCTION TABLE_LENGTH < input > results.
 *
 * Input and results are 64-bit numbers of this machine: first the table, then one record of arguments after another.
 * Compiled with the undefined-behaviour sanitizer, so a wrong shift or an overflow ends the program instead of passing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fm_math.h"
#include "fm_tables.h"

#define MAX_TABLE 65537
#define MAX_WIDTH 7

static int32_t table32[MAX_TABLE];
static int16_t table16[MAX_TABLE];

static int64_t probe_mulhi(const int64_t *a)
{
    return fm_mulhi((int32_t)a[0], (int32_t)a[1]);
}

static int64_t probe_mul16(const int64_t *a)
{
    return fm_mul16((int16_t)a[0], (int16_t)a[1]);
}

static int64_t probe_shift_left(const int64_t *a)
{
    return fm_shift_left((int32_t)a[0], (unsigned)a[1]);
}

static int64_t probe_shift_round(const int64_t *a)
{
    return fm_shift_round((int32_t)a[0], (unsigned)a[1]);
}

static int64_t probe_shift_round_u32(const int64_t *a)
{
    return fm_shift_round_u32((uint32_t)a[0], (unsigned)a[1]);
}

static int64_t probe_divide_round(const int64_t *a)
{
    return fm_divide_round((uint32_t)a[0], (uint32_t)a[1]);
}

static int64_t probe_requant(const int64_t *a)
{
    return fm_requant((int32_t)a[0], (int32_t)a[1], (unsigned)a[2], (unsigned)a[3], (int32_t)a[4], (int32_t)a[5], (int32_t)a[6]);
}

static int64_t probe_requant_wide(const int64_t *a)
{
    return fm_requant_wide(a[0], (int32_t)a[1], (unsigned)a[2], (unsigned)a[3], (int32_t)a[4], (int32_t)a[5], (int32_t)a[6]);
}

static int64_t probe_interpolate_s16(const int64_t *a)
{
    return fm_interpolate_s16(table16, (uint16_t)a[0], (unsigned)a[1], (unsigned)a[2]);
}

static int64_t probe_interpolate_s32(const int64_t *a)
{
    return fm_interpolate_s32(table32, (uint16_t)a[0], (unsigned)a[1], (unsigned)a[2]);
}

static int64_t probe_exp(const int64_t *a)
{
    return fm_exp(table32, (uint16_t)a[0], (int)a[1]);
}

static int64_t probe_log2(const int64_t *a)
{
    return fm_log2(table32, (uint32_t)a[0]);
}

static const struct {
    const char *name;
    size_t width;
    int64_t (*function)(const int64_t *);
} probes[] = {
    {"mulhi", 2, probe_mulhi},
    {"mul16", 2, probe_mul16},
    {"shift_left", 2, probe_shift_left},
    {"shift_round", 2, probe_shift_round},
    {"shift_round_u32", 2, probe_shift_round_u32},
    {"divide_round", 2, probe_divide_round},
    {"requant", 7, probe_requant},
    {"requant_wide", 7, probe_requant_wide},
    {"interpolate_s16", 3, probe_interpolate_s16},
    {"interpolate_s32", 3, probe_interpolate_s32},
    {"exp", 2, probe_exp},
    {"log2", 1, probe_log2},
};

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; ++i) {
        if (strcmp(argv[1], probes[i].name) != 0) {
            continue;
        }
        const size_t length = strtoul(argv[2], NULL, 10);
        for (size_t n = 0; n < length; ++n) {
            int64_t value = 0;
            if (n >= MAX_TABLE || fread(&value, sizeof value, 1, stdin) != 1) {
                return 2;
            }
            table32[n] = (int32_t)value;
            table16[n] = (int16_t)value;
        }
        int64_t record[MAX_WIDTH];
        while (fread(record, sizeof record[0], probes[i].width, stdin) == probes[i].width) {
            const int64_t result = probes[i].function(record);
            if (fwrite(&result, sizeof result, 1, stdout) != 1) {
                return 2;
            }
        }
        return 0;
    }
    return 2;
}
