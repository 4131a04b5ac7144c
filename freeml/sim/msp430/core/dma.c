/* The DMA controller (chapter "DMA controller"): six channels, started by software. */
#include "devices.h"

#include "memory.h"

#define DMADT(control) ((control) >> 12 & 7u)
#define DMADSTBYTE 0x80u
#define DMASRCBYTE 0x40u
#define DMAEN 0x10u
#define DMAIFG 0x08u
#define DMAIE 0x04u
#define DMAREQ 0x01u

/* "DMA transfer cycle time": one or two cycles to synchronize before a transfer or a block (here: one), two for each
 * byte or word, one after the transfer or block: 4 for a single transfer, as in the table of cycle times. */
#define CYCLES_BEFORE 1u
#define CYCLES_EACH 2u
#define CYCLES_AFTER 1u

/* In burst-block mode the CPU gets two cycles after every four transfers. */
#define BURST_TRANSFERS 4u
#define BURST_CPU_CYCLES 2u

#define DMAIV 0x050Eu

int dma_interrupts(const struct core *core)
{
    for (unsigned n = 0; n < DMA_CHANNELS; n++) {
        if ((core->s.dma[n].control & (DMAIFG | DMAIE)) == (DMAIFG | DMAIE)) {
            return 1;
        }
    }
    return 0;
}

static uint32_t take_vector(struct core *core)
{
    for (unsigned n = 0; n < DMA_CHANNELS; n++) {
        struct dma_channel *channel = &core->s.dma[n];
        if ((channel->control & (DMAIFG | DMAIE)) == (DMAIFG | DMAIE)) {
            channel->control &= ~DMAIFG;
            return 2u * n + 2u;
        }
    }
    return 0u;
}

int dma_read(struct core *core, uint32_t address, uint32_t *value)
{
    if (address == DMAIV) {
        *value = take_vector(core);
        return 0;
    }
    if (address < DMA_START + 0x10u) {
        *value = get_register(core, address);
        return 0;
    }
    const struct dma_channel *channel = &core->s.dma[((address - DMA_START) >> 4) - 1u];
    switch (address & 0xFu) {
    case 0x0:
        *value = channel->control;
        break;
    case 0x2:
        *value = channel->source & 0xFFFFu;
        break;
    case 0x4:
        *value = channel->source >> 16;
        break;
    case 0x6:
        *value = channel->target & 0xFFFFu;
        break;
    case 0x8:
        *value = channel->target >> 16;
        break;
    default:
        *value = channel->size;
        break;
    }
    return 0;
}

static void latch(struct dma_channel *channel)
{
    channel->now_source = channel->source;
    channel->now_target = channel->target;
    channel->size_again = channel->size;
}

static int write_control(struct core *core, unsigned n, uint32_t value)
{
    struct dma_channel *channel = &core->s.dma[n];
    const int starts = (value & DMAEN) != 0u && (channel->control & DMAEN) == 0u;
    channel->control = value & 0x7FFEu;
    if ((value & DMAEN) == 0u) {
        channel->active = 0u;
        return 0;
    }
    if (starts) {
        const uint32_t trigger = get_register(core, DMA_START + 2u * (n >> 1)) >> (n & 1u ? 8u : 0u) & 0x1Fu;
        if (trigger != 0u) {
            return raise_fault(core, FAULT_DMA_TRIGGER, DMA_START + 0x10u * (n + 1u), n, trigger);
        }
        latch(channel);
    }
    if ((value & DMAREQ) != 0u && channel->size != 0u && channel->active == 0u) {
        channel->active = 1u;
        channel->started = 0u;
        channel->burst = 0u;
        channel->resume_at = 0u;
    }
    core->s.attention = 1u;
    return 0;
}

int dma_write(struct core *core, uint32_t address, uint32_t value)
{
    if (address < DMA_START + 0x10u) {
        if (address != DMAIV) {
            set_register(core, address, value);
        }
        return 0;
    }
    const unsigned n = ((address - DMA_START) >> 4) - 1u;
    struct dma_channel *channel = &core->s.dma[n];
    switch (address & 0xFu) {
    case 0x0:
        return write_control(core, n, value);
    case 0x2: /* a word instruction clears the upper bits; MOVX.A writes them next */
        channel->source = value;
        break;
    case 0x4:
        channel->source = (channel->source & 0xFFFFu) | (value & 0xFu) << 16;
        break;
    case 0x6:
        channel->target = value;
        break;
    case 0x8:
        channel->target = (channel->target & 0xFFFFu) | (value & 0xFu) << 16;
        break;
    default:
        channel->size = value;
        break;
    }
    return 0;
}

/* The active channel of the highest priority, or DMA_CHANNELS. */
static unsigned chosen(const struct core *core)
{
    unsigned n = 0;
    while (n < DMA_CHANNELS && (core->s.dma[n].active == 0u || core->s.cycles < core->s.dma[n].resume_at)) {
        n++;
    }
    return n;
}

int dma_wants_bus(const struct core *core)
{
    return chosen(core) < DMA_CHANNELS;
}

uint64_t dma_next(const struct core *core)
{
    uint64_t next = NEVER;
    for (unsigned n = 0; n < DMA_CHANNELS; n++) {
        if (core->s.dma[n].active != 0u && core->s.dma[n].resume_at < next) {
            next = core->s.dma[n].resume_at;
        }
    }
    return next;
}

static uint32_t moved(uint32_t address, uint32_t how, uint32_t bytes)
{
    return (how == 2u ? address - bytes : how == 3u ? address + bytes : address) & ADDRESS_MASK;
}

static void finish(struct dma_channel *channel)
{
    channel->size = channel->size_again;
    channel->active = 0u;
    channel->control |= DMAIFG;
    if (DMADT(channel->control) < 4u) {
        channel->control &= ~DMAEN;
    } else {
        latch(channel);
    }
}

/* One byte or word. */
int dma_transfer(struct core *core)
{
    const unsigned n = chosen(core);
    struct dma_channel *channel = &core->s.dma[n];
    const uint32_t control = channel->control;
    const uint32_t from_bytes = control & DMASRCBYTE ? 1u : 2u;
    const uint32_t to_bytes = control & DMADSTBYTE ? 1u : 2u;
    const unsigned mode = DMADT(control) & 3u;
    uint32_t value = 0;

    core->fault_channel = n + 1u;
    core->s.cycles += CYCLES_EACH + (channel->started ? 0u : CYCLES_BEFORE);
    channel->started = 1u;
    if (load_part(core, channel->now_source, from_bytes, core->s.cycles - 1u, &value)) {
        return 1;
    }
    if (to_bytes == 1u) {
        value &= 0xFFu;
    }
    if (store_part(core, channel->now_target, to_bytes, core->s.cycles, value)) {
        return 1;
    }
    core->fault_channel = 0u;
    channel->now_source = moved(channel->now_source, control >> 8 & 3u, from_bytes);
    channel->now_target = moved(channel->now_target, control >> 10 & 3u, to_bytes);
    channel->size = (channel->size - 1u) & 0xFFFFu;
    if (channel->size == 0u) {
        finish(channel);
    } else if (mode == 0u) {
        channel->active = 0u;
    }
    if (channel->active == 0u) {
        core->s.cycles += CYCLES_AFTER;
    } else if (mode >= 2u && ++channel->burst == BURST_TRANSFERS) {
        channel->burst = 0u;
        channel->resume_at = core->s.cycles + BURST_CPU_CYCLES;
    }
    return 0;
}
