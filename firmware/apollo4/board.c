/* Bring-up of the Apollo4 without any vendor library. The boot loader hands over with the core at 96 MHz, MRAM and
 * TCM powered and the watchdog stopped, so little is left to do. */
#include "apollo4.h"
#include "fm_board.h"
#include "fm_nv.h"

/* Kept in MRAM, so that it can still be read after the supply was lost: a whole granule, the status in its first
 * halfword. Written by fm_nv_write alone. */
static struct {
    uint16_t status;
    uint16_t unused[FM_NV_GRANULE / 2 - 1];
} status_record FM_NV;
extern volatile uint16_t fm_board_status __attribute__((alias("status_record")));

/* Set by the linker script; all are multiples of four. */
extern uint32_t fm_data_start[];
extern uint32_t fm_data_end[];
extern const uint32_t fm_data_load[];
extern uint32_t fm_bss_start[];
extern uint32_t fm_bss_end[];

int main(void);

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

void fm_board_init(void)
{
}

void fm_board_report(uint16_t status)
{
    const uint16_t record[sizeof status_record / 2u] = {status};
    fm_nv_write(&status_record, record, sizeof record);
}

/* The console is trace port 0 (SWO). Without a probe that enabled it, characters are dropped. */
void fm_board_putc(char c)
{
    if ((ITM_TCR & ITM_ENABLED) == 0u || (ITM_TER & ITM_PORT0_ENABLED) == 0u) {
        return;
    }
    while ((ITM_PORT0_WORD & ITM_READY) == 0u) {
    }
    ITM_PORT0_BYTE = (uint8_t)c;
}

void fm_board_halt(void)
{
    /* The last character may still be on its way through the trace port. */
    while ((ITM_TCR & ITM_BUSY) != 0u) {
    }
    SCB_SCR |= SCR_SLEEPDEEP;
    for (;;) {
        __asm__ volatile("cpsid i\n\twfi");
    }
}
