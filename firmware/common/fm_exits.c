/* The arithmetic of exits: freeml/fixedpoint/confidence.py and freeml/ops/answer.py, number by number. */
#include "model.h"

#if FM_EXIT_COUNT > 0U

#include "fm_exits.h"
#include "fm_memory.h"
#include "fm_nv.h"

/* Entropies are in units of 1/1024 nat; a step of the table of exponentials is 1/16 nat. */
#define UNITS_PER_STEP 64U
#define LOG_2 710U

/* 2^15 exp(-i / 16); beyond 11 nats a class counts for nothing. */
static const uint16_t exponentials[176] = {
    32768, 30783, 28918, 27166, 25520, 23974, 22521, 21157, 19875, 18671, 17539, 16477, 15479, 14541, 13660, 12832,
    12055, 11324, 10638, 9994, 9388, 8819, 8285, 7783, 7312, 6869, 6452, 6061, 5694, 5349, 5025, 4721, 4435, 4166, 3914,
    3676, 3454, 3244, 3048, 2863, 2690, 2527, 2374, 2230, 2095, 1968, 1849, 1737, 1631, 1533, 1440, 1352, 1271, 1194,
    1121, 1053, 990, 930, 873, 820, 771, 724, 680, 639, 600, 564, 530, 498, 467, 439, 412, 387, 364, 342, 321, 302, 283,
    266, 250, 235, 221, 207, 195, 183, 172, 162, 152, 143, 134, 126, 118, 111, 104, 98, 92, 86, 81, 76, 72, 67, 63, 59,
    56, 52, 49, 46, 43, 41, 38, 36, 34, 32, 30, 28, 26, 25, 23, 22, 21, 19, 18, 17, 16, 15, 14, 13, 12, 12, 11, 10, 10,
    9, 9, 8, 8, 7, 7, 6, 6, 6, 5, 5, 5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1,
};

/* 1024 log(1 + i / 64) */
static const uint16_t logarithms[64] = {
    0, 16, 32, 47, 62, 77, 92, 106, 121, 135, 149, 162, 176, 189, 203, 216, 228, 241, 254, 266, 278, 291, 303, 314, 326,
    338, 349, 360, 372, 383, 394, 404, 415, 426, 436, 447, 457, 467, 477, 487, 497, 507, 517, 526, 536, 545, 555, 564,
    573, 582, 591, 600, 609, 618, 626, 635, 644, 652, 661, 669, 677, 685, 694, 702,
};

/* The rule of the next inference, as the program set it or as it was compiled. */
fm_policy fm_policy_chosen;

#define KEPT_BYTES ((sizeof(fm_policy) + FM_NV_GRANULE - 1U) / FM_NV_GRANULE * FM_NV_GRANULE)

typedef union kept_policy {
    fm_policy policy;
    unsigned char granules[KEPT_BYTES];
} kept_policy;

static FM_NV kept_policy policy_kept;

uint32_t (*fm_energy_left)(void);

void fm_policy_reset(void)
{
    fm_policy_chosen = fm_default_policy;
}

fm_policy *fm_next_policy(void)
{
    return &fm_policy_chosen;
}

void fm_policy_keep(void)
{
    static kept_policy next; /* whole granules are written */
    next.policy = fm_policy_chosen;
    fm_nv_write(&policy_kept, &next, sizeof policy_kept);
}

const fm_policy *fm_policy_kept(void)
{
    return &policy_kept.policy;
}

static int32_t score(const fm_exit *exit, unsigned index)
{
    const unsigned char *const first = (const unsigned char *)&fm_arena + exit->at;
    return exit->wide != 0U ? ((const int16_t *)(const void *)first)[index] : ((const int8_t *)first)[index];
}

/* The class of the largest score, the first of equals. */
static unsigned top_class(const fm_exit *exit)
{
    unsigned top = 0;
    for (unsigned i = 1; i < FM_CLASS_COUNT; ++i) {
        if (score(exit, i) > score(exit, top)) {
            top = i;
        }
    }
    return top;
}

/* How far the second largest score is below the largest. */
static uint16_t margin(const fm_exit *exit, unsigned top)
{
    uint16_t least = FM_NEVER;
    for (unsigned i = 0; i < FM_CLASS_COUNT; ++i) {
        const uint16_t distance = (uint16_t)(score(exit, top) - score(exit, i));
        if (i != top && distance < least) {
            least = distance;
        }
    }
    return least;
}

/* Entropy of the softmax: H = log S + sum(e d) / S, where d is a class's distance from the largest, e = exp(-d) and S
 * the sum of e. All sums stay below 2^32 for 256 classes. */
static uint16_t entropy(const fm_exit *exit, unsigned top)
{
    uint32_t total = 0;
    uint32_t spread = 0;
    for (unsigned i = 0; i < FM_CLASS_COUNT; ++i) {
        const uint32_t distance = (uint32_t)(score(exit, top) - score(exit, i));
        const uint32_t index = (distance * exit->steps) >> 16;
        if (index < sizeof exponentials / sizeof *exponentials) {
            const uint32_t weight = exponentials[index];
            total += weight;
            spread += weight * index;
        }
    }
    uint16_t doublings = 0;
    uint32_t leading = total; /* the largest counts 2^15, so there is always a bit 15 to find */
    while (leading > UINT16_MAX) {
        leading >>= 1;
        doublings++;
    }
    const uint32_t whole = (uint32_t)doublings * LOG_2 + logarithms[(leading - 0x8000U) >> 9];
    return (uint16_t)(whole + spread * UNITS_PER_STEP / total);
}

static unsigned reliability(const fm_exit *exit, unsigned top)
{
    const unsigned bin = (unsigned)margin(exit, top) >> exit->shift;
    return exit->right[bin < FM_EXIT_BINS ? bin : FM_EXIT_BINS - 1U];
}

/* How many exits agree, this one and those right before it. */
static unsigned agreeing(unsigned exit)
{
    const unsigned top = top_class(&fm_exits[exit]);
    unsigned count = 1;
    while (exit-- != 0U && top_class(&fm_exits[exit]) == top) {
        count++;
    }
    return count;
}

int fm_exit_stops(unsigned exit)
{
    const fm_policy *const rule = &policy_kept.policy;
    const fm_exit *const here = &fm_exits[exit];
    const uint16_t threshold = rule->thresholds[exit];
    if (exit < rule->first || exit > rule->last) {
        return 0;
    }
    switch (rule->kind) {
    case FM_POLICY_CONFIDENCE:
        return threshold != FM_NEVER && margin(here, top_class(here)) >= threshold;
    case FM_POLICY_RELIABILITY:
        return threshold != FM_NEVER && reliability(here, top_class(here)) >= threshold;
    case FM_POLICY_ENTROPY:
    case FM_POLICY_LABEL_FREE:
        return entropy(here, top_class(here)) < threshold;
    case FM_POLICY_PATIENCE:
        return agreeing(exit) >= rule->patience;
    default:
        return 0;
    }
}

void fm_exit_answer(unsigned exit, unsigned reason, fm_answer *answer)
{
    const unsigned top = top_class(&fm_exits[exit]);
    answer->answer = (uint16_t)top;
    answer->exit = (uint16_t)exit;
    answer->reason = (uint16_t)reason;
    answer->confidence = (uint16_t)reliability(&fm_exits[exit], top);
}

#else

typedef int fm_no_exits; /* ISO C wants something in a file */

#endif
