/* The four memory functions that a compiler may call even in freestanding code (C99 5.1.2.1 leaves it to the
 * implementation; gcc and clang document these four). Small rather than fast: the kernels do not depend on them. */
#include <stddef.h>

void *memcpy(void *destination, const void *source, size_t size);
void *memmove(void *destination, const void *source, size_t size);
void *memset(void *destination, int value, size_t size);
int memcmp(const void *left, const void *right, size_t size);

void *memcpy(void *destination, const void *source, size_t size)
{
    unsigned char *to = destination;
    const unsigned char *from = source;
    while (size != 0u) {
        *to++ = *from++;
        size--;
    }
    return destination;
}

void *memmove(void *destination, const void *source, size_t size)
{
    unsigned char *to = destination;
    const unsigned char *from = source;
    if (to < from) {
        while (size != 0u) {
            *to++ = *from++;
            size--;
        }
    } else {
        while (size != 0u) {
            size--;
            to[size] = from[size];
        }
    }
    return destination;
}

void *memset(void *destination, int value, size_t size)
{
    unsigned char *to = destination;
    while (size != 0u) {
        *to++ = (unsigned char)value;
        size--;
    }
    return destination;
}

int memcmp(const void *left, const void *right, size_t size)
{
    const unsigned char *a = left;
    const unsigned char *b = right;
    while (size != 0u) {
        if (*a != *b) {
            return (*a < *b) ? -1 : 1;
        }
        a++;
        b++;
        size--;
    }
    return 0;
}
