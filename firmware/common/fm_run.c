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
#if FM_EXIT_COUNT > 0U
    fm_policy_reset();
#endif
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
#if FM_EXIT_COUNT > 0U
    if (fm_pending()) {
        commit(result_bits());
    }
    fm_policy_keep();
#endif
    keep_inputs();
    commit(result_bits() | 1U);
}

/* The layer that the cursor stands at, FM_LAYER_COUNT behind the last one, and how many of its regions are done. */
static unsigned standing(unsigned *regions)
{
    unsigned done = cursor() - 1U;
    unsigned layer = 0;
    while (layer < FM_LAYER_COUNT && done >= fm_layers[layer].regions) {
        done -= fm_layers[layer].regions;
        layer++;
    }
    *regions = done;
    return layer;
}

#if FM_EXIT_COUNT > 0U

/* How many exits have their scores complete when a layer is next. */
static unsigned passed(unsigned layer)
{
    unsigned count = 0;
    while (count < FM_EXIT_COUNT && layer > fm_exits[count].layer) {
        count++;
    }
    return count;
}

/* Why the inference ends here, at the last exit passed; FM_REASON_END where it does not. What the rule says depends on
 * the cursor and on committed scores alone, so it says the same after a power failure. */
static unsigned reason_to_end(unsigned layer, unsigned done)
{
    const unsigned exits = passed(layer);
    if (exits == 0U || layer == FM_LAYER_COUNT) {
        return FM_REASON_END;
    }
    if (done == 0U && layer == fm_exits[exits - 1U].layer + 1U && fm_exit_stops(exits - 1U)) {
        return FM_REASON_RULE;
    }
    if (fm_policy_kept()->energy != 0U && fm_energy_left != NULL && fm_energy_left() < fm_region_nj[layer]) {
        return FM_REASON_ENERGY;
    }
    return FM_REASON_END;
}

int fm_best(fm_answer *answer)
{
    unsigned done;
    const unsigned exits = fm_pending() ? passed(standing(&done)) : 0U;
    if (exits == 0U) {
        return 0;
    }
    fm_exit_answer(exits - 1U, FM_REASON_END, answer);
    return 1;
}

const fm_answer *fm_answered(void)
{
    return fm_output(FM_OUTPUT_COUNT - 1U);
}

/* What is published of output `index` by an inference that ends before layer `layer`: the answer, outputs that are
 * complete, zeros for others. */
static void publish_early(unsigned char *to, unsigned index, const fm_answer *answer, unsigned layer)
{
    static unsigned char granule[FM_NV_GRANULE > sizeof(fm_answer) ? FM_NV_GRANULE : sizeof(fm_answer)];
    const fm_span *const output = &fm_outputs[index];
    const unsigned char *const words = (const unsigned char *)answer;
    const int is_answer = index == FM_OUTPUT_COUNT - 1U;

    if (!is_answer && output->layer < layer) {
        fm_nv_write(to, arena(output->at), output->size);
        return;
    }
    for (unsigned i = 0; i < sizeof granule; ++i) {
        granule[i] = 0U;
        if (is_answer && i < sizeof *answer) {
            granule[i] = words[i];
        }
    }
    if (is_answer) {
        fm_nv_write(to, granule, output->size);
        return;
    }
    for (unsigned at = 0; at < output->size; at += FM_NV_GRANULE) {
        fm_nv_write(to + at, granule, FM_NV_GRANULE);
    }
}

#endif

/* Put the outputs where the last result is not, then make that the newest. */
static void publish(unsigned reason, unsigned layer)
{
    const unsigned next = result_bits() ^ FM_PROGRESS_RESULT;
    unsigned char *to = fm_results[(next & FM_PROGRESS_RESULT) != 0U ? 1 : 0];
#if FM_EXIT_COUNT > 0U
    fm_answer answer;
    if (reason != FM_REASON_END) {
        fm_exit_answer(passed(layer) - 1U, reason, &answer);
    }
#endif

    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {
#if FM_EXIT_COUNT > 0U
        if (reason != FM_REASON_END) {
            publish_early(to + fm_outputs[i].result, i, &answer, layer);
            continue;
        }
#endif
        fm_nv_write(to + fm_outputs[i].result, arena(fm_outputs[i].at), fm_outputs[i].size);
    }
    (void)reason;
    (void)layer;
    commit(next | FM_PROGRESS_VALID);
}

int fm_advance(void)
{
    unsigned reason = FM_REASON_END;
    unsigned done;
    if (!fm_pending()) {
        return 0;
    }
    const unsigned number = standing(&done);
#if FM_EXIT_COUNT > 0U
    reason = reason_to_end(number, done);
#endif
    if (number == FM_LAYER_COUNT || reason != FM_REASON_END) {
        publish(reason, number);
        return 0;
    }
    const fm_layer *const layer = &fm_layers[number];
    const unsigned first = done * layer->per_region;
    const unsigned left = layer->units - first;
    const unsigned end = first + (left < layer->per_region ? left : layer->per_region);
    layer->run(first, end);
    keep_units(layer, first, end);
    commit(result_bits() | (cursor() + 1U));
    return 1;
}

void fm_run(void)
{
    while (fm_advance()) {
    }
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
