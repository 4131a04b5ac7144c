/* The registers of the MSP430FR5994 that this firmware touches, and no others. The linker script places them: GCC 12
 * takes a constant address below 4096 for a null pointer with an offset and warns.
 * Bits: family user's guide SLAU367, chapter named at each group. */
#ifndef MSP430FR5994_H
#define MSP430FR5994_H

#include <stdint.h>

/* Power management (PMM). Clearing LOCKLPM5 lets the pins follow the port registers. */
extern volatile uint16_t PM5CTL0;
#define LOCKLPM5 0x0001u

/* FRAM controller (FRCTL_A). */
extern volatile uint16_t FRCTL0;
#define FRCTLPW 0xA500u
#define NWAITS_0 0x0000u
#define NWAITS_1 0x0010u

/* Watchdog (WDT_A). */
extern volatile uint16_t WDTCTL;
#define WDTPW 0x5A00u
#define WDTHOLD 0x0080u

/* Clock system (CS). */
extern volatile uint16_t CSCTL0;
extern volatile uint8_t CSCTL0_H;
extern volatile uint16_t CSCTL1;
extern volatile uint16_t CSCTL2;
extern volatile uint16_t CSCTL3;
#define CSKEY 0xA500u
#define CSLOCK_H 0x00u /* to the upper byte alone: a word with another password resets the chip */
#define DCOFSEL_6 0x000Cu /* 8 MHz with DCORSEL = 0 */
#define DCOFSEL_4 0x0008u /* 16 MHz with DCORSEL = 1 */
#define DCORSEL 0x0040u
#define SELA_VLO 0x0100u
#define SELS_DCO 0x0030u
#define SELM_DCO 0x0003u
#define DIV_ALL_1 0x0000u
#define DIV_ALL_4 0x0222u

/* Port 2 (digital I/O): P2.0 and P2.1 carry the LaunchPad's back-channel serial port. */
extern volatile uint8_t P2SEL0;
extern volatile uint8_t P2SEL1;

/* Hardware multiplier (MPY32). */
extern volatile uint16_t MPY;
extern volatile uint16_t MPYS;
extern volatile uint16_t MAC;
extern volatile uint16_t MACS;
extern volatile uint16_t OP2;
extern volatile uint16_t RESLO;
extern volatile uint16_t RESHI;
extern volatile uint16_t SUMEXT;
extern volatile uint16_t MPY32L;
extern volatile uint16_t MPY32H;
extern volatile uint16_t MPYS32L;
extern volatile uint16_t MPYS32H;
extern volatile uint16_t MAC32L;
extern volatile uint16_t MAC32H;
extern volatile uint16_t MACS32L;
extern volatile uint16_t MACS32H;
extern volatile uint16_t OP2L;
extern volatile uint16_t OP2H;
extern volatile uint16_t RES0;
extern volatile uint16_t RES1;
extern volatile uint16_t RES2;
extern volatile uint16_t RES3;
extern volatile uint16_t MPY32CTL0;

/* Serial interface (eUSCI_A0, UART mode). */
extern volatile uint16_t UCA0CTLW0;
extern volatile uint16_t UCA0BRW;
extern volatile uint16_t UCA0MCTLW;
extern volatile uint16_t UCA0STATW;
extern volatile uint16_t UCA0RXBUF;
extern volatile uint16_t UCA0TXBUF;
extern volatile uint16_t UCA0IFG;
#define UCSWRST 0x0001u
#define UCSSEL_SMCLK 0x0080u
#define UCOS16 0x0001u
#define UCBUSY 0x0001u
#define UCRXIFG 0x0001u
#define UCTXIFG 0x0002u

/* Status register bits of the CPU that stop it: LPM4, with GIE left clear so that nothing wakes it. */
#define FM_LPM4_BITS 0x00F0u

#endif
