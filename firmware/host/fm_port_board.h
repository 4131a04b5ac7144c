/* A workstation places everything where its compiler likes, and has no memory that survives. */
#ifndef FM_PORT_BOARD_H
#define FM_PORT_BOARD_H

#define FM_NV_IMITATED

#endif
