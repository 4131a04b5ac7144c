/* What a caller can find out about a run beyond what it did: accesses that would not bear repetition, and whether two
 * machines will do the same from here on. */
#include "api.h"
#include "devices.h"

void watch_load(struct core *core, uint32_t address, uint32_t bytes)
{
    for (uint32_t n = address - core->watch_start; bytes != 0u; n++, bytes--) {
        if (n < core->watch_bytes && core->watched[n] == 0u) {
            core->watched[n] = WATCH_READ;
        }
    }
}

void watch_store(struct core *core, uint32_t address, uint32_t bytes)
{
    for (uint32_t n = address - core->watch_start; bytes != 0u; n++, bytes--) {
        if (n < core->watch_bytes) {
            if (core->watched[n] == WATCH_READ) {
                if (core->hazards++ == 0u) {
                    core->hazard_pc = core->pc;
                    core->hazard_address = core->watch_start + n;
                }
            }
            core->watched[n] |= WATCH_WRITTEN;
        }
    }
}

void m430_watch(struct core *core, uint32_t address, uint32_t bytes)
{
    core->watch_start = address;
    core->watch_bytes = bytes;
    core->hazards = 0u;
    core->plain_nv_bytes = bytes == 0u ? core->nv_bytes : 0u;
    for (uint32_t n = 0; n < bytes; n++) {
        *(volatile uint8_t *)&core->watched[n] = 0u;
    }
}

/* Times as what is left of them: what has passed decides nothing any more. */
static uint64_t left(uint64_t time, uint64_t now)
{
    return time == NEVER ? NEVER : time > now ? time - now : 0u;
}

/* The state without what only counts and what belongs to the caller. */
static void settle(struct state *s)
{
    const uint64_t now = s->cycles;
    s->cycles = 0u;
    s->instructions = 0u;
    s->nv_writes = 0u;
    s->nv_reads = 0u;
    s->event_at = 0u; /* planned anew when a run begins, like the next */
    s->attention = 0u;
    s->output_used = 0u;
    s->log_used = 0u;
    s->mpy.low_written = 0u; /* only told */
    for (unsigned n = 0; n < 4u; n++) {
        s->mpy.ready[n] = left(s->mpy.ready[n], now);
    }
    for (unsigned n = 0; n < DMA_CHANNELS; n++) {
        s->dma[n].resume_at = left(s->dma[n].resume_at, now);
    }
    s->timer.since = (s->timer.control & 0x30u) == 0u ? 0u : now - s->timer.since; /* a timer that stands has none */
    s->uart.buffer_free_at = left(s->uart.buffer_free_at, now);
    s->uart.idle_at = left(s->uart.idle_at, now);
    s->clock.watchdog_since = s->clock.watchdog_at == NEVER ? 0u : now - s->clock.watchdog_since;
    s->clock.watchdog_at = left(s->clock.watchdog_at, now);
}

ALWAYS_INLINE uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    __builtin_memcpy(&word, at, sizeof word);
    return word;
}

/* One step of a multiplicative hash: odd factors, so that no step loses anything of the word it takes in. */
ALWAYS_INLINE uint64_t mixed(uint64_t hash, uint64_t word, uint64_t factor)
{
    hash = (hash ^ word) * factor;
    return hash ^ hash >> 29;
}

/* Four independent sums, because a multiplication takes several cycles. */
static void absorb(uint64_t sum[4], const uint8_t *bytes, uint64_t size)
{
    uint64_t n = 0;
    for (; n + 32u <= size; n += 32u) {
        sum[0] = mixed(sum[0], word_at(bytes + n), UINT64_C(0x9E3779B97F4A7C15));
        sum[1] = mixed(sum[1], word_at(bytes + n + 8u), UINT64_C(0xC2B2AE3D27D4EB4F));
        sum[2] = mixed(sum[2], word_at(bytes + n + 16u), UINT64_C(0x165667B19E3779F9));
        sum[3] = mixed(sum[3], word_at(bytes + n + 24u), UINT64_C(0xD6E8FEB86659FD93));
    }
    for (; n < size; n++) {
        sum[n & 3u] = mixed(sum[n & 3u], bytes[n], UINT64_C(0xFF51AFD7ED558CCD));
    }
}

void m430_fingerprint(const struct core *core, uint64_t sum[4])
{
    struct state settled;
    for (uint64_t n = 0; n < sizeof settled; n++) { /* volatile, or compilers would call memcpy */
        ((volatile uint8_t *)&settled)[n] = ((const uint8_t *)&core->s)[n];
    }
    settle(&settled);
    for (unsigned n = 0; n < 4u; n++) {
        sum[n] = UINT64_C(0x243F6A8885A308D3) * (2u * n + 1u);
    }
    absorb(sum, (const uint8_t *)&settled, sizeof settled);
    absorb(sum, core->memory, core->memory_bytes);
}
