/* Runs the layers region by region and commits after each. What may be cut where, and why the answer is the same, is in
 * DESIGN.md. */
#include "fm_run.h"

#include "fm_memory.h"
#include "fm_nv.h"
#include "fm_progress.h"
#include "model.h"

uint16_t fm_progress_now;

/* Nothing that the layers stored may be moved behind the commit by a compiler. */
#define BARRIER() __asm__ volatile("" : : : "memory")

static void commit(unsigned word)
{
    BARRIER();
    fm_progress_store((uint16_t)word);
    fm_progress_now = (uint16_t)word;
}

static unsigned cursor(void)
{
    return fm_progress_now & FM_PROGRESS_CURSOR;
}

static unsigned result_bits(void)
{
    return fm_progress_now & (FM_PROGRESS_RESULT | FM_PROGRESS_VALID);
}

static unsigned char *arena(unsigned at)
{
    return (unsigned char *)&fm_arena + at;
}

#ifdef FM_ARENA_IN_SRAM

/* Bytes [from, to) of the arena have a new meaning: they must outlive the power. */
static void keep(unsigned from, unsigned to)
{
    to += FM_NV_GRANULE - 1U;
    to -= to % FM_NV_GRANULE;
    fm_nv_write(&fm_kept[from], arena(from), to - from);
}

static void keep_units(const fm_layer *layer, unsigned first, unsigned end)
{
    const unsigned from = first == 0U ? 0U : layer->lead + first * layer->unit;
    const unsigned to = end == layer->units ? layer->size : layer->lead + end * layer->unit;
    keep(layer->out + from, layer->out + to);
}

static void keep_inputs(void)
{
    for (unsigned i = 0; i < FM_INPUT_COUNT; ++i) {
        keep(fm_inputs[i].at, fm_inputs[i].at + fm_inputs[i].size);
    }
}

static void restore(void)
{
    const volatile uint32_t *from = (const volatile uint32_t *)(const volatile void *)fm_kept;
    for (unsigned i = 0; i < sizeof fm_arena / sizeof *fm_arena.s32; ++i) {
        fm_arena.s32[i] = (int32_t)*from++;
    }
}

#else

/* The arena is non-volatile itself: what a layer stored is kept already. */
static void keep_units(const fm_layer *layer, unsigned first, unsigned end)
{
    (void)layer;
    (void)first;
    (void)end;
}

static void keep_inputs(void)
{
}

static void restore(void)
{
}

#endif

void fm_boot(void)
{
    /* The arena's address is part of the identity: a build that places it elsewhere is another owner. */
    fm_progress_now = fm_progress_load(FM_IDENTITY ^ (uint32_t)(uintptr_t)&fm_arena);
    if (cursor() > FM_REGION_COUNT + 1U) {
        commit(0U);
    }
    if (fm_pending()) {
        restore();
    }
}

int fm_pending(void)
{
    return cursor() != 0U;
}

void *fm_input(unsigned index)
{
    if (fm_pending()) {
        commit(result_bits());
    }
    return arena(fm_inputs[index < FM_INPUT_COUNT ? index : FM_INPUT_COUNT - 1U].at);
}

void fm_start(void)
{
    keep_inputs();
    commit(result_bits() | 1U);
}

/* The regions of a layer from unit `first` on. */
static void run_layer(const fm_layer *layer, unsigned first)
{
    while (first != layer->units) {
        const unsigned left = layer->units - first;
        const unsigned end = first + (left < layer->per_region ? left : layer->per_region);
        layer->run(first, end);
        keep_units(layer, first, end);
        commit(result_bits() | (cursor() + 1U));
        first = end;
    }
}

/* Put the outputs where the last result is not, then make that the newest. */
static void publish(void)
{
    const unsigned next = result_bits() ^ FM_PROGRESS_RESULT;
    unsigned char *to = fm_results[(next & FM_PROGRESS_RESULT) != 0U ? 1 : 0];

    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {
        fm_nv_write(to + fm_outputs[i].result, arena(fm_outputs[i].at), fm_outputs[i].size);
    }
    commit(next | FM_PROGRESS_VALID);
}

void fm_run(void)
{
    if (!fm_pending()) {
        return;
    }
    unsigned done = cursor() - 1U;
    for (unsigned i = 0; i < FM_LAYER_COUNT; ++i) {
        const fm_layer *layer = &fm_layers[i];
        if (done >= layer->regions) {
            done -= layer->regions;
            continue;
        }
        run_layer(layer, done * layer->per_region);
        done = 0U;
    }
    publish();
}

void fm_infer(void)
{
    fm_start();
    fm_run();
}

const void *fm_output(unsigned index)
{
    const unsigned char *const result = fm_results[(fm_progress_now & FM_PROGRESS_RESULT) != 0U ? 1 : 0];
    if ((fm_progress_now & FM_PROGRESS_VALID) == 0U) {
        return NULL;
    }
    return result + fm_outputs[index < FM_OUTPUT_COUNT ? index : FM_OUTPUT_COUNT - 1U].result;
}
