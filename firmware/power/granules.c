/* Writes to non-volatile memory, granule by granule, and the end of the power between two of them. */
#include "machine.h"

#define TEARABLE 256U /* bytes of the widest store that can be torn */

/* The last plain store to non-volatile memory: its bytes are known when the next thing happens. */
OURS static struct {
    uint64_t first; /* in the log */
    unsigned granules;
    unsigned surviving;
    int torn;
    unsigned char *start;
    unsigned char old[TEARABLE];
} store;

static struct fm_power_write *log_entry(uint64_t number)
{
    if (fm_power.log_size == 0U) {
        return NULL;
    }
    if (number >= fm_power.log_size) {
        fault(FM_POWER_LOG_FULL, NULL);
    }
    return &fm_power.log[number];
}

/* The store that was announced last is done: log what it wrote, or take back what the power failure prevented. */
void settle(void)
{
    const unsigned count = store.granules;
    store.granules = 0U;
    for (unsigned i = 0U; i < count && fm_power.log_size != 0U; ++i) {
        struct fm_power_write *const entry = log_entry(store.first + i);
        entry->at = (uint32_t)(nv_place(store.start) + i * FM_NV_GRANULE);
        entry->part = (uint16_t)i;
        entry->parts = (uint16_t)count;
        copy(entry->bytes, store.start + i * FM_NV_GRANULE, FM_NV_GRANULE);
    }
    if (store.torn) {
        const size_t first = fm_power.spoil == FM_POWER_DESCENDING ? 0U : store.surviving * FM_NV_GRANULE;
        copy(store.start + first, store.old + first, (count - store.surviving) * FM_NV_GRANULE);
        fm_power.written = store.first + store.surviving;
        stop(FM_POWER_CUT);
    }
}

/* A plain store, ahead of it. */
void on_nv_store(unsigned char *at, size_t size)
{
    const size_t place = nv_place(at);
    const size_t first = place / FM_NV_GRANULE;
    const size_t last = (place + size - 1U) / FM_NV_GRANULE;
    const unsigned count = (unsigned)(last - first + 1U);

    settle();
#ifdef FM_ARENA_IN_SRAM
    fault(FM_POWER_PLAIN_STORE, at);
#endif
    if (count * FM_NV_GRANULE > TEARABLE) {
        fault(FM_POWER_WIDE_STORE, at);
    }
    if (place + size > nv_size()) {
        fault(FM_POWER_STRAY_STORE, at);
    }
    if (fm_power.shadow && fm_power.booted) {
        shadow_kept(at, size);
    }
    if (fm_power.survive == fm_power.written) {
        stop(FM_POWER_CUT);
    }
    store.first = fm_power.written;
    store.granules = count;
    store.start = nv_start + first * FM_NV_GRANULE;
    store.torn = fm_power.survive - fm_power.written < count;
    store.surviving = (unsigned)(fm_power.survive - fm_power.written);
    if (store.torn) {
        copy(store.old, store.start, count * FM_NV_GRANULE);
    }
    fm_power.written += count;
}

/* What a granule holds of which the programming was cut short. */
static void spoil(unsigned char *granule, const unsigned char *from)
{
    uint32_t x = fm_power.random | 1U;
    for (unsigned i = 0U; i < FM_NV_GRANULE; ++i) {
        const int is_front = i < FM_NV_GRANULE / 2U;
        x ^= x << 13; /* Marsaglia's xorshift */
        x ^= x >> 17;
        x ^= x << 5;
        if (fm_power.spoil == FM_POWER_ZEROS) {
            granule[i] = 0U;
        } else if (fm_power.spoil == FM_POWER_ONES) {
            granule[i] = 0xFFU;
        } else if (fm_power.spoil == FM_POWER_RANDOM) {
            granule[i] = (unsigned char)(x >> 11);
        } else if (fm_power.spoil == (is_front ? FM_POWER_FRONT : FM_POWER_BACK)) {
            granule[i] = from[i];
        }
    }
}

/* The port's function, granule by granule. */
void fm_nv_write(void *nv, const void *from, size_t size)
{
    unsigned char *to = nv;
    const unsigned char *byte = from;
    const size_t place = nv_place(nv);

    settle();
    if (place % FM_NV_GRANULE != 0U || size % FM_NV_GRANULE != 0U || (uintptr_t)from % 2U != 0U ||
        place >= nv_size() || size > nv_size() - place) {
        fault(FM_POWER_BAD_WRITE, nv);
    }
    if (fm_power.shadow && fm_power.booted) {
        shadow_kept(to, size);
    }
    for (; size != 0U; size -= FM_NV_GRANULE, to += FM_NV_GRANULE, byte += FM_NV_GRANULE) {
        spend(to);
        if (fm_power.survive == fm_power.written) {
            spoil(to, byte);
            stop(FM_POWER_CUT);
        }
        copy(to, byte, FM_NV_GRANULE);
        struct fm_power_write *const entry = log_entry(fm_power.written);
        if (entry != NULL) {
            entry->at = (uint32_t)nv_place(to);
            entry->part = 0U;
            entry->parts = 1U;
            copy(entry->bytes, to, FM_NV_GRANULE);
        }
        ++fm_power.written;
    }
}

void forget_store(void)
{
    store.granules = 0U;
    store.torn = 0;
}
