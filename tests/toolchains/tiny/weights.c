#include "weights.h"

#include "fm_port.h"

FM_WEIGHTS const int8_t weights[8] = {5, 6, 7, 8, -1, -2, 3, 90};
