/* search_body.h for the baseline of the platform: SSE2 on x86-64, NEON on arm64. */
#define SEARCH search_baseline
#define SCORE score_baseline
#include "search_body.h"
