/* MRAM is programmed by a function of the boot ROM, 16 bytes at a time; plain stores have no effect on it.
 *
 * Entry, key and arguments are those of AmbiqSuite's HAL for the Apollo4 (am_hal_mram_main_program calls
 * nv_program_main2 of the boot ROM's table of helpers, at 0x0800006C; key AM_HAL_MRAM_PROGRAM_KEY; the target is an
 * offset in words). The HAL asks for targets of whole granules, AmbiqSuite's examples switch interrupts off around the
 * call. That a cut of the supply leaves each granule old or new follows from the MRAM's unit of programming. None of it
 * was run on silicon. */
#include "fm_board.h"
#include "fm_nv.h"

#define TCM_START 0x10000000u
#define TCM_END 0x10060000u
#define PROGRAM_KEY 0x12344321u
#define PROGRAM_FROM_MEMORY 1u

typedef int (*fm_rom_program)(uint32_t key, uint32_t function, uint32_t source, uint32_t target_word, uint32_t words);

/* Bit 0 marks Thumb code. */
#define ROM_PROGRAM ((fm_rom_program)(uintptr_t)(0x0800006Cu | 1u))

/* Addresses of the source, in TCM since no part of the MRAM can be read while it is programmed, and of the target. */
static void program(uint32_t target, uint32_t source, uint32_t size)
{
    uint32_t were_masked;
    int failed;

    __asm__ volatile("mrs %0, primask\n\tcpsid i" : "=r"(were_masked) : : "memory");
    failed = ROM_PROGRAM(PROGRAM_KEY, PROGRAM_FROM_MEMORY, source, target / 4u, size / 4u);
    __asm__ volatile("msr primask, %0" : : "r"(were_masked) : "memory");
    if (failed != 0) {
        fm_board_halt(); /* nothing that follows may rely on what is not there */
    }
}

void fm_nv_write(void *nv, const void *from, size_t size)
{
    const unsigned char *byte = from;
    const uint32_t source = (uint32_t)(uintptr_t)from;
    uint32_t target = (uint32_t)(uintptr_t)nv;

    if (source % 4u == 0u && source >= TCM_START && source < TCM_END && size <= TCM_END - source) {
        program(target, source, (uint32_t)size);
        return;
    }
    /* Otherwise by way of the stack, which is in TCM. */
    for (; size != 0u; size -= FM_NV_GRANULE) {
        union {
            uint32_t aligned;
            unsigned char bytes[FM_NV_GRANULE];
        } granule;
        for (unsigned i = 0; i < FM_NV_GRANULE; i++) {
            granule.bytes[i] = *byte++;
        }
        program(target, (uint32_t)(uintptr_t)&granule, FM_NV_GRANULE);
        target += FM_NV_GRANULE;
    }
}
