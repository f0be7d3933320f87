/* Scans over the accumulators of a window, 64 documents at a time: which of them pass a threshold?

   The only code that names instructions. Every version returns the same bits. Included by search_body.h, compiled once for
   each instruction set under the same names. */

#include <stdint.h>
#include <string.h>

#define UNTOUCHED 0x80000000u /* the bits of -0.0f */

#if defined(TAMIS_AVX512)
#include <immintrin.h>

static inline uint64_t sums_above(const float *sums, float threshold) {
    const __m512 bar = _mm512_set1_ps(threshold);
    const __m512i untouched = _mm512_set1_epi32((int)UNTOUCHED);
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++) {
        __m512 v = _mm512_load_ps(sums + 16 * i);
        __mmask16 touched = _mm512_cmpneq_epi32_mask(_mm512_castps_si512(v), untouched);
        mask |= (uint64_t)_mm512_mask_cmp_ps_mask(touched, v, bar, _CMP_GT_OQ) << (16 * i);
    }
    return mask;
}

static inline uint64_t bounds_from(const uint8_t *bounds, uint8_t threshold) {
    return _mm512_cmpge_epu8_mask(_mm512_load_si512(bounds), _mm512_set1_epi8((char)threshold));
}

static inline uint64_t counts_from(const uint16_t *counts, uint16_t threshold) {
    const __m512i bar = _mm512_set1_epi16((short)threshold);
    return (uint64_t)_mm512_cmpge_epu16_mask(_mm512_loadu_si512(counts), bar) |
           (uint64_t)_mm512_cmpge_epu16_mask(_mm512_loadu_si512(counts + 32), bar) << 32;
}

#elif defined(TAMIS_AVX2)
#include <immintrin.h>

static inline uint64_t sums_above(const float *sums, float threshold) {
    const __m256 bar = _mm256_set1_ps(threshold);
    const __m256i untouched = _mm256_set1_epi32((int)UNTOUCHED);
    uint64_t mask = 0;
    for (int i = 0; i < 8; i++) {
        __m256 v = _mm256_load_ps(sums + 8 * i);
        __m256 clean = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(v), untouched));
        __m256 above = _mm256_andnot_ps(clean, _mm256_cmp_ps(v, bar, _CMP_GT_OQ));
        mask |= (uint64_t)(unsigned)_mm256_movemask_ps(above) << (8 * i);
    }
    return mask;
}

static inline uint64_t bounds_from(const uint8_t *bounds, uint8_t threshold) {
    const __m256i bar = _mm256_set1_epi8((char)threshold);
    __m256i low = _mm256_load_si256((const __m256i *)bounds), high = _mm256_load_si256((const __m256i *)(bounds + 32));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(low, bar), low)) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(high, bar), high)) << 32;
}

static inline uint64_t counts_from(const uint16_t *counts, uint16_t threshold) {
    const __m256i bar = _mm256_set1_epi16((short)threshold);
    uint64_t mask = 0;
    for (int i = 0; i < 2; i++) {
        __m256i low = _mm256_loadu_si256((const __m256i *)(counts + 32 * i));
        __m256i high = _mm256_loadu_si256((const __m256i *)(counts + 32 * i + 16));
        low = _mm256_cmpeq_epi16(_mm256_max_epu16(low, bar), low);
        high = _mm256_cmpeq_epi16(_mm256_max_epu16(high, bar), high);
        __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xD8); /* packs works in 128-bit halves */
        mask |= (uint64_t)(uint32_t)_mm256_movemask_epi8(both) << (32 * i);
    }
    return mask;
}

#elif defined(__SSE2__)
#include <emmintrin.h>

static inline uint64_t sums_above(const float *sums, float threshold) {
    const __m128 bar = _mm_set1_ps(threshold);
    const __m128i untouched = _mm_set1_epi32((int)UNTOUCHED);
    uint64_t mask = 0;
    for (int i = 0; i < 16; i++) {
        __m128 v = _mm_load_ps(sums + 4 * i);
        __m128 clean = _mm_castsi128_ps(_mm_cmpeq_epi32(_mm_castps_si128(v), untouched));
        mask |= (uint64_t)(unsigned)_mm_movemask_ps(_mm_andnot_ps(clean, _mm_cmpgt_ps(v, bar))) << (4 * i);
    }
    return mask;
}

static inline uint64_t bounds_from(const uint8_t *bounds, uint8_t threshold) {
    const __m128i bar = _mm_set1_epi8((char)threshold);
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_load_si128((const __m128i *)(bounds + 16 * i));
        mask |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(v, bar), v)) << (16 * i);
    }
    return mask;
}

static inline uint64_t counts_from(const uint16_t *counts, uint16_t threshold) {
    const __m128i bar = _mm_set1_epi16((short)threshold), zero = _mm_setzero_si128();
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++) { /* threshold - v saturates to 0 where v >= threshold */
        __m128i low = _mm_loadu_si128((const __m128i *)(counts + 16 * i));
        __m128i high = _mm_loadu_si128((const __m128i *)(counts + 16 * i + 8));
        low = _mm_cmpeq_epi16(_mm_subs_epu16(bar, low), zero);
        high = _mm_cmpeq_epi16(_mm_subs_epu16(bar, high), zero);
        mask |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << (16 * i);
    }
    return mask;
}

#else /* plain C, in a form that compilers turn into NEON: first whether any passes, then which */

static inline uint64_t sums_above(const float *sums, float threshold) {
    uint32_t bits[64], any = 0;
    memcpy(bits, sums, sizeof bits);
    for (int i = 0; i < 64; i++) any |= (sums[i] > threshold) & (bits[i] != UNTOUCHED);
    if (!any) return 0;
    uint64_t mask = 0;
    for (int i = 0; i < 64; i++) mask |= (uint64_t)((sums[i] > threshold) & (bits[i] != UNTOUCHED)) << i;
    return mask;
}

static inline uint64_t bounds_from(const uint8_t *bounds, uint8_t threshold) {
    uint8_t any = 0;
    for (int i = 0; i < 64; i++) any |= bounds[i] >= threshold;
    if (!any) return 0;
    uint64_t mask = 0;
    for (int i = 0; i < 64; i++) mask |= (uint64_t)(bounds[i] >= threshold) << i;
    return mask;
}

static inline uint64_t counts_from(const uint16_t *counts, uint16_t threshold) {
    uint16_t any = 0;
    for (int i = 0; i < 64; i++) any |= counts[i] >= threshold;
    if (!any) return 0;
    uint64_t mask = 0;
    for (int i = 0; i < 64; i++) mask |= (uint64_t)(counts[i] >= threshold) << i;
    return mask;
}

#endif
