/* Everything that the board would not survive: the test writes `misdeed` when main begins. */
#include <stdint.h>

#include "fm_nv.h"

#define NOINLINE __attribute__((noinline))
#define WORD(address) (*(volatile uint32_t *)(uintptr_t)(address))

int main(void);

volatile uint32_t misdeed;
volatile uint32_t sink;
volatile uint32_t variables[0x400];
const uint32_t constant[4] = {1, 2, 3, 4};
static uint32_t persistent[8] FM_NV;

typedef int (*rom)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
#define ROM(address) ((rom)(uintptr_t)(address))

static NOINLINE void hang(void)
{
    while (misdeed != 0u) {
    }
}

static NOINLINE uint32_t recurse(uint32_t depth)
{
    volatile uint32_t frame[64];
    frame[depth % 64u] = depth;
    return depth == UINT32_MAX ? 0u : recurse(depth + 1u) + frame[depth % 64u];
}

/* A frame that is larger than what is left, in a function that calls nothing. */
static NOINLINE void large_frame(void)
{
    volatile uint8_t frame[0x60000 - 0x400];
    frame[misdeed] = 1u;
    sink = frame[2u * misdeed];
}

static NOINLINE void store_to_mram(void)
{
    *(volatile uint32_t *)(uintptr_t)&constant[1] = 5u;
}

static NOINLINE void read_nowhere(void)
{
    sink = WORD(0x30000000u);
}

static NOINLINE void write_peripheral(void)
{
    WORD(0x40021000u) = 1u;
}

static NOINLINE void null_pointer(void)
{
    sink = WORD(misdeed - misdeed);
}

static NOINLINE void undefined(void)
{
    __asm__ volatile("udf #0");
}

static NOINLINE void breakpoint(void)
{
    __asm__ volatile("bkpt #0");
}

static NOINLINE void supervisor(void)
{
    __asm__ volatile("svc #0");
}

static NOINLINE void sleep(void)
{
    __asm__ volatile("wfi");
}

static NOINLINE void jump_to_data(void)
{
    ((void (*)(void))((uintptr_t)&sink | 1u))();
}

static NOINLINE void jump_to_arm(void)
{
    __asm__ volatile("bx %0" : : "r"((uintptr_t)&hang & ~(uintptr_t)1));
}

static NOINLINE void unaligned_pair(void)
{
    __asm__ volatile("ldrd r2, r3, [%0]" : : "r"((uintptr_t)&sink + 2u) : "r2", "r3", "memory");
}

static NOINLINE void unaligned_multiple(void)
{
    __asm__ volatile("ldm %0, {r2, r3}" : : "r"((uintptr_t)&sink + 1u) : "r2", "r3", "memory");
}

static NOINLINE void unaligned_float(void)
{
    register uintptr_t base __asm__("r0") = (uintptr_t)&sink + 2u;
    __asm__ volatile(".inst.w 0xED900A00" : : "r"(base) : "memory"); /* vldr s0, [r0]; not every compiler knows it */
}

static NOINLINE void float_off(void)
{
    WORD(0xE000ED88u) = 0u;
    __asm__ volatile(".inst.w 0xEEB70A00"); /* vmov.f32 s0, #1.0 */
}

static NOINLINE void unknown_register(void)
{
    sink = WORD(0xE000E010u);
}

static NOINLINE void other_helper(void)
{
    (void)ROM(0x08000055u)(0, 0, 0, 0, 0);
}

static NOINLINE void wrong_key(void)
{
    (void)ROM(0x0800006Du)(0x12344320u, 1u, (uint32_t)(uintptr_t)&sink, (uint32_t)(uintptr_t)persistent / 4u, 4u);
}

static NOINLINE void interrupts_on(void)
{
    (void)ROM(0x0800006Du)(0x12344321u, 1u, (uint32_t)(uintptr_t)&sink, (uint32_t)(uintptr_t)persistent / 4u, 4u);
}

static NOINLINE void source_in_mram(void)
{
    __asm__ volatile("cpsid i");
    (void)ROM(0x0800006Du)(0x12344321u, 1u, (uint32_t)(uintptr_t)constant, (uint32_t)(uintptr_t)persistent / 4u, 4u);
}

static NOINLINE void half_granule(void)
{
    __asm__ volatile("cpsid i");
    (void)ROM(0x0800006Du)(0x12344321u, 1u, (uint32_t)(uintptr_t)&sink, (uint32_t)(uintptr_t)persistent / 4u, 2u);
}

static NOINLINE void between_granules(void)
{
    __asm__ volatile("cpsid i");
    (void)ROM(0x0800006Du)(0x12344321u, 1u, (uint32_t)(uintptr_t)&sink, (uint32_t)(uintptr_t)persistent / 4u + 1u, 4u);
}

static NOINLINE void program_code(void)
{
    __asm__ volatile("cpsid i");
    (void)ROM(0x0800006Du)(0x12344321u, 1u, (uint32_t)(uintptr_t)&sink, 0x18000u / 4u, 4u);
}

static NOINLINE void program_nothing(void)
{
    fm_nv_write(persistent, (const void *)&sink, 0u);
}

static void (*const misdeeds[])(void) = {
    0,
    hang,
    large_frame,
    store_to_mram,
    read_nowhere,
    write_peripheral,
    null_pointer,
    undefined,
    breakpoint,
    supervisor,
    sleep,
    jump_to_data,
    jump_to_arm,
    unaligned_pair,
    unaligned_multiple,
    unaligned_float,
    float_off,
    unknown_register,
    other_helper,
    wrong_key,
    interrupts_on,
    source_in_mram,
    half_granule,
    between_granules,
    program_code,
    program_nothing,
};

int main(void)
{
    variables[misdeed % 0x400u] = 1u;
    if (misdeed < sizeof misdeeds / sizeof *misdeeds && misdeeds[misdeed] != 0) {
        misdeeds[misdeed]();
    } else if (misdeed == 100u) {
        sink = recurse(0);
    }
    return 0;
}
