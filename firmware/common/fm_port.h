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

/* Placement of far constants (fm_far.h): number `n` of them, in ascending order of address, each at an even address. */
#ifndef FM_FAR
#define FM_FAR(n)
#endif

#endif
