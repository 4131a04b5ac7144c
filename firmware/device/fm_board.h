/* What a board gives to the firmware that runs on it. Implemented by board.c in the board's own folder. */
#ifndef FM_BOARD_H
#define FM_BOARD_H

#include <stdint.h>

#include "fm_port_board.h"

/* Values of fm_board_status. Chosen so that neither erased nor zeroed memory looks like a result. */
#define FM_STATUS_RUNNING 0x5255u  /* the program started and has not finished */
#define FM_STATUS_OK 0x4F4Bu       /* every output byte equals the test vector's */
#define FM_STATUS_MISMATCH 0x4E45u /* at least one output byte differs */
#define FM_STATUS_TRAP 0x5452u     /* an interrupt or fault that nobody expected */

/* The last reported status: read it with a debugger, or in a simulator by its symbol. */
extern volatile uint16_t fm_board_status;

/* Brings up clock, pins and console. Interrupts stay off. */
void fm_board_init(void);

/* Stores the status word. */
void fm_board_report(uint16_t status);

/* Writes one character to the console; returns when the hardware has taken it. */
void fm_board_putc(char c);

/* Waits for one character from the console and returns it, 0 to 255; -1 at once where a board has no way to hear one,
 * which its fm_port_board.h says with FM_BOARD_DEAF: then the compiler leaves out what would answer. Elsewhere never
 * inlined: a simulator with nothing to say may stop inside. */
#ifdef FM_BOARD_DEAF
static inline int fm_board_wait(void)
{
    return -1;
}
#else
int fm_board_wait(void) __attribute__((noinline));
#endif

/* Stops the processor in its deepest sleep, for good. Never inlined: a simulator may stop at this address. */
void fm_board_halt(void) __attribute__((noreturn, noinline));

/* Called by the startup code with a stack and nothing else: initialises memory, runs main and halts. */
void fm_board_start(void) __attribute__((noreturn));

#endif
