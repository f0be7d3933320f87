/* search_body.h for x86-64 with AVX-512 (F, BW, DQ, VL). Compiled with -ffp-contract=off: no fused
   multiply-add, so that sums are the baseline's, bit for bit. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl")
#endif
#define TAMIS_AVX512
#define SEARCH search_avx512
#define SCORE score_avx512
#include "search_body.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int nothing_for_this_platform;
#endif
