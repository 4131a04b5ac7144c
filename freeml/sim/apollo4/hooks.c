/* The Apollo4 around unicorn's Cortex-M4: exact counts, stops at any instruction, checks that silicon makes and the engine
 * does not, the boot ROM's MRAM programming, the trace port. Called by the engine; never keeps a register of its own. */
#include "hooks.h"

#define R0 0u
#define R1 1u
#define R2 2u
#define R3 3u
#define R12 12u
#define SP 13u
#define PRIMASK 16u

/* Offsets of registers (DDI 0403, "Instrumentation Trace Macrocell" and "System Control Space"). */
#define ITM_PORT0 0x000u
#define ITM_TER 0xE00u
#define ITM_TCR 0xE80u
#define ITM_READY 1u
#define SCB_CPUID 0xD00u
#define SCB_VTOR 0xD08u
#define SCB_SCR 0xD10u
#define SCB_CPACR 0xD88u
#define CPUID_CORTEX_M4_R0P1 0x410FC241u
#define CPACR_CP10_CP11 0x00F00000u

uint32_t a4_machine_bytes(void)
{
    return (uint32_t)sizeof(a4_machine);
}

static uint32_t read_register(const a4_machine *machine, void *engine, unsigned number)
{
    uint32_t value = 0;
    (void)machine->read_register(engine, machine->register_ids[number], &value);
    return value;
}

static void write_register(const a4_machine *machine, void *engine, unsigned number, uint32_t value)
{
    (void)machine->write_register(engine, machine->register_ids[number], &value);
}

static void end(a4_machine *machine, void *engine, enum a4_outcome outcome)
{
    machine->outcome = (uint32_t)outcome;
    (void)machine->stop(engine);
}

/* The first fault stands. */
static void fail(a4_machine *machine, void *engine, enum a4_fault fault, uint32_t detail, uint32_t address, uint32_t size)
{
    if (machine->outcome != A4_FAULT) {
        machine->fault = (uint32_t)fault;
        machine->fault_detail = detail;
        machine->fault_address = address;
        machine->fault_size = size;
    }
    end(machine, engine, A4_FAULT);
}

/* The mark of a halfword. Nothing but MRAM and the ROM's page can be executed. */
static uint32_t index_of(uint32_t address)
{
    return address >= A4_ROM_START ? A4_MARK_ROM + ((address - A4_ROM_START) >> 1) : (address - A4_MRAM_START) >> 1;
}

static uint16_t halfword_at(const a4_machine *machine, uint32_t address)
{
    const uint8_t *bytes = machine->mram + (address - A4_MRAM_START);
    return (uint16_t)(bytes[0] | (uint16_t)(bytes[1] << 8));
}

static uint32_t next_after(const a4_machine *machine, uint32_t address)
{
    return address + a4_instruction_bytes(halfword_at(machine, address));
}

static uint8_t decode(a4_machine *machine, uint32_t address, uint32_t index)
{
    uint8_t marks = A4_DECODED;
    if (index >= A4_MARK_ROM) {
        marks = A4_DECODED | A4_ROM_MODEL;
    } else {
        const uint16_t first = halfword_at(machine, address);
        const int whole = a4_instruction_bytes(first) == 2u || address + 4u > A4_MRAM_END;
        marks = a4_decode(first, whole ? (uint16_t)0 : halfword_at(machine, address + 2u));
    }
    machine->marks[index] = (uint8_t)(machine->marks[index] | marks);
    return machine->marks[index];
}

/* Whether the instruction at `address` may begin; if not, the run ends before it. */
static int may_begin(a4_machine *machine, void *engine, uint32_t address)
{
    machine->pc = address;
    if ((machine->marks[index_of(address)] & A4_STOP) != 0u && machine->total.instructions != machine->first) {
        end(machine, engine, A4_BREAKPOINT);
        return 0;
    }
    if (machine->total.instructions == machine->limit) {
        end(machine, engine, A4_LIMIT);
        return 0;
    }
    return 1;
}

static void count(a4_machine *machine, uint32_t index)
{
    machine->total.instructions++;
    machine->by_function[machine->functions[index]].instructions++;
}

/* An IT block makes one to four instructions conditional: as many as the lowest set bit of its mask leaves above it. */
static void begin_block(a4_machine *machine, uint32_t address)
{
    unsigned mask = halfword_at(machine, address) & 15u;
    machine->it_next = address + 2u;
    machine->it_end = machine->it_next;
    for (; mask != 0u; mask = (mask << 1) & 15u) {
        machine->it_end = next_after(machine, machine->it_end);
    }
}

/* The processor passes through instructions of an IT block whose condition fails; the engine does not report them. They
 * change nothing, so the state at `address` is also the state at each of them. Returns 0 where the run ends at one. */
static int pass_skipped(a4_machine *machine, void *engine, uint32_t address)
{
    while (machine->it_next < machine->it_end && machine->it_next != address) {
        if (!may_begin(machine, engine, machine->it_next)) {
            return 0;
        }
        count(machine, index_of(machine->it_next));
        machine->it_next = next_after(machine, machine->it_next);
    }
    return 1;
}

/* Interrupts off, a source of whole words in TCM, a target of whole granules of persistent data: what programming asks. */
static int may_program(a4_machine *machine, void *engine, uint32_t source, uint32_t target, uint32_t size)
{
    if (size == 0u || size % A4_GRANULE_BYTES != 0u) {
        fail(machine, engine, A4_FAULT_NV_SIZE, 0, target, size);
    } else if ((read_register(machine, engine, PRIMASK) & 1u) == 0u) {
        fail(machine, engine, A4_FAULT_NV_MASKED, 0, target, size);
    } else if (source % 4u != 0u || source < A4_TCM_START || source > A4_TCM_END || size > A4_TCM_END - source) {
        fail(machine, engine, A4_FAULT_NV_SOURCE, 0, source, size);
    } else if (target % A4_GRANULE_BYTES != 0u || target < machine->nv_start || target > machine->nv_end ||
               size > machine->nv_end - target) {
        fail(machine, engine, A4_FAULT_NV_TARGET, 0, target, size);
    }
    return machine->outcome != A4_FAULT;
}

/* nv_program_main2(key, function, source, target in words, number of words), the last on the stack. The loop that follows
 * in the model's ROM takes the number of granules from R12. */
static void begin_program(a4_machine *machine, void *engine)
{
    const uint32_t key = read_register(machine, engine, R0);
    const uint32_t function = read_register(machine, engine, R1);
    const uint32_t sp = read_register(machine, engine, SP);
    const uint32_t target = read_register(machine, engine, R3);
    uint32_t words = 0;
    unsigned byte;

    if (key != A4_PROGRAM_KEY || function != 1u) {
        fail(machine, engine, A4_FAULT_NV_CALL, key, function, 0);
        return;
    }
    if (sp < A4_TCM_START || sp > A4_TCM_END - 4u) {
        fail(machine, engine, A4_FAULT_NV_SOURCE, 0, sp, 4);
        return;
    }
    for (byte = 4u; byte-- != 0u;) {
        words = (words << 8) | machine->tcm[sp - A4_TCM_START + byte];
    }
    if (target >= A4_MRAM_END / 4u || words >= A4_MRAM_END / 4u) {
        fail(machine, engine, A4_FAULT_NV_TARGET, 0, target, words);
        return;
    }
    if (may_program(machine, engine, read_register(machine, engine, R2), target * 4u, words * 4u)) {
        write_register(machine, engine, R12, words / 4u);
    }
}

static void program_granule(a4_machine *machine, void *engine, uint32_t index)
{
    const uint32_t source = read_register(machine, engine, R2);
    const uint32_t target = read_register(machine, engine, R3) * 4u;
    const uint32_t left = read_register(machine, engine, R12) - 1u;
    unsigned byte;

    if (!may_program(machine, engine, source, target, A4_GRANULE_BYTES)) {
        return;
    }
    for (byte = 0; byte < A4_GRANULE_BYTES; byte++) {
        machine->mram[target - A4_MRAM_START + byte] = machine->tcm[source - A4_TCM_START + byte];
    }
    machine->dirty[(target - A4_MRAM_START) >> 12] = 1;
    machine->total.nv_writes++;
    machine->by_function[machine->functions[index]].nv_writes++;
    if (machine->logging != 0u) {
        a4_nv_write *entry = &machine->log[machine->log_size++];
        entry->time = machine->total.instructions;
        entry->pc = machine->pc;
        entry->address = target;
        for (byte = 0; byte < A4_GRANULE_BYTES; byte++) {
            entry->data[byte] = machine->tcm[source - A4_TCM_START + byte];
        }
    }
    write_register(machine, engine, R2, source + A4_GRANULE_BYTES);
    write_register(machine, engine, R3, (target + A4_GRANULE_BYTES) / 4u);
    write_register(machine, engine, R12, left);
    write_register(machine, engine, R0, left); /* 0 at the end: success */
}

/* Whatever else an instruction's marks ask for. */
static void heed(a4_machine *machine, void *engine, uint32_t address, uint32_t index, uint8_t marks)
{
    if ((marks & A4_ROM_MODEL) != 0u) {
        if (address == A4_ROM_PROGRAM) {
            begin_program(machine, engine);
        } else if (address == A4_ROM_GRANULE) {
            program_granule(machine, engine, index);
        }
        return;
    }
    if ((marks & A4_MOVES_SP) != 0u) {
        machine->check_stack = 1;
    }
    if ((marks & A4_IT) != 0u) {
        begin_block(machine, address);
    }
    if ((marks & A4_SLEEPS) != 0u) {
        fail(machine, engine, A4_FAULT_SLEEP, 0, address, 0);
    }
    if ((marks & A4_FLOAT) != 0u && (machine->cpacr & CPACR_CP10_CP11) != CPACR_CP10_CP11) {
        fail(machine, engine, A4_FAULT_NO_FPU, 0, address, 0);
    }
    if ((marks & A4_ALIGNED) != 0u) {
        const uint32_t base = read_register(machine, engine, a4_base_register(halfword_at(machine, address)));
        if (base % 4u != 0u) {
            fail(machine, engine, A4_FAULT_UNALIGNED, 0, base, 0);
        }
    }
}

void a4_on_instruction(void *engine, uint64_t place, uint32_t size, void *user)
{
    a4_machine *machine = user;
    const uint32_t address = (uint32_t)place;
    const uint32_t index = index_of(address);
    uint8_t marks = machine->marks[index];

    /* Nearly always: nothing special about the instruction, nothing left over from those before it. */
    if (marks == A4_DECODED && (machine->outcome | machine->check_stack) == 0u && machine->it_next == machine->it_end &&
        machine->total.instructions != machine->limit) {
        machine->pc = address;
        count(machine, index);
        return;
    }
    if (machine->outcome != A4_RUNNING) { /* the instruction before this one ended the run */
        if (machine->outcome == A4_DRAIN) {
            machine->pc = address;
        }
        (void)machine->stop(engine);
        return;
    }
    if (machine->check_stack != 0u) {
        const uint32_t sp = read_register(machine, engine, SP);
        if (sp < machine->stack_limit) {
            fail(machine, engine, A4_FAULT_STACK, 0, sp, 0);
            return;
        }
        machine->check_stack = 0;
    }
    if (!pass_skipped(machine, engine, address) || !may_begin(machine, engine, address)) {
        return;
    }
    if ((marks & A4_DECODED) == 0u) {
        marks = decode(machine, address, index);
    }
    if (address == A4_ROM_GRANULE && machine->log_size == machine->log_capacity) {
        end(machine, engine, A4_DRAIN);
        return;
    }
    if (machine->it_next != machine->it_end) {
        machine->it_next = address + size;
    }
    if ((marks & (uint8_t) ~(A4_STOP | A4_DECODED)) != 0u) {
        heed(machine, engine, address, index, marks);
    }
    count(machine, index);
}

void a4_on_exception(void *engine, uint32_t number, void *user)
{
    fail(user, engine, A4_FAULT_EXCEPTION, number, 0, 0);
}

int a4_on_access(void *engine, int kind, uint64_t address, int size, int64_t value, void *user)
{
    (void)value;
    fail(user, engine, A4_FAULT_ACCESS, (uint32_t)kind, (uint32_t)address, (uint32_t)size);
    return 0;
}

uint64_t a4_itm_read(void *engine, uint64_t offset, unsigned size, void *user)
{
    a4_machine *machine = user;
    if (offset == ITM_PORT0) {
        return ITM_READY; /* the port takes a character at any time */
    }
    if (size == 4u && offset == ITM_TER) {
        return machine->itm_ter;
    }
    if (size == 4u && offset == ITM_TCR) {
        return machine->itm_tcr;
    }
    fail(machine, engine, A4_FAULT_REGISTER, 0, 0xE0000000u + (uint32_t)offset, size);
    return 0;
}

void a4_itm_write(void *engine, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    a4_machine *machine = user;
    if (offset != ITM_PORT0) {
        fail(machine, engine, A4_FAULT_REGISTER, 1, 0xE0000000u + (uint32_t)offset, size);
        return;
    }
    for (; size != 0u; size--) {
        machine->output[machine->output_size++] = (uint8_t)value;
        value >>= 8;
    }
    if (machine->output_size + 8u > machine->output_capacity) {
        end(machine, engine, A4_DRAIN);
    }
}

uint64_t a4_scs_read(void *engine, uint64_t offset, unsigned size, void *user)
{
    a4_machine *machine = user;
    if (size == 4u) {
        switch (offset) {
        case SCB_CPUID:
            return CPUID_CORTEX_M4_R0P1;
        case SCB_VTOR:
            return machine->vtor;
        case SCB_SCR:
            return machine->scr;
        case SCB_CPACR:
            return machine->cpacr;
        default:
            break;
        }
    }
    fail(machine, engine, A4_FAULT_REGISTER, 0, 0xE000E000u + (uint32_t)offset, size);
    return 0;
}

void a4_scs_write(void *engine, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    a4_machine *machine = user;
    const uint32_t word = (uint32_t)value;
    if (size == 4u) {
        switch (offset) {
        case SCB_VTOR:
            machine->vtor = word & 0xFFFFFF80u;
            return;
        case SCB_SCR:
            machine->scr = word & 0x16u;
            return;
        case SCB_CPACR:
            machine->cpacr = word & CPACR_CP10_CP11;
            return;
        default:
            break;
        }
    }
    fail(machine, engine, A4_FAULT_REGISTER, 1, 0xE000E000u + (uint32_t)offset, size);
}
