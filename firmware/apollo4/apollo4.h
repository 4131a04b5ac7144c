/* The registers this firmware touches on the Apollo4, and no others: all belong to the Cortex-M4 itself.
 * Addresses and bits: Armv7-M Architecture Reference Manual (DDI 0403), "System Control Space" and "Instrumentation
 * Trace Macrocell". */
#ifndef APOLLO4_H
#define APOLLO4_H

#include <stdint.h>

#define FM_REGISTER_32(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define FM_REGISTER_8(address) (*(volatile uint8_t *)(uintptr_t)(address))

#define SCB_VTOR FM_REGISTER_32(0xE000ED08u)
#define SCB_SCR FM_REGISTER_32(0xE000ED10u)
#define SCB_CPACR FM_REGISTER_32(0xE000ED88u)
#define SCR_SLEEPDEEP 0x00000004u
#define CPACR_FULL_FPU 0x00F00000u

#define ITM_PORT0_WORD FM_REGISTER_32(0xE0000000u)
#define ITM_PORT0_BYTE FM_REGISTER_8(0xE0000000u)
#define ITM_TER FM_REGISTER_32(0xE0000E00u)
#define ITM_TCR FM_REGISTER_32(0xE0000E80u)
#define ITM_READY 0x00000001u
#define ITM_PORT0_ENABLED 0x00000001u
#define ITM_ENABLED 0x00000001u
#define ITM_BUSY 0x00800000u

#endif
