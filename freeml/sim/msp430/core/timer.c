/* Timer_A0 (chapter "Timer_A"): counting and comparing; no captures, no outputs. Its count follows from the time. */
#include "devices.h"

#define TAIFG 0x01u
#define TAIE 0x02u
#define TACLR 0x04u
#define MODE(control) ((control) >> 4 & 3u)
#define CCIFG 0x01u
#define CCIE 0x10u

enum { TA0CTL = 0x00, TA0CCTL0 = 0x02, TA0R = 0x10, TA0CCR0 = 0x12, TA0EX0 = 0x20, TA0IV = 0x2E };
enum { STOPPED, UP, CONTINUOUS, UP_DOWN };

/* Frequency of the timer's clock before its dividers; 0 while it stands. */
static uint64_t clock_hz(const struct core *core)
{
    const uint32_t control = core->s.timer.control;
    const uint32_t sr = core->s.r[SR];
    const uint32_t source = control >> 8 & 3u;
    if (MODE(control) == STOPPED || (MODE(control) != CONTINUOUS && core->s.timer.ccr[0] == 0u)) {
        return 0u;
    }
    if (source == 1u) {
        return sr & SR_OSCOFF ? 0u : core->s.clock.aclk_hz;
    }
    return source == 2u && (sr & SR_SCG1) == 0u ? core->s.clock.smclk_hz : 0u;
}

/* Ticks are elapsed cycles * clock_hz / denominator. */
static uint64_t denominator(const struct core *core)
{
    const struct timer *timer = &core->s.timer;
    return ((uint64_t)core->s.clock.mclk_hz << (timer->control >> 6 & 3u)) * ((timer->expansion & 7u) + 1u);
}

static uint32_t period(const struct timer *timer)
{
    switch (MODE(timer->control)) {
    case UP:
        return timer->ccr[0] + 1u;
    case UP_DOWN:
        return 2u * timer->ccr[0];
    default:
        return 0x10000u;
    }
}

/* Ticks from now until the count next is at a position, at least 1. */
static uint64_t distance(const struct timer *timer, uint32_t position)
{
    const uint32_t length = period(timer);
    const uint32_t count = timer->count % length;
    return position > count ? position - count : (uint64_t)position + length - count;
}

static uint64_t until_compare(const struct timer *timer, unsigned n)
{
    const uint32_t value = timer->ccr[n];
    if (MODE(timer->control) != CONTINUOUS && value > timer->ccr[0]) {
        return NEVER;
    }
    const uint64_t up = distance(timer, value);
    if (MODE(timer->control) != UP_DOWN || value == 0u || value == timer->ccr[0]) {
        return up;
    }
    const uint64_t down = distance(timer, 2u * timer->ccr[0] - value);
    return up < down ? up : down;
}

void timer_advance(struct core *core, uint64_t time)
{
    struct timer *timer = &core->s.timer;
    const uint64_t hz = clock_hz(core);
    const uint64_t elapsed = time > timer->since ? time - timer->since : 0u;
    timer->since += elapsed;
    if (hz == 0u || elapsed == 0u) {
        return;
    }
    const uint64_t total = elapsed * hz + timer->fraction;
    const uint64_t ticks = total / denominator(core);
    timer->fraction = total % denominator(core);
    if (ticks == 0u) {
        return;
    }
    for (unsigned n = 0; n < 3u; n++) {
        if (ticks >= until_compare(timer, n)) {
            timer->cctl[n] |= CCIFG;
        }
    }
    if (ticks >= distance(timer, 0u)) {
        timer->control |= TAIFG;
    }
    timer->count = (uint32_t)((timer->count + ticks) % period(timer));
}

uint32_t timer_interrupts(const struct core *core)
{
    const struct timer *timer = &core->s.timer;
    uint32_t pending = (timer->cctl[0] & CCIE) != 0u && (timer->cctl[0] & CCIFG) != 0u ? 1u : 0u;
    if ((timer->control & TAIE) != 0u && (timer->control & TAIFG) != 0u) {
        pending |= 2u;
    }
    for (unsigned n = 1; n < 3u; n++) {
        if ((timer->cctl[n] & CCIE) != 0u && (timer->cctl[n] & CCIFG) != 0u) {
            pending |= 2u;
        }
    }
    return pending;
}

void timer_accept_ccr0(struct core *core)
{
    core->s.timer.cctl[0] &= ~CCIFG;
}

/* When the timer next raises a flag whose interrupt is enabled. */
uint64_t timer_next(const struct core *core)
{
    const struct timer *timer = &core->s.timer;
    const uint64_t hz = clock_hz(core);
    uint64_t ticks = NEVER;
    if (hz == 0u) {
        return NEVER;
    }
    for (unsigned n = 0; n < 3u; n++) {
        if ((timer->cctl[n] & (CCIE | CCIFG)) == CCIE && until_compare(timer, n) < ticks) {
            ticks = until_compare(timer, n);
        }
    }
    if ((timer->control & (TAIE | TAIFG)) == TAIE && distance(timer, 0u) < ticks) {
        ticks = distance(timer, 0u);
    }
    if (ticks == NEVER) {
        return NEVER;
    }
    return timer->since + (ticks * denominator(core) - timer->fraction + hz - 1u) / hz;
}

static uint32_t take_vector(struct timer *timer)
{
    for (unsigned n = 1; n < 3u; n++) {
        if ((timer->cctl[n] & CCIE) != 0u && (timer->cctl[n] & CCIFG) != 0u) {
            timer->cctl[n] &= ~CCIFG;
            return 2u * n;
        }
    }
    if ((timer->control & TAIE) != 0u && (timer->control & TAIFG) != 0u) {
        timer->control &= ~TAIFG;
        return 0x0Eu;
    }
    return 0u;
}

uint32_t timer_read(struct core *core, uint32_t address, uint64_t time)
{
    struct timer *timer = &core->s.timer;
    const uint32_t offset = address - TIMER_START;
    timer_advance(core, time);
    switch (offset) {
    case TA0CTL:
        return timer->control;
    case TA0R:
        return MODE(timer->control) == UP_DOWN && timer->count > timer->ccr[0] ? period(timer) - timer->count
                                                                               : timer->count & 0xFFFFu;
    case TA0EX0:
        return timer->expansion;
    case TA0IV:
        return take_vector(timer);
    default:
        return offset < TA0R ? timer->cctl[(offset - TA0CCTL0) >> 1] : timer->ccr[(offset - TA0CCR0) >> 1];
    }
}

void timer_write(struct core *core, uint32_t address, uint64_t time, uint32_t value)
{
    struct timer *timer = &core->s.timer;
    const uint32_t offset = address - TIMER_START;
    timer_advance(core, time);
    switch (offset) {
    case TA0CTL:
        timer->control = value & 0x03F3u;
        if (value & TACLR) {
            timer->count = 0u;
            timer->fraction = 0u;
        }
        break;
    case TA0R:
        timer->count = value;
        break;
    case TA0EX0:
        timer->expansion = value & 7u;
        break;
    case TA0IV:
        break;
    default:
        if (offset < TA0R) {
            timer->cctl[(offset - TA0CCTL0) >> 1] = value;
        } else {
            timer->ccr[(offset - TA0CCR0) >> 1] = value;
        }
        break;
    }
    if (MODE(timer->control) == UP && timer->count > timer->ccr[0]) {
        timer->count = 0u; /* "the timer rolls to zero" */
    }
    core->s.attention = 1u;
}
