/* A workstation places everything where its compiler likes. */
#ifndef FM_PORT_BOARD_H
#define FM_PORT_BOARD_H

#endif
