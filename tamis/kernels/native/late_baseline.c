/* late_body.h in the compiler's default instruction set. */
#define LATE(name) late_##name##_baseline
#include "late_body.h"
