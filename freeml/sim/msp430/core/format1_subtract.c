#include "format1.h"

FORMS(SUB);
FORMS(SUBC);
FORMS(CMP);
