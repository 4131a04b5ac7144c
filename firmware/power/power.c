/* The machine whose power fails: see power.h. */
#include "machine.h"

#include "fm_memory.h"
#include "fm_progress.h"
#include "host_values.h"
#include "model.h"

#define STACK_MARGIN 4096U /* what functions may use below the deepest place that was seen */

OURS struct fm_power fm_power;
OURS struct machine machine;

void stop(int outcome)
{
    machine.outcome = outcome;
    fm_power_leave(machine.home);
}

void fault(enum fm_power_fault what, const void *address)
{
    fm_power.fault = what;
    fm_power.fault_address = (uint64_t)(uintptr_t)address;
    stop(FM_POWER_FAULT);
}

void spend(const void *address)
{
    if (fm_power.spent++ >= fm_power.fuel) {
        fault(FM_POWER_ENDLESS, address);
    }
}

/* --- commits ---------------------------------------------------------------------------------------------------- */

static int ranges_equal(const unsigned char *kept)
{
    for (unsigned i = 0U; i < fm_power.sram_count; ++i) {
        if (!equal(fm_power.sram[i].start, kept, fm_power.sram[i].size)) {
            return 0;
        }
        kept += fm_power.sram[i].size;
    }
    return 1;
}

static void keep_ranges(unsigned char *kept)
{
    for (unsigned i = 0U; i < fm_power.sram_count; ++i) {
        copy(kept, fm_power.sram[i].start, fm_power.sram[i].size);
        kept += fm_power.sram[i].size;
    }
}

static int agrees(const struct fm_power_state *state, const unsigned char *frames, uint64_t frames_size)
{
    return state->is_set && state->frames_size == frames_size && equal(nv_start, state->nv, nv_size()) &&
           ranges_equal(state->sram) && equal(frames, state->frames, frames_size) &&
           equal((const unsigned char *)machine.registers, (const unsigned char *)state->registers,
                 sizeof state->registers);
}

/* The frames that count are those from this function's up. */
static __attribute__((noinline)) void committed(void)
{
    const unsigned char *const frames = __builtin_frame_address(0);
    const uint64_t frames_size = (uint64_t)(fm_power.stack + fm_power.stack_size - frames);

    settle();
    if (fm_power.commit_count < fm_power.commits_size) {
        fm_power.commits[fm_power.commit_count] = fm_power.written;
    }
    ++fm_power.commit_count;
    shadow_next_region();
    if (frames_size > FM_POWER_FRAMES) {
        return;
    }
    if (fm_power.compare && agrees(fm_power.state, frames, frames_size)) {
        stop(FM_POWER_AGREED);
    }
    if (fm_power.record == fm_power.commit_count) {
        struct fm_power_state *const state = fm_power.state;
        copy((unsigned char *)state->registers, (const unsigned char *)machine.registers, sizeof state->registers);
        state->frames_size = frames_size;
        copy(state->frames, frames, frames_size);
        copy(state->nv, nv_start, nv_size());
        keep_ranges(state->sram);
        state->is_set = 1U;
    }
}

/* What fm_run calls for fm_progress_store: it is compiled so. Registers that this function uses itself are in its
 * frame, those that it does not are as the caller left them. */
void fm_power_commit(uint16_t progress);
void fm_power_commit(uint16_t progress)
{
    fm_progress_store(progress);
    fm_power_registers(machine.registers);
    committed();
    __asm__ volatile(""); /* no tail call: the frame stays */
}

/* --- what the program tells ------------------------------------------------------------------------------------- */

/* Which sample's result is shown. */
static uint32_t shown(void)
{
    unsigned there = 0U;
    uint32_t fits = (1U << FM_POWER_SAMPLES) - 1U;
    uint64_t position = 0U;

    for (unsigned i = 0U; i < FM_OUTPUT_COUNT; ++i) {
        const unsigned char *const output = fm_output(i);
        const size_t size = fm_host_outputs[i].size;
        if (output == NULL) {
            continue;
        }
        ++there;
        if (nv_place(output) >= nv_size() || size > nv_size() - nv_place(output)) {
            fault(FM_POWER_BAD_OUTPUT, output);
        }
        for (unsigned k = 0U; k < FM_POWER_SAMPLES; ++k) {
            if (!equal(output, fm_power.expected[k] + position, size)) {
                fits &= ~(1U << k);
            }
        }
        position += size;
    }
    if (there == 0U) {
        return FM_POWER_SHOWS_NONE;
    }
    if (there != FM_OUTPUT_COUNT) {
        fault(FM_POWER_BAD_OUTPUT, NULL);
    }
    for (unsigned k = FM_POWER_SAMPLES; k-- != 0U;) {
        if ((fits & (1U << k)) != 0U) {
            return k;
        }
    }
    return FM_POWER_SHOWS_OTHER;
}

const unsigned char *fm_power_booted(int pending)
{
    settle();
    fm_power.booted = 1U;
    fm_power.pending = pending != 0;
    fm_power.shows = shown();
    shadow_next_region();
    if (!fm_power.force && (pending || fm_power.shows == fm_power.capture)) {
        if (!pending) {
            fm_power_end();
        }
        return NULL;
    }
    fm_power.captured = 1U;
    return fm_power.samples[fm_power.capture];
}

void fm_power_at(enum fm_power_moment moment)
{
    uint64_t *const at = moment == FM_POWER_AT_INPUT   ? &fm_power.at_input
                         : moment == FM_POWER_AT_START ? &fm_power.at_start
                                                       : &fm_power.at_started;
    settle();
    if (*at == FM_POWER_NEVER) {
        *at = fm_power.written;
    }
}

void fm_power_end(void)
{
    settle();
    fm_power.at_end = fm_power.written;
    fm_power.shows_at_end = shown();
    stop(FM_POWER_ENDED);
}

/* --- for drivers ------------------------------------------------------------------------------------------------ */

struct fm_power_net fm_power_describe(void)
{
    struct fm_power_net net = {
        .granule = FM_NV_GRANULE,
        .nv_size = nv_size(),
        .arena_at = nv_place(&fm_arena),
        .arena_size = sizeof fm_arena,
        .layers = FM_LAYER_COUNT,
    };
#ifdef FM_ARENA_IN_SRAM
    net.mirrored = 1U;
    net.arena_at = nv_place(fm_kept);
#endif
    for (unsigned i = 0U; i < FM_INPUT_COUNT; ++i) {
        net.inputs_size += fm_host_inputs[i].size;
    }
    for (unsigned i = 0U; i < FM_OUTPUT_COUNT; ++i) {
        net.outputs_size += fm_host_outputs[i].size;
    }
    return net;
}

uint64_t fm_power_layer_regions(unsigned layer)
{
    return fm_layers[layer].regions;
}

unsigned char *fm_power_nv(void)
{
    return nv_start;
}

void fm_power_apply(unsigned char *image, const struct fm_power_write *log, uint64_t from, uint64_t to)
{
    for (; from < to; ++from) {
        copy(image + log[from].at, log[from].bytes, FM_NV_GRANULE);
    }
}

static void reset(void)
{
    unsigned char *const stack_top = fm_power.stack + fm_power.stack_size;
    unsigned char *stack_from = fm_power.stack;

    if (machine.deepest != NULL && machine.deepest > fm_power.stack + STACK_MARGIN) {
        stack_from = machine.deepest - STACK_MARGIN;
    }
    fill(stack_from, fm_power.poison, (size_t)(stack_top - stack_from));
    machine.deepest = stack_top;
    for (unsigned i = 0U; i < fm_power.sram_count; ++i) {
        const struct fm_power_range *const range = &fm_power.sram[i];
        if (range->initial != NULL) {
            copy(range->start, range->initial, range->size);
        } else {
            fill(range->start, fm_power.poison, range->size);
        }
    }
    forget_store();
    fm_power.written = 0U;
    fm_power.commit_count = 0U;
    fm_power.spent = 0U;
    fm_power.at_input = FM_POWER_NEVER;
    fm_power.at_start = FM_POWER_NEVER;
    fm_power.at_started = FM_POWER_NEVER;
    fm_power.at_end = FM_POWER_NEVER;
    fm_power.booted = 0U;
    fm_power.pending = 0U;
    fm_power.shows = FM_POWER_SHOWS_NONE;
    fm_power.captured = 0U;
    fm_power.shows_at_end = FM_POWER_SHOWS_NONE;
    fm_power.fault = FM_POWER_NO_FAULT;
    fm_power.fault_address = 0U;
    shadow_next_region();
}

int fm_power_boot(void)
{
    reset();
    fm_power_enter(fm_power_program, fm_power.stack + fm_power.stack_size, &machine.home);
    return machine.outcome;
}
