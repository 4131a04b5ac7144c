/* What the parts of the harness share. Its own variables are in a section that no reset touches; all else that is
 * writable is the product's. */
#ifndef FM_MACHINE_H
#define FM_MACHINE_H

#include "power.h"

#include "fm_nv.h"

#define OURS __attribute__((section("fm_harness")))

extern unsigned char nv_start[] __asm__("__start_fm_nv") __attribute__((visibility("hidden")));
extern unsigned char nv_stop[] __asm__("__stop_fm_nv") __attribute__((visibility("hidden")));

struct machine {
    void *home;
    unsigned char *deepest; /* of the stack since it was filled last */
    int outcome;
    uint32_t region; /* for the shadow: changes with every commit, and never comes again */
    uint64_t registers[FM_POWER_REGISTERS];
};

extern struct machine machine;

/* power.c: the run ends here. */
void stop(int outcome) __attribute__((noreturn));
void fault(enum fm_power_fault what, const void *address) __attribute__((noreturn));
/* One thing more was done. */
void spend(const void *address);

/* granules.c: a plain store to non-volatile memory comes next; the one that was announced last is done. */
void on_nv_store(unsigned char *at, size_t size);
void settle(void);
void forget_store(void);

/* shadow.c: the product reads, writes volatile memory, writes what outlives the power. */
void shadow_read(const unsigned char *at, size_t size);
void shadow_written(const unsigned char *at, size_t size);
void shadow_kept(const unsigned char *at, size_t size);
void shadow_next_region(void);

static inline size_t nv_size(void)
{
    return (size_t)(nv_stop - nv_start);
}

/* The place in the section; anything at or beyond its size is none. */
static inline size_t nv_place(const void *address)
{
    return (size_t)((uintptr_t)address - (uintptr_t)nv_start);
}

/* The C library's are the product's business here: hooks.c. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;

static inline void copy(unsigned char *to, const unsigned char *from, size_t size)
{
    for (; size >= sizeof(word); size -= sizeof(word), to += sizeof(word), from += sizeof(word)) {
        *(word *)to = *(const word *)from;
    }
    while (size-- != 0U) {
        *to++ = *from++;
    }
}

static inline void fill(unsigned char *to, uint32_t byte, size_t size)
{
    const word pattern = byte * UINT64_C(0x0101010101010101);
    for (; size >= sizeof(word); size -= sizeof(word), to += sizeof(word)) {
        *(word *)to = pattern;
    }
    while (size-- != 0U) {
        *to++ = (unsigned char)byte;
    }
}

static inline int equal(const unsigned char *one, const unsigned char *other, size_t size)
{
    for (; size >= sizeof(word); size -= sizeof(word), one += sizeof(word), other += sizeof(word)) {
        if (*(const word *)one != *(const word *)other) {
            return 0;
        }
    }
    while (size-- != 0U) {
        if (*one++ != *other++) {
            return 0;
        }
    }
    return 1;
}

#endif
