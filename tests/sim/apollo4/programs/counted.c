/* Calls the functions of counted.S; asks for eight bytes of stack, takes the path through both memories. */
#include <stdint.h>

#include "fm_board.h"

int main(void);
uint32_t counted_blocks(uint32_t which);
uint32_t counted_loop(uint32_t times);

volatile uint32_t results[5];

int main(void)
{
    fm_board_init();
    for (uint32_t which = 0; which < 4u; which++) {
        results[which] = counted_blocks(which);
    }
    results[4] = counted_loop(1000u);
    fm_board_putc('o');
    fm_board_putc('k');
    return 0;
}
