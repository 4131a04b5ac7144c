#ifndef FM_TABLES_H
#define FM_TABLES_H
#include "fm_math.h"
#endif
