/* An MSP430FR5994: what every part of the simulator knows of the others.
 *
 * All that a snapshot must hold is in `struct state` and in the memory right behind it; what can be rebuilt or belongs
 * to the caller (decoded instructions, breakpoints, logs) is in `struct core` before it. Nothing here is allocated:
 * the caller brings the buffers. Chapters and tables named in comments are those of the family user's guide SLAU367. */
#ifndef M430_MACHINE_H
#define M430_MACHINE_H

#include <stdint.h>

/* Names stay inside the library, but for those of api.h. */
#pragma GCC visibility push(hidden)

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* --- memory map: data sheet SLASE54, "Memory organization" --- */
#define TINY_RAM_START 0x0000Au
#define TINY_RAM_END 0x00020u
#define PERIPHERAL_END 0x01000u
#define BSL_START 0x01000u
#define INFO_START 0x01800u
#define TLV_START 0x01A00u
#define RAM_START 0x01C00u
#define RAM_END 0x03C00u
#define NV_START 0x04000u
#define NV_END 0x44000u
#define FLAT_BYTES 0x100000u
#define ADDRESS_MASK 0xFFFFFu

enum register_name { PC, SP, SR, CG };

#define SR_C 0x001u
#define SR_Z 0x002u
#define SR_N 0x004u
#define SR_GIE 0x008u
#define SR_CPUOFF 0x010u
#define SR_OSCOFF 0x020u
#define SR_SCG0 0x040u
#define SR_SCG1 0x080u
#define SR_V 0x100u
#define SR_FLAGS (SR_C | SR_Z | SR_N | SR_V)
#define SR_IMPLEMENTED 0x1FFu

enum width { BYTE, WORD, ADDRESS };

/* --- why a run stopped --- */
enum stop {
    RUNNING,
    STOP_BREAKPOINT,
    STOP_INSTRUCTIONS,
    STOP_CYCLES,
    STOP_INPUT,
    STOP_ENDED,
    STOP_FAULT,
    STOP_DRAIN /* a buffer of the caller is full: empty it and go on */
};

enum fault {
    NO_FAULT,
    FAULT_READ_UNMAPPED,
    FAULT_WRITE_UNMAPPED,
    FAULT_READ_ODD,
    FAULT_WRITE_ODD,
    FAULT_WRITE_ROM,
    FAULT_READ_BOOT,
    FAULT_EXECUTE,
    FAULT_ILLEGAL,
    FAULT_STACK,
    FAULT_PASSWORD,
    FAULT_WATCHDOG,
    FAULT_MPY_EARLY,
    FAULT_LEA,
    FAULT_DMA_TRIGGER,
    FAULT_UART_RESET,
    FAULT_ACCESS_WIDTH,
    FAULT_CLOCK_LOCKED,
    FAULT_FRAM_SPEED
};

/* --- devices --- */
struct mpy {
    uint64_t result;      /* RES3:RES0 as the adder left it: neither shifted nor saturated */
    uint64_t base;        /* what the running operation adds its product to */
    uint64_t ready[4];    /* cycle from which RES0..RES3 can be read */
    uint64_t low_written; /* cycle at which OP2L was */
    uint32_t op1;
    uint32_t op2;
    uint32_t control; /* MPY32CTL0 */
    uint32_t sumext;
};

struct dma_channel {
    uint32_t control;
    uint32_t source;
    uint32_t target;
    uint32_t size;
    uint32_t now_source; /* the working copies of the three above */
    uint32_t now_target;
    uint32_t size_again;
    uint32_t active;  /* triggered and not done */
    uint32_t started; /* past the synchronization */
    uint32_t burst;   /* transfers since the CPU last had its share of a burst block */
    uint64_t resume_at; /* cycle at which a burst block goes on */
};

#define DMA_CHANNELS 6u

struct timer {
    uint64_t since; /* cycle at which `count` was right */
    uint64_t fraction; /* of a tick at `since`, in units of 1 / (MCLK's frequency * divider) */
    uint32_t count; /* position within the period: above CCR0 when counting down */
    uint32_t control;
    uint32_t expansion;
    uint32_t cctl[3];
    uint32_t ccr[3];
    uint32_t reserved;
};

struct uart {
    uint64_t buffer_free_at; /* cycle at which TXBUF can take a character */
    uint64_t idle_at;        /* cycle at which the last stop bit is out */
    uint32_t received;       /* RXBUF */
    uint32_t flags;          /* UCA0IFG without what time decides */
    uint32_t enabled;        /* UCA0IE */
    uint32_t rx_position;    /* bytes taken from the caller's input */
};

struct clock {
    uint32_t mclk_hz;
    uint32_t smclk_hz;
    uint32_t aclk_hz;
    uint32_t unlocked; /* the CS registers take writes */
    uint64_t watchdog_since;
    uint64_t watchdog_at; /* cycle at which it expires */
};

struct state {
    uint32_t r[16];
    uint64_t cycles;
    uint64_t instructions;
    uint64_t nv_writes;
    uint64_t nv_reads;
    uint64_t event_at;    /* no device has anything to do before this cycle */
    uint32_t attention;   /* something must be looked at before the next instruction */
    uint32_t waits;       /* NWAITS: cycles that an access to the FRAM array waits */
    uint32_t cache[4];    /* lines (address / 8) held: two sets of two, the more recent first */
    uint32_t output_used; /* bytes in the caller's output buffer */
    uint32_t log_used;    /* entries in the caller's log */
    struct clock clock;
    struct mpy mpy;
    struct dma_channel dma[DMA_CHANNELS];
    struct timer timer;
    struct uart uart;
};

/* --- decoded instructions --- */
struct core;
struct op;
typedef int handler(struct core *core, const struct op *op); /* not 0: a fault */

struct op {
    handler *run; /* NULL: not decoded, or a breakpoint */
    uint32_t x;   /* the source's index, address or value */
    uint32_t y;   /* the destination's index or address */
    uint8_t src;
    uint8_t dst;
    uint8_t step; /* of an autoincrement */
    uint8_t cycles;
    uint8_t length;  /* bytes */
    uint8_t lines;   /* lines of FRAM that the instruction lies in */
    uint8_t read_at; /* cycle of the instruction in which it reads its source from memory */
    uint8_t code;    /* operation, of handlers that serve several */
    uint8_t source_kind;
    uint8_t target_kind;
    uint8_t width;
    uint8_t repeat;       /* 0x80 | register, or repetitions - 1 */
    uint8_t carry_zeroed; /* ZC of the extension word */
    uint8_t reserved[3];
};

enum operand_kind {
    AT_REGISTER,
    AT_CONSTANT,
    AT_INDEX,
    AT_ABSOLUTE,
    AT_INDIRECT,
    AT_INCREMENT, /* up to here: the common forms of format1.h */
    AT_INDEX_20,
    AT_SPECIAL /* a register that does more than hold a value */
};

struct log_entry {
    uint64_t cycle;
    uint32_t pc;
    uint32_t address;
    uint32_t value;
    uint32_t bytes;
};

struct profile_entry {
    uint64_t instructions;
    uint64_t cycles;
    uint64_t nv_writes;
    uint64_t nv_reads;
};

#define BREAK_STOP 1u
#define BREAK_INPUT 2u

#define WATCH_READ 1u /* before it was written */
#define WATCH_WRITTEN 2u

struct core {
    struct op *ops;        /* one for every even address of the machine */
    uint8_t *code;         /* one for every 8 bytes: whether instructions were decoded from there */
    uint8_t *breaks;       /* one for every even address: BREAK_ bits */
    uint16_t *function_of; /* one for every even address: which function owns it; for profiles */
    struct profile_entry *profile;
    struct log_entry *log; /* NULL: not logging */
    uint8_t *watched;      /* WATCH_ bits of bytes of FRAM */
    uint8_t *output;
    const uint8_t *input;
    uint64_t input_bytes;
    uint32_t log_capacity;
    uint32_t output_capacity;
    uint32_t memory_bytes;
    uint32_t ram_start; /* plain memory: [ram_start, ram_start + ram_bytes) */
    uint32_t ram_bytes;
    uint32_t nv_bytes; /* from NV_START */
    uint32_t plain_nv_bytes; /* the same, or 0 while accesses are watched: then none is plain */
    uint32_t watch_start;    /* where `watched` begins */
    uint32_t watch_bytes;
    uint32_t hazards;        /* bytes read and later written, since the watch began */
    uint32_t hazard_pc;      /* of the first of them: the instruction that wrote, and where */
    uint32_t hazard_address;
    uint32_t stack_limit;
    uint32_t fault;
    uint32_t fault_address;
    uint32_t fault_detail;
    uint32_t fault_bytes;
    uint32_t fault_channel; /* 1 + the DMA channel, or 0 for the CPU */
    uint32_t pc;       /* of the instruction that is running, or ran last */
    uint32_t profiling;
    uint8_t *memory; /* right behind `s` */
    struct state s;
};

ALWAYS_INLINE uint32_t mask_of(unsigned width)
{
    return width == BYTE ? 0xFFu : width == WORD ? 0xFFFFu : ADDRESS_MASK;
}

int raise_fault(struct core *core, enum fault kind, uint32_t address, uint32_t bytes, uint32_t detail);

#endif
