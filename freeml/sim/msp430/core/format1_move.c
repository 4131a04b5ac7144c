#include "format1.h"

FORMS(MOV);
FORMS(BIC);
FORMS(BIS);
FORMS(BIT);
