/* dense_body.h in the compiler's default instruction set. */
#define DENSE(name) dense_##name##_baseline
#include "dense_body.h"
