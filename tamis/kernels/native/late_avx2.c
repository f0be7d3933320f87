/* late_body.h for x86-64 with AVX2 and F16C (2013). */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c,bmi,bmi2,lzcnt,popcnt")
#endif
#define TAMIS_AVX2
#define LATE(name) late_##name##_avx2
#include "late_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int nothing_for_this_platform;
#endif
