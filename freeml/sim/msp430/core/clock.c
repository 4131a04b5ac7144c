/* Clock system CS, watchdog WDT_A, and the two modules whose registers are guarded by the same password (FRAM
 * controller, power management). No clock is simulated as such: frequencies matter to the timer, the UART and the
 * watchdog only. */
#include "devices.h"

#define PASSWORD 0xA5u
#define PASSWORD_READS_AS 0x9600u

/* Data sheet SLASE54, "DCO", "Internal very-low-power low-frequency oscillator" and "Module oscillator": typical
 * values. */
static const uint32_t dco_hz[2][8] = {
    {1000000, 2670000, 3500000, 4000000, 5330000, 7000000, 8000000, 8000000},
    {1000000, 5330000, 7000000, 8000000, 16000000, 21000000, 24000000, 24000000},
};
#define LFXT_HZ 32768u
#define VLO_HZ 9400u
#define MODCLK_HZ 4800000u
#define NO_WAIT_HZ 8000000u

static uint32_t source_hz(const struct core *core, uint32_t select)
{
    const uint32_t dco = get_register(core, CSCTL1);
    switch (select & 7u) {
    case 0:
        return LFXT_HZ;
    case 1:
        return VLO_HZ;
    case 2:
        return MODCLK_HZ / 128u;
    case 3:
        return dco_hz[dco >> 6 & 1u][dco >> 1 & 7u];
    default:
        return MODCLK_HZ; /* also in place of a crystal HFXT that the board does not have */
    }
}

static uint32_t divided(uint32_t hz, uint32_t divider)
{
    const uint32_t shift = divider & 7u;
    return hz >> (shift > 5u ? 5u : shift);
}

/* Counts of the watchdog's intervals (table "WDTCTL register", WDTIS). */
static const uint8_t watchdog_bits[] = {31, 27, 23, 19, 15, 13, 9, 6};

static void plan_watchdog(struct core *core)
{
    const uint32_t control = get_register(core, WDTCTL);
    struct clock *clock = &core->s.clock;
    if (control & 0x80u) {
        clock->watchdog_at = NEVER;
        return;
    }
    const uint32_t select = control >> 5 & 3u;
    const uint32_t hz = select == 0u ? clock->smclk_hz : select == 1u ? clock->aclk_hz : VLO_HZ;
    const uint64_t counts = (uint64_t)1 << watchdog_bits[control & 7u];
    clock->watchdog_at = clock->watchdog_since + counts * clock->mclk_hz / hz;
}

static void derive(struct core *core, uint64_t time)
{
    const uint32_t sources = get_register(core, CSCTL2);
    const uint32_t dividers = get_register(core, CSCTL3);
    struct clock *clock = &core->s.clock;
    timer_advance(core, time);
    clock->aclk_hz = divided(source_hz(core, sources >> 8 & 3u), dividers >> 8);
    clock->smclk_hz = divided(source_hz(core, sources >> 4), dividers >> 4);
    clock->mclk_hz = divided(source_hz(core, sources), dividers);
    plan_watchdog(core);
}

int clock_check(struct core *core)
{
    if (core->s.clock.mclk_hz > NO_WAIT_HZ && core->s.waits == 0u) {
        return raise_fault(core, FAULT_FRAM_SPEED, CSCTL3, 2u, core->s.clock.mclk_hz);
    }
    return 0;
}

static int guarded(struct core *core, uint32_t address, uint32_t bytes, uint32_t value)
{
    if (bytes != 2u) {
        return raise_fault(core, FAULT_ACCESS_WIDTH, address, bytes, 0u);
    }
    return value >> 8 == PASSWORD ? 0 : raise_fault(core, FAULT_PASSWORD, address, bytes, value);
}

int clock_write(struct core *core, uint32_t address, uint32_t bytes, uint64_t time, uint32_t value)
{
    if (address <= FRCTL0 + 1u) {
        if (guarded(core, address, bytes, value)) {
            return 1;
        }
        set_register(core, address, PASSWORD_READS_AS | (value & 0xFFu));
        if (address == FRCTL0) {
            core->s.waits = value >> 4 & 7u;
        }
        return clock_check(core);
    }
    if (address == CSCTL0 + 1u) { /* a byte with another value locks */
        core->s.clock.unlocked = value == PASSWORD;
        return 0;
    }
    if (address == CSCTL0 && bytes == 2u) { /* a word with another password resets the chip */
        core->s.clock.unlocked = 1u;
        return guarded(core, address, bytes, value);
    }
    if (bytes != 2u) {
        return raise_fault(core, FAULT_ACCESS_WIDTH, address, bytes, 0u);
    }
    if (!core->s.clock.unlocked) {
        return raise_fault(core, FAULT_CLOCK_LOCKED, address, bytes, value);
    }
    set_register(core, address, value);
    derive(core, time);
    core->s.attention = 1u;
    return clock_check(core);
}

void clock_reset(struct core *core)
{
    set_register(core, CSCTL0, PASSWORD_READS_AS);
    set_register(core, CSCTL1, 0x000Cu);
    set_register(core, CSCTL2, 0x0033u);
    set_register(core, CSCTL3, 0x0033u);
    set_register(core, 0x0168u, 0xCDC9u);
    set_register(core, 0x016Au, 0x00C0u);
    set_register(core, CSCTL6, 0x0007u);
    set_register(core, WDTCTL, 0x6904u);
    derive(core, core->s.cycles);
}

/* WDTCTL takes words with the password 0x5A only; anything else resets the chip. */
int watchdog_write(struct core *core, uint32_t bytes, uint64_t time, uint32_t value)
{
    if (bytes != 2u || value >> 8 != 0x5Au) {
        return raise_fault(core, FAULT_PASSWORD, WDTCTL, bytes, value);
    }
    set_register(core, WDTCTL, 0x6900u | (value & 0xF7u));
    if (value & 0x88u) { /* held or cleared: counting begins anew */
        core->s.clock.watchdog_since = time;
    }
    plan_watchdog(core);
    core->s.attention = 1u;
    return 0;
}

int watchdog_expire(struct core *core)
{
    if (core->s.cycles < core->s.clock.watchdog_at) {
        return 0;
    }
    if ((get_register(core, WDTCTL) & 0x10u) == 0u) {
        return raise_fault(core, FAULT_WATCHDOG, WDTCTL, 2u, 0u);
    }
    set_register(core, SFRIFG1, get_register(core, SFRIFG1) | 1u);
    core->s.clock.watchdog_since = core->s.clock.watchdog_at;
    plan_watchdog(core);
    return 0;
}

int watchdog_interrupts(const struct core *core)
{
    return (get_register(core, SFRIFG1) & get_register(core, SFRIE1) & 1u) != 0u;
}
