/* The shadow of non-volatile memory: finds a region that writes what it has read. Run again, it would read otherwise.
 * fm_boot is left out: what it writes is protected by the order of its writes, which is for cuts to try. */
#include "machine.h"

#include "fm_memory.h"

/* The place in the section that an address stands for: of the arena's copy where the arena is volatile. */
static size_t shadow_place(const void *address)
{
#ifdef FM_ARENA_IN_SRAM
    const size_t in_arena = (size_t)((uintptr_t)address - (uintptr_t)&fm_arena);
    if (in_arena < sizeof fm_arena) {
        return nv_place(fm_kept) + in_arena;
    }
#endif
    return nv_place(address);
}

void shadow_read(const unsigned char *at, size_t size)
{
    for (; size != 0U; --size, ++at) {
        const size_t place = shadow_place(at);
        if (place < nv_size() && fm_power.written_in[place] != machine.region) {
            fm_power.read_in[place] = machine.region;
        }
    }
}

void shadow_written(const unsigned char *at, size_t size)
{
    for (; size != 0U; --size, ++at) {
        const size_t place = shadow_place(at);
        if (place < nv_size()) {
            fm_power.written_in[place] = machine.region;
        }
    }
}

void shadow_kept(const unsigned char *at, size_t size)
{
    for (size_t i = 0U; i < size; ++i) {
        if (fm_power.read_in[nv_place(at + i)] == machine.region) {
            fault(FM_POWER_HAZARD, at + i);
        }
    }
    shadow_written(at, size);
}

void shadow_next_region(void)
{
    ++machine.region;
}
