/* What the portable code asks of a board: where to place things. Every board's folder holds a fm_port_board.h that may
 * define any of these; what it leaves out has a plain meaning here. */
#ifndef FM_PORT_H
#define FM_PORT_H

#include "fm_port_board.h"

/* Placement of the activations' arena. */
#ifndef FM_ARENA
#define FM_ARENA
#endif

/* Placement of constants. */
#ifndef FM_WEIGHTS
#define FM_WEIGHTS
#endif

/* A layer stays a function of its own, about which its callers assume nothing. Layers share one arena under several
 * element types, so merging two of them would rest on the aliasing rules; and GCC (seen in 12.2, -O1 and -O2) may write
 * one pointer into the arena as a multiple of another, take the result for a pointer to nothing, and drop calls of the
 * layer. */
#ifndef FM_LAYER
#if defined(__clang__)
#define FM_LAYER __attribute__((noinline))
#elif defined(__GNUC__)
#define FM_LAYER __attribute__((noipa))
#else
#define FM_LAYER
#endif
#endif

/* Placement of far constants (fm_far.h): number `n` of them, in ascending order of address, each at an even address. */
#ifndef FM_FAR
#define FM_FAR(n)
#endif

#endif
