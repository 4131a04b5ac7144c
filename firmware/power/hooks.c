/* What the instrumented product calls: names and meanings are those of the thread sanitizer's run-time library. */
#include "machine.h"

static void on_write(void *address, size_t size)
{
    unsigned char *const at = address;

    spend(address);
    if (nv_place(at) < nv_size()) {
        on_nv_store(at, size);
        return;
    }
    if ((uintptr_t)at - (uintptr_t)fm_power.stack < fm_power.stack_size) {
        return;
    }
    for (unsigned i = 0U; i < fm_power.sram_count; ++i) {
        const uintptr_t offset = (uintptr_t)at - (uintptr_t)fm_power.sram[i].start;
        if (offset < fm_power.sram[i].size && size <= fm_power.sram[i].size - offset) {
            if (fm_power.shadow) {
                shadow_written(at, size);
            }
            return;
        }
    }
    fault(FM_POWER_STRAY_STORE, address);
}

static void on_read(void *address, size_t size)
{
    if (fm_power.shadow) {
        shadow_read(address, size);
    }
}

#define HOOKS(name, size)                                                                                              \
    void __tsan_read##name(void *at);                                                                                  \
    void __tsan_read##name(void *at)                                                                                   \
    {                                                                                                                  \
        on_read(at, size);                                                                                             \
    }                                                                                                                  \
    void __tsan_write##name(void *at);                                                                                 \
    void __tsan_write##name(void *at)                                                                                  \
    {                                                                                                                  \
        on_write(at, size);                                                                                            \
    }                                                                                                                  \
    void __tsan_unaligned_read##name(void *at);                                                                        \
    void __tsan_unaligned_read##name(void *at)                                                                         \
    {                                                                                                                  \
        on_read(at, size);                                                                                             \
    }                                                                                                                  \
    void __tsan_unaligned_write##name(void *at);                                                                       \
    void __tsan_unaligned_write##name(void *at)                                                                        \
    {                                                                                                                  \
        on_write(at, size);                                                                                            \
    }                                                                                                                  \
    void __tsan_read_write##name(void *at);                                                                            \
    void __tsan_read_write##name(void *at)                                                                             \
    {                                                                                                                  \
        on_read(at, size);                                                                                             \
        on_write(at, size);                                                                                            \
    }                                                                                                                  \
    void __tsan_unaligned_read_write##name(void *at);                                                                  \
    void __tsan_unaligned_read_write##name(void *at)                                                                   \
    {                                                                                                                  \
        on_read(at, size);                                                                                             \
        on_write(at, size);                                                                                            \
    }

HOOKS(1, 1U)
HOOKS(2, 2U)
HOOKS(4, 4U)
HOOKS(8, 8U)
HOOKS(16, 16U)

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    unsigned char *const here = __builtin_frame_address(0);
    if (here < machine.deepest) {
        machine.deepest = here;
    }
    spend(caller);
    settle();
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
    settle();
}

void __tsan_read_range(void *at, size_t size);
void __tsan_read_range(void *at, size_t size)
{
    on_read(at, size);
}

void __tsan_write_range(void *at, size_t size);
void __tsan_write_range(void *at, size_t size)
{
    if (size != 0U) {
        on_write(at, size);
    }
}

/* A compiler may call these for the product: byte by byte, ascending. */
void *memset(void *to, int value, size_t size);
void *memset(void *to, int value, size_t size)
{
    for (unsigned char *at = to; size != 0U; --size, ++at) {
        on_write(at, 1U);
        *(volatile unsigned char *)at = (unsigned char)value;
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    unsigned char *at = to;
    unsigned char *byte = (unsigned char *)(uintptr_t)from;
    for (; size != 0U; --size, ++at, ++byte) {
        on_read(byte, 1U);
        on_write(at, 1U);
        *(volatile unsigned char *)at = *byte;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size)
{
    unsigned char *const at = to;
    unsigned char *const byte = (unsigned char *)(uintptr_t)from;
    if ((uintptr_t)to - (uintptr_t)from >= size) {
        return memcpy(to, from, size);
    }
    while (size-- != 0U) {
        on_read(byte + size, 1U);
        on_write(at + size, 1U);
        *(volatile unsigned char *)(at + size) = byte[size];
    }
    return to;
}

void *__tsan_memset(void *to, int value, size_t size);
void *__tsan_memset(void *to, int value, size_t size)
{
    return memset(to, value, size);
}

void *__tsan_memcpy(void *to, const void *from, size_t size);
void *__tsan_memcpy(void *to, const void *from, size_t size)
{
    return memcpy(to, from, size);
}

void *__tsan_memmove(void *to, const void *from, size_t size);
void *__tsan_memmove(void *to, const void *from, size_t size)
{
    return memmove(to, from, size);
}
