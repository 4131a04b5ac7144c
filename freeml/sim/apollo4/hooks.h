/* What the Apollo4 simulator's C part shares with engine.py: one structure per machine, mirrored there field by field.
 * The engine is unicorn; its functions come in as pointers, so that nothing of it is needed to compile this. */
#ifndef A4_HOOKS_H
#define A4_HOOKS_H

#include <stdint.h>

#define A4_MRAM_START 0x00018000u
#define A4_MRAM_END 0x00200000u
#define A4_TCM_START 0x10000000u
#define A4_TCM_END 0x10060000u
#define A4_ROM_START 0x08000000u

/* Entry of nv_program_main2 in the boot ROM, where its loop over granules is in the model, and its key. */
#define A4_ROM_PROGRAM (A4_ROM_START + 0x6Cu)
#define A4_ROM_GRANULE (A4_ROM_START + 0x100u)
#define A4_PROGRAM_KEY 0x12344321u
#define A4_GRANULE_BYTES 16u

/* One mark per halfword of MRAM, then of the ROM's page. */
#define A4_MARK_ROM ((A4_MRAM_END - A4_MRAM_START) / 2u)
#define A4_MARKS (A4_MARK_ROM + 0x800u)

enum a4_mark {
    A4_STOP = 1,       /* a run ends before this instruction */
    A4_DECODED = 2,    /* the marks below are known */
    A4_MOVES_SP = 4,   /* may lower the stack pointer */
    A4_IT = 8,         /* begins an IT block */
    A4_FLOAT = 16,     /* needs the floating-point unit */
    A4_ALIGNED = 32,   /* faults unless its base register is a multiple of four */
    A4_SLEEPS = 64,    /* WFI or WFE */
    A4_ROM_MODEL = 128 /* an instruction of the ROM that stands for more than itself */
};

enum a4_outcome {
    A4_RUNNING = 0,
    A4_BREAKPOINT = 1,
    A4_LIMIT = 2,
    A4_DRAIN = 3, /* a buffer is full: empty it and go on */
    A4_FAULT = 4
};

enum a4_fault {
    A4_NO_FAULT = 0,
    A4_FAULT_ACCESS = 1,     /* detail: unicorn's kind of access */
    A4_FAULT_EXCEPTION = 2,  /* detail: the engine's number of the exception */
    A4_FAULT_REGISTER = 3,   /* detail: 1 for a write; a register that is not modelled, or not in this size */
    A4_FAULT_SLEEP = 4,
    A4_FAULT_NO_FPU = 5,
    A4_FAULT_UNALIGNED = 6,
    A4_FAULT_STACK = 7,
    A4_FAULT_NV_CALL = 8,    /* detail: key; address: function asked for */
    A4_FAULT_NV_MASKED = 9,  /* interrupts are on */
    A4_FAULT_NV_SOURCE = 10,
    A4_FAULT_NV_TARGET = 11,
    A4_FAULT_NV_SIZE = 12
};

typedef struct {
    uint64_t instructions;
    uint64_t nv_writes;
} a4_counts;

typedef struct {
    uint64_t time;
    uint32_t pc;
    uint32_t address;
    uint8_t data[A4_GRANULE_BYTES];
} a4_nv_write;

typedef struct {
    /* Totals since power-on, and where the present run began and ends. */
    a4_counts total;
    uint64_t first;
    uint64_t limit;

    /* Set once. */
    int (*stop)(void *engine);
    int (*read_register)(void *engine, int id, void *value);
    int (*write_register)(void *engine, int id, const void *value);
    const int32_t *register_ids; /* r0-r15, PRIMASK */
    uint8_t *mram;
    const uint8_t *tcm;
    uint8_t *marks;
    const uint16_t *functions; /* a number for each halfword, as for marks */
    a4_counts *by_function;
    uint8_t *dirty; /* a flag for each 4 KB of MRAM that was programmed */
    uint8_t *output;
    a4_nv_write *log;
    uint32_t output_capacity;
    uint32_t log_capacity;
    uint32_t stack_limit;
    uint32_t nv_start;
    uint32_t nv_end;

    uint32_t output_size;
    uint32_t log_size;
    uint32_t logging;

    /* The processor beyond what the engine keeps. */
    uint32_t pc;          /* the next instruction, or the one being executed */
    uint32_t it_next;     /* in an IT block: where the next instruction is, executed or not */
    uint32_t it_end;      /* equal to it_next outside a block */
    uint32_t check_stack; /* the stack pointer may have been lowered since it was last looked at */

    uint32_t vtor;
    uint32_t scr;
    uint32_t cpacr;
    uint32_t itm_tcr;
    uint32_t itm_ter;

    uint32_t outcome;
    uint32_t fault;
    uint32_t fault_detail;
    uint32_t fault_address;
    uint32_t fault_size;
} a4_machine;

/* Size of a4_machine, for a check against the mirror. */
uint32_t a4_machine_bytes(void);

/* Hooks: before each instruction; at an exception; at an access to where there is no memory of that kind. */
void a4_on_instruction(void *engine, uint64_t address, uint32_t size, void *user);
void a4_on_exception(void *engine, uint32_t number, void *user);
int a4_on_access(void *engine, int kind, uint64_t address, int size, int64_t value, void *user);

/* Registers: the instrumentation trace macrocell and the system control space. */
uint64_t a4_itm_read(void *engine, uint64_t offset, unsigned size, void *user);
void a4_itm_write(void *engine, uint64_t offset, unsigned size, uint64_t value, void *user);
uint64_t a4_scs_read(void *engine, uint64_t offset, unsigned size, void *user);
void a4_scs_write(void *engine, uint64_t offset, unsigned size, uint64_t value, void *user);

/* Marks of one instruction, from its one or two halfwords (decode.c). */
uint8_t a4_decode(uint16_t first, uint16_t second);

/* The number of bytes of an instruction that begins so. */
uint32_t a4_instruction_bytes(uint16_t first);

/* The register that an instruction marked A4_ALIGNED takes its address from. */
unsigned a4_base_register(uint16_t first);

#endif
