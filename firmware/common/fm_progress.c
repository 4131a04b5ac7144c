/* Recovery rules are in SPEC.md, objects "identity", "progress" and "records". */
#include "fm_progress.h"

#include <stddef.h>

#include "fm_nv.h"

#if FM_NV_GRANULE <= 2

/* A 16-bit store is atomic: the word is simply written. Flashing says that nobody owns it: whatever the arena holds
 * then, and whoever wrote to it since this firmware was here last, no old inference goes on. */
FM_NV_LOADED static volatile struct {
    uint16_t identity[2];
    uint16_t word;
    uint16_t unused;
} kept = {.word = 0U};

static void put(volatile uint16_t *place, uint16_t value)
{
    fm_nv_write((void *)(uintptr_t)place, &value, sizeof value);
}

uint16_t fm_progress_load(uint32_t identity)
{
    const uint16_t low = (uint16_t)(identity & 0xFFFFU);
    const uint16_t high = (uint16_t)(identity >> 16);

    if (kept.identity[0] != low || kept.identity[1] != high) {
        /* In this order: as soon as the identity is ours, the word is too. */
        put(&kept.word, 0U);
        put(&kept.identity[0], low);
        put(&kept.identity[1], high);
    }
    return kept.word;
}

void fm_progress_store(uint16_t word)
{
    put(&kept.word, word);
}

#else

/* A granule that a power failure interrupts may hold anything: records go around, and the newest whole one counts.
 * Flashing sets all of them to nobody's: whatever the copy of the arena holds then, no old inference goes on. */
#define RECORDS 8U

typedef struct record {
    uint32_t identity;
    uint32_t sequence;
    uint32_t word;
    uint32_t check;
} record;

typedef char record_is_a_granule[sizeof(record) == FM_NV_GRANULE ? 1 : -1];

FM_NV_LOADED static volatile record records[RECORDS] = {[0] = {.word = 0U}};
static uint32_t owner;
static uint32_t newest; /* sequence number of the newest record */

/* Every bit of the result depends on every bit of what goes in: Appleby's 32-bit finalizer of MurmurHash3. */
static uint32_t mixed(uint32_t x)
{
    x ^= x >> 16;
    x *= UINT32_C(0x85EBCA6B);
    x ^= x >> 13;
    x *= UINT32_C(0xC2B2AE35);
    return x ^ (x >> 16);
}

/* The x that mixed takes to this; the factors are the inverses of mixed's modulo 2^32. */
static uint32_t unmixed(uint32_t x)
{
    x ^= x >> 16;
    x *= UINT32_C(0x7ED1B41D);
    x ^= (x >> 13) ^ (x >> 26);
    x *= UINT32_C(0xA5CB9243);
    return x ^ (x >> 16);
}

static uint32_t seed_of(uint32_t identity, uint32_t sequence)
{
    return mixed(mixed(identity) ^ sequence);
}

static uint32_t check_of(uint32_t identity, uint32_t sequence, uint32_t word)
{
    return mixed(seed_of(identity, sequence) ^ word);
}

/* A bit for each record's place: whether the check that lies there would be right, with some word, for the number that
 * the place gets next. That is what a store left that was cut, and parts of another store under this number might
 * complete a record that was never stored: the place is passed over once. */
static unsigned begun;

static void find_begun(void)
{
    begun = 0U;
    for (uint32_t sequence = newest + 1U; sequence != newest + 1U + RECORDS; ++sequence) {
        const uint32_t place = sequence % RECORDS;
        if ((unmixed(records[place].check) ^ seed_of(owner, sequence)) <= UINT16_MAX) {
            begun |= 1U << place;
        }
    }
}

uint16_t fm_progress_load(uint32_t identity)
{
    uint16_t word = 0U;
    int found = 0;

    owner = identity;
    newest = 0U;
    for (size_t i = 0; i < RECORDS; ++i) {
        const uint32_t sequence = records[i].sequence;
        const uint32_t stored = records[i].word;
        if (records[i].identity != identity || records[i].check != check_of(identity, sequence, stored)) {
            continue;
        }
        if (!found || (int32_t)(sequence - newest) > 0) {
            newest = sequence;
            word = (uint16_t)stored;
            found = 1;
        }
    }
    find_begun();
    return word;
}

void fm_progress_store(uint16_t word)
{
    uint32_t sequence = newest;
    unsigned taken;
    do { /* never the place of the newest record, which stays until another one is whole */
        ++sequence;
        const unsigned place = 1U << (sequence % RECORDS);
        taken = (begun | 1U << (newest % RECORDS)) & place;
        begun &= ~place;
    } while (taken != 0U);
    const record next = {owner, sequence, word, check_of(owner, sequence, word)};

    fm_nv_write((void *)(uintptr_t)&records[sequence % RECORDS], &next, sizeof next);
    newest = sequence;
}

#endif
