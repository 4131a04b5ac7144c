#ifndef FM_WEIGHTS_H
#define FM_WEIGHTS_H

#include <stdint.h>

extern const int8_t weights[8];

#endif
