#include "format1.h"

FORMS(ADD);
FORMS(ADDC);
FORMS(XOR);
FORMS(AND);
