/* Where the Apollo4 keeps things: weights in MRAM in a section of their own, activations in TCM with the other variables. */
#ifndef FM_PORT_BOARD_H
#define FM_PORT_BOARD_H

#define FM_WEIGHTS __attribute__((section(".fm_weights")))

#endif
