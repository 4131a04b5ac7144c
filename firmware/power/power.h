/* The power-failure harness: runs the program that uses a model (program.c) as a machine whose power can be cut at
 * every write to non-volatile memory. power.c is the machine, freeml/power drives it.
 *
 * The model, the runtime and program.c, "the product", are compiled with the instrumentation of the thread sanitizer:
 * before every access to memory they call a function that hooks.c defines. */
#ifndef FM_POWER_H
#define FM_POWER_H

#include <stddef.h>
#include <stdint.h>

#define FM_POWER_API __attribute__((visibility("default")))

#define FM_POWER_SAMPLES 3
#define FM_POWER_RANGES 16
#define FM_POWER_REGISTERS 24
#define FM_POWER_FRAMES 8192U
#define FM_POWER_NEVER UINT64_MAX

/* What a driver must know of the model. */
struct fm_power_net {
    uint64_t granule;
    uint64_t mirrored; /* the arena is volatile, and has a copy that is not */
    uint64_t nv_size;
    uint64_t arena_at; /* the arena, or its copy, in the section of non-volatile memory */
    uint64_t arena_size;
    uint64_t inputs_size; /* of all, one after the other */
    uint64_t outputs_size;
    uint64_t layers;
};

/* A granule as it was written. A plain store may reach several: this is number `part` of `parts`. */
struct fm_power_write {
    uint32_t at; /* in the section, in bytes */
    uint16_t part;
    uint16_t parts;
    unsigned char bytes[16];
};

/* A part of the product's volatile memory; `initial` is what startup code puts there, NULL where it puts nothing. */
struct fm_power_range {
    unsigned char *start;
    uint64_t size;
    const unsigned char *initial;
};

/* All that the rest of a run depends on, right after a commit. */
struct fm_power_state {
    uint64_t is_set;
    uint64_t registers[FM_POWER_REGISTERS];
    uint64_t frames_size;
    unsigned char frames[FM_POWER_FRAMES];
    unsigned char *nv;
    unsigned char *sram; /* the ranges, one after the other */
};

/* What a granule holds whose writing the power failure interrupts. */
enum fm_power_spoil {
    FM_POWER_OLD,
    FM_POWER_ZEROS,
    FM_POWER_ONES,
    FM_POWER_RANDOM,
    FM_POWER_FRONT, /* its first half is written, the other as it was */
    FM_POWER_BACK,
    FM_POWER_DESCENDING /* as it was; but a store that reaches several granules begins with the last */
};

enum fm_power_outcome { FM_POWER_ENDED, FM_POWER_CUT, FM_POWER_AGREED, FM_POWER_FAULT };

enum fm_power_fault {
    FM_POWER_NO_FAULT,
    FM_POWER_STRAY_STORE,  /* outside the product's memory */
    FM_POWER_PLAIN_STORE,  /* to non-volatile memory that only fm_nv_write may write */
    FM_POWER_WIDE_STORE,   /* of more bytes than the harness can tear */
    FM_POWER_BAD_WRITE,    /* fm_nv_write outside non-volatile memory, or not of whole granules */
    FM_POWER_BAD_OUTPUT,   /* fm_output gives some of the outputs only, or points elsewhere */
    FM_POWER_ENDLESS,
    FM_POWER_HAZARD,       /* a byte written that the region had read before */
    FM_POWER_LOG_FULL
};

/* Which result fm_output shows: the number of a sample, or one of these. */
#define FM_POWER_SHOWS_NONE 100U
#define FM_POWER_SHOWS_OTHER 101U

struct fm_power {
    /* Set once. */
    const unsigned char *samples[FM_POWER_SAMPLES];  /* inputs, one after the other */
    const unsigned char *expected[FM_POWER_SAMPLES]; /* outputs, one after the other */
    struct fm_power_range sram[FM_POWER_RANGES];
    uint64_t sram_count;
    unsigned char *stack;
    uint64_t stack_size;
    uint32_t *read_in;    /* per byte of the section: the last region that read it before it wrote it, and */
    uint32_t *written_in; /* the last that wrote it */

    /* Set for a boot. */
    uint64_t survive;    /* granules written before the power fails */
    uint64_t fuel;       /* stores and calls until the run counts as endless */
    uint32_t spoil;      /* an fm_power_spoil */
    uint32_t random;     /* seeds FM_POWER_RANDOM */
    uint32_t capture;    /* the sample to capture */
    uint32_t force;      /* capture it though an inference is pending */
    uint32_t shadow;     /* look for hazards */
    uint32_t poison;     /* the byte that volatile memory holds at first */
    uint32_t compare;    /* with `state`, at every commit */
    uint32_t record;     /* the commit, counted from 1, at which to fill `state`; 0 never */
    struct fm_power_write *log;
    uint64_t log_size;
    uint64_t *commits; /* granules written at each commit */
    uint64_t commits_size;
    struct fm_power_state *state;

    /* What a boot found. Places in time are counts of granules written. */
    uint64_t written;
    uint64_t commit_count;
    uint64_t spent;    /* fuel */
    uint64_t at_input; /* the first fm_input has returned */
    uint64_t at_start; /* fm_start is called */
    uint64_t at_started;
    uint64_t at_end;
    uint32_t booted;  /* fm_boot has returned */
    uint32_t pending; /* then */
    uint32_t shows;   /* then */
    uint32_t captured;
    uint32_t shows_at_end;
    uint32_t fault;
    uint64_t fault_address;
};

/* For drivers. fm_power_boot resets the machine and runs it until the program ends, the power fails, the state after a
 * commit equals the recorded one, or something forbidden happens; it returns an fm_power_outcome. */
extern FM_POWER_API struct fm_power fm_power;
FM_POWER_API struct fm_power_net fm_power_describe(void);
FM_POWER_API uint64_t fm_power_layer_regions(unsigned layer);
FM_POWER_API unsigned char *fm_power_nv(void);
FM_POWER_API int fm_power_boot(void);
/* Put granules [from, to) of the log into an image of the section. */
FM_POWER_API void fm_power_apply(unsigned char *image, const struct fm_power_write *log, uint64_t from, uint64_t to);

/* Between machine and program. */
void fm_power_program(void);
/* After fm_boot: the sample to capture, or NULL where an inference is to be resumed. */
const unsigned char *fm_power_booted(int pending);
enum fm_power_moment { FM_POWER_AT_INPUT, FM_POWER_AT_START, FM_POWER_AT_STARTED };
void fm_power_at(enum fm_power_moment moment);
void fm_power_end(void);
/* enter.S. Runs `program` on a stack of its own, with the same registers each time, until it returns or something on
 * that stack calls fm_power_leave. */
void fm_power_enter(void (*program)(void), void *stack_top, void **home);
void fm_power_leave(void *home) __attribute__((noreturn));
/* What a called function must preserve; the stack pointer first. */
void fm_power_registers(uint64_t registers[FM_POWER_REGISTERS]);

#endif
