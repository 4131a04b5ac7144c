/* What the library offers to its caller. Sizes and offsets are asked for, never assumed. */
#ifndef M430_API_H
#define M430_API_H

#include "machine.h"

#pragma GCC visibility push(default)

/* Bytes of a core with its memory, and where what a snapshot copies begins. `flat`: a CPU with 1 MB of plain memory
 * and no devices; otherwise an MSP430FR5994. */
uint64_t m430_core_bytes(uint32_t flat);
uint64_t m430_state_offset(void);
uint64_t m430_memory_bytes(uint32_t flat);
uint64_t m430_op_bytes(void);

/* Readies a zeroed core; its buffers' addresses are filled in by the caller before. */
void m430_init(struct core *core, uint32_t flat);

/* A reset: devices and registers as the guide says, SRAM filled with a byte, PC from the reset vector. */
void m430_reset(struct core *core, uint32_t sram);

/* The caller changed memory: instructions decoded from it are dropped. */
void m430_forget(struct core *core, uint32_t address, uint32_t bytes);

/* Before all of memory becomes what is given: instructions stay decoded where nothing changes. */
void m430_forget_changes(struct core *core, const uint8_t *memory);

void m430_set_break(struct core *core, uint32_t address, uint32_t flag, uint32_t on);

/* Runs until a limit (totals, not differences), a breakpoint or something else in `enum stop`. The instruction at
 * which the run begins is not looked at for a breakpoint unless `may_break`. */
uint32_t m430_run(struct core *core, uint64_t instruction_limit, uint64_t cycle_limit, uint32_t may_break);

/* Watch `bytes` bytes of FRAM from `address` on, none of them accessed yet; 0 ends it. `watched` has room for them.
 * Watched or not, the machine does the same. */
void m430_watch(struct core *core, uint32_t address, uint32_t bytes);

/* A hash of all that decides what the machine will do: memory, registers, devices, but no counters. Times count as what
 * is left of them. */
void m430_fingerprint(const struct core *core, uint64_t sum[4]);

#pragma GCC visibility pop

#endif
