/* The same for sizes: addresses have 16 bits. */
#ifndef STDDEF16_H
#define STDDEF16_H

typedef unsigned int size_t;
typedef int ptrdiff_t;

#define NULL ((void *)0)

#endif
