/* Bring-up of the MSP430FR5994 without any vendor library. */
#include "fm_board.h"
#include "msp430fr5994.h"

/* 8 MHz needs no FRAM wait state; 16 MHz needs one (data sheet SLASE54, "Recommended operating conditions"). */
#ifndef FM_CLOCK_MHZ
#define FM_CLOCK_MHZ 8
#endif

/* 115,200 baud (SLAU367, eUSCI UART mode, table of recommended settings): UCBRx, then UCBRSx << 8 | UCBRFx << 4. */
#if FM_CLOCK_MHZ == 8
#define FM_FRAM_WAITS NWAITS_0
#define FM_DCO DCOFSEL_6
#define FM_UART_DIVIDER 4u
#define FM_UART_MODULATION 0x5550u
#elif FM_CLOCK_MHZ == 16
#define FM_FRAM_WAITS NWAITS_1
#define FM_DCO (DCORSEL | DCOFSEL_4)
#define FM_UART_DIVIDER 8u
#define FM_UART_MODULATION 0xF7A0u
#else
#error "FM_CLOCK_MHZ must be 8 or 16"
#endif

/* Kept in FRAM, so that it can still be read after the supply was lost. */
volatile uint16_t fm_board_status __attribute__((section(".fm_nv")));

/* Set by the linker script; all are even. */
extern uint16_t fm_data_start[];
extern uint16_t fm_data_end[];
extern const uint16_t fm_data_load[];
extern uint16_t fm_bss_start[];
extern uint16_t fm_bss_end[];

int main(void);

void fm_board_start(void)
{
    const uint16_t *from = fm_data_load;
    uint16_t *to;

    /* First of all: the watchdog runs after a reset, and copying 8 KB at 1 MHz takes longer than its interval. */
    WDTCTL = WDTPW | WDTHOLD;
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
    uint16_t wait;

    FRCTL0 = FRCTLPW | FM_FRAM_WAITS;

    /* Erratum CS12: change the DCO's range with the dividers at 4, so that its overshoot stays within the limits. */
    CSCTL0 = CSKEY;
    CSCTL2 = SELA_VLO | SELS_DCO | SELM_DCO;
    CSCTL3 = DIV_ALL_4;
    CSCTL1 = FM_DCO;
    for (wait = 0u; wait < 20u; wait++) {
        __asm__ volatile("nop"); /* at least 60 cycles for the DCO to settle */
    }
    CSCTL3 = DIV_ALL_1;
    CSCTL0_H = CSLOCK_H;

    /* P2.0 = UCA0TXD, P2.1 = UCA0RXD (data sheet, port P2 pin functions: PxSEL = 10b). */
    P2SEL0 = (uint8_t)(P2SEL0 & 0xFCu);
    P2SEL1 = (uint8_t)(P2SEL1 | 0x03u);
    PM5CTL0 = (uint16_t)(PM5CTL0 & (uint16_t)~LOCKLPM5);

    UCA0CTLW0 = UCSWRST;
    UCA0CTLW0 = UCSWRST | UCSSEL_SMCLK;
    UCA0BRW = FM_UART_DIVIDER;
    UCA0MCTLW = FM_UART_MODULATION | UCOS16;
    UCA0CTLW0 = UCSSEL_SMCLK;
}

void fm_board_report(uint16_t status)
{
    fm_board_status = status;
}

void fm_board_putc(char c)
{
    while ((UCA0IFG & UCTXIFG) == 0u) {
    }
    UCA0TXBUF = (uint16_t)(unsigned char)c;
}

/* Polled: at 8 MHz a character takes 694 cycles to arrive, and whoever reads more than one is faster than that. */
int fm_board_wait(void)
{
    while ((UCA0IFG & UCRXIFG) == 0u) {
    }
    return (int)(UCA0RXBUF & 0xFFu);
}

void fm_board_halt(void)
{
    /* The last character still leaves at SMCLK's pace. */
    while ((UCA0STATW & UCBUSY) != 0u) {
    }
    for (;;) {
        __asm__ volatile("bis %0, r2" : : "i"(FM_LPM4_BITS));
    }
}
