/* Running: the loop, what happens between instructions, and interrupts. */
#include "api.h"
#include "cycles.h"
#include "decode.h"
#include "devices.h"
#include "memory.h"

/* Where the counters stood when the profile was last told. */
struct mark {
    uint64_t instructions;
    uint64_t cycles;
    uint64_t nv_writes;
    uint64_t nv_reads;
};

static void account(struct core *core, uint32_t pc, struct mark *mark)
{
    const struct state *s = &core->s;
    struct profile_entry *entry = &core->profile[pc < core->memory_bytes ? core->function_of[pc >> 1] : 0u];
    entry->instructions += s->instructions - mark->instructions;
    entry->cycles += s->cycles - mark->cycles;
    entry->nv_writes += s->nv_writes - mark->nv_writes;
    entry->nv_reads += s->nv_reads - mark->nv_reads;
    mark->instructions = s->instructions;
    mark->cycles = s->cycles;
    mark->nv_writes = s->nv_writes;
    mark->nv_reads = s->nv_reads;
}

/* The vector of the pending interrupt of the highest priority, or 0. */
static uint32_t pending_vector(struct core *core)
{
    if (watchdog_interrupts(core)) {
        return VECTOR_WATCHDOG;
    }
    if (uart_interrupts(core, core->s.cycles)) {
        return VECTOR_UART;
    }
    const uint32_t timer = timer_interrupts(core);
    if (timer != 0u) {
        return timer & 1u ? VECTOR_TIMER_CCR0 : VECTOR_TIMER;
    }
    return dma_interrupts(core) ? VECTOR_DMA : 0u;
}

/* "Interrupt acceptance": PC and SR are pushed, SR is cleared but for SCG0. */
static int accept_interrupt(struct core *core, uint32_t vector)
{
    uint32_t *r = core->s.r;
    const uint32_t sp = (r[SP] - 4u) & ADDRESS_MASK;
    const uint32_t sr = r[SR] | (r[PC] >> 4 & 0xF000u);
    uint32_t to = 0;
    core->s.cycles += CYCLES_OF_INTERRUPT;
    const uint64_t now = core->s.cycles;
    if (grow_stack(core, sp) || store_part(core, (sp + 2u) & ADDRESS_MASK, 2u, now, r[PC] & 0xFFFFu) ||
        store_part(core, sp, 2u, now, sr) || load_part(core, vector, 2u, now, &to)) {
        return 1;
    }
    if (vector == VECTOR_TIMER_CCR0) {
        timer_accept_ccr0(core);
    } else if (vector == VECTOR_WATCHDOG) {
        set_register(core, SFRIFG1, get_register(core, SFRIFG1) & ~1u);
    }
    r[SP] = sp;
    r[SR] &= SR_SCG0;
    r[PC] = to & ~1u;
    return 0;
}

/* What has to be done before the next instruction: limits, full buffers, devices, DMA, interrupts, sleep. */
static enum stop service(struct core *core, uint64_t cycle_limit)
{
    struct state *s = &core->s;
    for (;;) {
        if (s->cycles >= cycle_limit) {
            return STOP_CYCLES;
        }
        if ((core->log != 0 && s->log_used + 64u > core->log_capacity) || s->output_used + 2u > core->output_capacity) {
            return STOP_DRAIN;
        }
        timer_advance(core, s->cycles);
        if (watchdog_expire(core)) {
            return STOP_FAULT;
        }
        if (dma_wants_bus(core)) {
            if (dma_transfer(core)) {
                return STOP_FAULT;
            }
            continue;
        }
        const uint32_t vector = s->r[SR] & SR_GIE ? pending_vector(core) : 0u;
        if (vector != 0u) {
            if (accept_interrupt(core, vector)) {
                return STOP_FAULT;
            }
            continue;
        }
        plan_events(core);
        if ((s->r[SR] & SR_CPUOFF) == 0u) {
            s->attention = 0u;
            return RUNNING;
        }
        /* Asleep: time passes until a device acts. */
        if (s->event_at == NEVER) {
            return (s->r[SR] & SR_GIE) != 0u && uart_can_wake(core) ? STOP_INPUT : STOP_ENDED;
        }
        s->cycles = s->event_at < cycle_limit ? s->event_at : cycle_limit;
    }
}

/* An instruction that is not decoded yet, or that has a breakpoint. */
static enum stop look(struct core *core, uint32_t pc, int may_break, struct op *scratch, const struct op **op)
{
    if (!executable(core, pc)) {
        (void)raise_fault(core, FAULT_EXECUTE, pc, 2u, 0u);
        return STOP_FAULT;
    }
    const unsigned flags = core->breaks[pc >> 1];
    if ((flags & BREAK_INPUT) != 0u && !uart_has_input(core)) {
        return STOP_INPUT;
    }
    if ((flags & BREAK_STOP) != 0u && may_break) {
        return STOP_BREAKPOINT;
    }
    struct op *place = flags != 0u ? scratch : &core->ops[pc >> 1];
    if (decode(core, pc, place)) {
        return STOP_FAULT;
    }
    *op = place;
    return RUNNING;
}

ALWAYS_INLINE enum stop run_loop(
    struct core *core, uint64_t instruction_limit, uint64_t cycle_limit, int may_break, int profiling)
{
    struct state *s = &core->s;
    struct mark mark = {s->instructions, s->cycles, s->nv_writes, s->nv_reads};
    struct op scratch;
    enum stop stop;
    uint64_t deadline = 0;

    for (;;) {
        if (s->instructions >= instruction_limit) {
            stop = STOP_INSTRUCTIONS;
            break;
        }
        if (s->cycles >= deadline || s->attention != 0u) {
            stop = service(core, cycle_limit);
            if (stop != RUNNING) {
                break;
            }
            deadline = s->event_at < cycle_limit ? s->event_at : cycle_limit;
        }
        const uint32_t pc = s->r[PC];
        const struct op *op = &core->ops[pc < core->memory_bytes ? pc >> 1 : 0u];
        core->pc = pc;
        if (op->run == 0 || pc >= core->memory_bytes) {
            stop = look(core, pc, may_break, &scratch, &op);
            if (stop != RUNNING) {
                break;
            }
        }
        const uint64_t cycles = s->cycles;
        const uint64_t nv_reads = s->nv_reads;
        if (op->lines != 0u) {
            touch_line(core, pc >> 3);
            if (op->lines != 1u) {
                touch_line(core, (pc >> 3) + 1u);
            }
        }
        s->cycles += op->cycles;
        s->r[PC] = (pc + op->length) & ADDRESS_MASK;
        if (op->run(core, op)) {
            s->r[PC] = pc;
            s->cycles = cycles;
            s->nv_reads = nv_reads;
            stop = STOP_FAULT;
            break;
        }
        s->instructions++;
        may_break = 1;
        if (profiling) {
            account(core, pc, &mark);
        }
    }
    if (profiling) {
        account(core, s->r[PC], &mark);
    }
    return stop;
}

uint32_t m430_run(struct core *core, uint64_t instruction_limit, uint64_t cycle_limit, uint32_t may_break)
{
    core->fault = NO_FAULT;
    core->fault_channel = 0u;
    core->s.attention = 1u;
    const enum stop stop = core->profiling
                               ? run_loop(core, instruction_limit, cycle_limit, may_break != 0u, 1)
                               : run_loop(core, instruction_limit, cycle_limit, may_break != 0u, 0);
    const int limited = stop == STOP_INSTRUCTIONS || stop == STOP_CYCLES;
    const uint32_t pc = core->s.r[PC];
    if (limited && pc < core->memory_bytes && (core->breaks[pc >> 1] & BREAK_STOP) != 0u) {
        return STOP_BREAKPOINT;
    }
    return stop;
}
