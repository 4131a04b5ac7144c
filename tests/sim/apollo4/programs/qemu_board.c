/* A board for both machines: QEMU's mps2-an386 and the simulated Apollo4. The program ends at finished(), where the counts
 * are compared; behind it, QEMU prints what the net gave (semihosting, Arm IHI 0050 / "Semihosting for AArch32") and ends. */
#include <stddef.h>
#include <stdint.h>

#include "fm_board.h"
#include "fm_nv.h"
#include "vectors.h"

#define SYS_WRITE0 0x04
#define SYS_EXIT 0x18
#define ADP_STOPPED_APPLICATION_EXIT 0x20026u

int main(void);
void fm_board_start(void);
void finished(void) __attribute__((noinline));

volatile uint16_t fm_board_status;

/* Zeroed and copied as on the real board; what it must not contain is initialised by neither. */
extern uint32_t fm_data_start[];
extern uint32_t fm_data_end[];
extern const uint32_t fm_data_load[];
extern uint32_t fm_bss_start[];
extern uint32_t fm_bss_end[];

#define OUTPUT(index) + sizeof fm_vector_output_##index[0]
#define OUTPUT_BYTES (FM_VECTOR_COUNT * (0u FM_EACH_OUTPUT(OUTPUT)))
unsigned char outputs[OUTPUT_BYTES];

static uint32_t semihosting(uint32_t operation, uintptr_t argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void finished(void)
{
    char text[3] = {0};
    for (size_t i = 0; i < OUTPUT_BYTES; i++) {
        text[0] = "0123456789abcdef"[outputs[i] >> 4];
        text[1] = "0123456789abcdef"[outputs[i] & 15u];
        (void)semihosting(SYS_WRITE0, (uintptr_t)text);
    }
    (void)semihosting(SYS_EXIT, ADP_STOPPED_APPLICATION_EXIT);
}

static unsigned char *copy(unsigned char *to, const unsigned char *from, size_t size)
{
    while (size-- != 0u) {
        *to++ = *from++;
    }
    return to;
}

/* The machine that QEMU imitates has plain memory where the Apollo4 has MRAM. */
void fm_nv_write(void *nv, const void *from, size_t size)
{
    (void)copy(nv, from, size);
}

#define LOAD(index) (void)copy(fm_input(index), (const unsigned char *)fm_vector_input_##index[vector], \
    sizeof fm_vector_input_##index[0]);
#define KEEP(index) to = copy(to, fm_output(index), sizeof fm_vector_output_##index[0]);

int main(void)
{
    unsigned char *to = outputs;
    for (unsigned vector = 0; vector < FM_VECTOR_COUNT; vector++) {
        FM_EACH_INPUT(LOAD)
        fm_infer();
        FM_EACH_OUTPUT(KEEP)
    }
    finished();
    return 0;
}

void fm_board_start(void)
{
    const uint32_t *from = fm_data_load;
    uint32_t *to;
    for (to = fm_data_start; to != fm_data_end; to++) {
        *to = *from++;
    }
    for (to = fm_bss_start; to != fm_bss_end; to++) {
        *to = 0u;
    }
    (void)main();
    fm_board_halt();
}

void fm_board_report(uint16_t status)
{
    fm_board_status = status;
}

void fm_board_halt(void)
{
    for (;;) {
    }
}
