/* Scores of dense rows and their scan, for one instruction set: DENSE(name) names the functions; TAMIS_AVX2, TAMIS_AVX512 and
   TAMIS_VNNI say what may be used. Rows are read through memcpy or unaligned loads: a file promises no alignment beyond an item. */
#include <float.h>

#include "dense.h"

#if defined(TAMIS_AVX2) || defined(TAMIS_AVX512)
#include <immintrin.h>
#endif

#if defined(TAMIS_AVX2) || defined(TAMIS_AVX512)
#define WIDTH 8 /* with AVX-512 too: two chains of half the width were a fifth faster than one */
#else
#define WIDTH 4
#endif
#define PARTS (DENSE_LANES / WIDTH)

typedef float vector __attribute__((vector_size(WIDTH * 4)));

#if defined(TAMIS_AVX512)
#define WIDE 16
#else
#define WIDE WIDTH
#endif
typedef float wide __attribute__((vector_size(WIDE * 4)));
typedef uint32_t wide_bits __attribute__((vector_size(WIDE * 4)));

static inline vector load_floats(const char *p) {
    vector v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float widen_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7FFF, bits;
    if (rest >= 0x7C00) bits = sign | 0x7F800000u | (rest & 0x3FF) << 13;
    else if (rest >= 0x400) bits = sign | ((rest + 0x1C000) << 13);
    else {
        float small = (float)rest * 0x1p-24f; /* exact */
        memcpy(&bits, &small, 4);
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline vector load_halves(const char *p) {
#if WIDTH == 8
    return (vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
    vector v;
    uint16_t half[WIDTH];
    memcpy(half, p, sizeof half);
    for (int i = 0; i < WIDTH; i++) v[i] = widen_half(half[i]);
    return v;
#endif
}

/* Sum sixteen running sums, sum j taking j + 8, then j + 4, j + 2, j + 1. */
static inline float fold(const vector *sums) {
#if WIDTH == 8
    __m256 eight = _mm256_add_ps((__m256)sums[0], (__m256)sums[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
#else
    vector four = (sums[0] + sums[2]) + (sums[1] + sums[3]);
    return (four[0] + four[2]) + (four[1] + four[3]);
#endif
}

/* Always inlined with a constant kind, so that no branch stays in the loop. Rows side by side, or prefetching, were slower: the
   processor overlaps rows by itself, and one stream in order is what its own prefetcher follows best. */
static inline __attribute__((always_inline)) vector load(enum dense_kind kind, const char *p) {
    return kind == DENSE_FLOAT32 ? load_floats(p) : load_halves(p);
}

static inline __attribute__((always_inline)) float dot(enum dense_kind kind, const char *row, const float *query, int64_t dim) {
    const int64_t item = kind == DENSE_FLOAT32 ? 4 : 2, whole = dim / DENSE_LANES * DENSE_LANES;
    vector sums[PARTS] = {{0}};
    for (int64_t at = 0; at < whole; at += DENSE_LANES)
        for (int part = 0; part < PARTS; part++)
            sums[part] += load(kind, row + (at + part * WIDTH) * item) * load_floats((const char *)(query + at + part * WIDTH));
    if (whole < dim) {
        char rest[DENSE_LANES * 4] = {0};
        memcpy(rest, row + whole * item, (size_t)((dim - whole) * item));
        for (int part = 0; part < PARTS; part++)
            sums[part] += load(kind, rest + part * WIDTH * item) * load_floats((const char *)(query + whole + part * WIDTH));
    }
    return fold(sums);
}

/* Thirty-two bfloat16 against the even and the odd half of the query's block. The halves of each 32-bit word become floats by a
   shift and by a mask, which is why these sums are kept apart. */
static inline void add_bfloats(const char *p, const float *query, wide *even, wide *odd) {
    for (int part = 0; part < DENSE_LANES / WIDE; part++) {
        wide_bits pairs, low, high;
        wide e, o, q;
        memcpy(&pairs, p + part * sizeof pairs, sizeof pairs);
        low = pairs << 16, high = pairs & 0xFFFF0000u;
        memcpy(&e, &low, sizeof e), memcpy(&o, &high, sizeof o);
        memcpy(&q, query + part * WIDE, sizeof q);
        even[part] += e * q;
        memcpy(&q, query + DENSE_LANES + part * WIDE, sizeof q);
        odd[part] += o * q;
    }
}

static inline float dot_bfloats(const char *row, const float *query, int64_t dim) {
    const int64_t whole = dim / (2 * DENSE_LANES) * (2 * DENSE_LANES);
    wide even[DENSE_LANES / WIDE] = {{0}}, odd[DENSE_LANES / WIDE] = {{0}};
    for (int64_t at = 0; at < whole; at += 2 * DENSE_LANES) add_bfloats(row + at * 2, query + at, even, odd);
    if (whole < dim) {
        char rest[DENSE_LANES * 4] = {0};
        memcpy(rest, row + whole * 2, (size_t)((dim - whole) * 2));
        add_bfloats(rest, query + whole, even, odd);
    }
    for (int part = 0; part < DENSE_LANES / WIDE; part++) even[part] += odd[part];
    vector sums[PARTS];
    memcpy(sums, even, sizeof sums);
    return fold(sums);
}

static inline int32_t dot_int8(const struct dense *d, const char *row) {
    const uint8_t *codes = (const uint8_t *)row;
    int32_t sum = 0;
    int64_t at = 0;
#if defined(TAMIS_VNNI)
    /* A masked load of all lanes is no plain load to every processor: Zen 5 waits for memory at each. */
    __m512i sums = _mm512_setzero_si512();
    for (; at + 64 <= d->dim; at += 64)
        sums = _mm512_dpbusd_epi32(sums, _mm512_loadu_si512(codes + at), _mm512_loadu_si512(d->codes + at));
    if (at < d->dim) {
        const __mmask64 inside = ((__mmask64)1 << (d->dim - at)) - 1;
        sums = _mm512_dpbusd_epi32(sums, _mm512_maskz_loadu_epi8(inside, codes + at), _mm512_maskz_loadu_epi8(inside, d->codes + at));
        at = d->dim;
    }
    sum = _mm512_reduce_add_epi32(sums);
#elif defined(TAMIS_AVX512)
    __m512i sums = _mm512_setzero_si512();
    for (; at + 32 <= d->dim; at += 32) {
        __m512i a = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(codes + at)));
        sums = _mm512_add_epi32(sums, _mm512_madd_epi16(a, _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(d->codes + at)))));
    }
    sum = _mm512_reduce_add_epi32(sums);
#elif defined(TAMIS_AVX2)
    __m256i sums = _mm256_setzero_si256();
    for (; at + 16 <= d->dim; at += 16) {
        __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(codes + at)));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(a, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(d->codes + at)))));
    }
    int32_t s[8];
    memcpy(s, &sums, sizeof s);
    for (int i = 0; i < 8; i++) sum += s[i];
#endif
    for (; at < d->dim; at++) sum += (int32_t)codes[at] * d->codes[at];
    return sum - d->correction;
}

static inline int32_t dot_bits(const struct dense *d, const char *row) {
    const int64_t words = d->row_bytes / 8;
#if defined(TAMIS_VNNI)
    __m512i sums = _mm512_setzero_si512();
    for (int64_t at = 0; at < words; at += 8) {
        __mmask8 inside = (__mmask8)(words - at >= 8 ? 0xFF : (1 << (words - at)) - 1);
        __m512i bits = _mm512_maskz_loadu_epi64(inside, row + at * 8), sum = _mm512_setzero_si512();
        const uint64_t *plane = d->planes + at;
        for (int32_t i = 0; i < d->n_planes; i++, plane += words) {
            __m512i count = _mm512_popcnt_epi64(_mm512_and_si512(bits, _mm512_maskz_loadu_epi64(inside, plane)));
            sum = i ? _mm512_add_epi64(_mm512_add_epi64(sum, sum), count) : _mm512_sub_epi64(sum, count);
        }
        sums = _mm512_add_epi64(sums, sum);
    }
    int64_t total = _mm512_reduce_add_epi64(sums);
#else
    int64_t total = 0;
    for (int64_t at = 0; at < words; at++) {
        uint64_t bits;
        memcpy(&bits, row + at * 8, 8);
        const uint64_t *plane = d->planes + at;
        int64_t sum = -__builtin_popcountll(bits & *plane);
        for (int32_t i = 1; i < d->n_planes; i++) sum = 2 * sum + __builtin_popcountll(bits & plane[i * words]);
        total += sum;
    }
#endif
    return (int32_t)(2 * total) - d->correction;
}

static inline float score_sum(const struct dense *d, int64_t row, int32_t sum) {
    return d->factors[row] * (d->scale * (float)sum) + d->base;
}

static inline __attribute__((always_inline)) float score_row(enum dense_kind kind, const struct dense *d, int64_t row) {
    const char *p = d->data + row * d->row_bytes;
    if (kind == DENSE_BFLOAT16) return dot_bfloats(p, d->query, d->dim);
    if (kind < DENSE_BFLOAT16) return dot(kind, p, d->query, d->dim);
    return score_sum(d, row, kind == DENSE_INT8 ? dot_int8(d, p) : dot_bits(d, p));
}

#if defined(TAMIS_VNNI)
/* Sum the sixteen lanes of each of four rows: pairs within 128 bits, twice, then the quarters. */
static inline __m128i sum_rows(const __m512i s[4]) {
    __m512i low = _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
    __m512i high = _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
    low = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* DENSE_BLOCK rows of whole 64 bytes, four side by side. These outrun a processor's own prefetcher, which keeps up with one row
   after another only: asking 4 KiB ahead made up a quarter of the time. */
static void score_int8_block(const struct dense *d, int64_t first, float *scores) {
    const char *p = d->data + first * d->row_bytes;
    for (int row = 0; row < DENSE_BLOCK; row += 4, p += 4 * d->row_bytes) {
        __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (int64_t at = 0; at < d->dim; at += 64) {
            const __m512i query = _mm512_loadu_si512(d->codes + at);
            for (int r = 0; r < 4; r++) {
                const char *codes = p + r * d->row_bytes + at;
                s[r] = _mm512_dpbusd_epi32(s[r], _mm512_loadu_si512(codes), query);
                __builtin_prefetch((const void *)((uintptr_t)codes + 4096));
            }
        }
        int32_t sums[4];
        _mm_storeu_si128((__m128i *)sums, sum_rows(s));
        for (int r = 0; r < 4; r++) scores[row + r] = score_sum(d, first + row + r, sums[r] - d->correction);
    }
}

/* Whether 64 bytes from each row of a block on lie inside the data. */
static inline int loads_whole(const struct dense *d, int64_t first) {
    return (first + DENSE_BLOCK - 1) * d->row_bytes + 64 <= d->n * d->row_bytes;
}

/* DENSE_BLOCK rows of at most 512 bits against PLANES planes, which stay in registers. Of a shorter row the next one's beginning is
   loaded with it, as a plain load is faster than a masked one (see dot_int8), and meets no bits of the planes. */
static void score_bit_block(const struct dense *d, int64_t first, float *scores) {
    const int64_t words = d->row_bytes / 8;
    const __mmask8 inside = (__mmask8)(words >= 8 ? 0xFF : (1 << words) - 1);
    const char *p = d->data + first * d->row_bytes;
    __m512i planes[DENSE_PLANES];
    for (int i = 0; i < DENSE_PLANES; i++) planes[i] = _mm512_maskz_loadu_epi64(inside, d->planes + i * words);
    int64_t totals[DENSE_BLOCK];
    for (int row = 0; row < DENSE_BLOCK; row += 8) {
        __m512i s[8];
        for (int r = 0; r < 8; r++, p += d->row_bytes) {
            __m512i bits = _mm512_loadu_si512(p), negative = _mm512_popcnt_epi64(_mm512_and_si512(bits, planes[0]));
            __m512i sum = _mm512_sub_epi64(_mm512_popcnt_epi64(_mm512_and_si512(bits, planes[1])), _mm512_add_epi64(negative, negative));
            for (int i = 2; i < DENSE_PLANES; i++)
                sum = _mm512_add_epi64(_mm512_add_epi64(sum, sum), _mm512_popcnt_epi64(_mm512_and_si512(bits, planes[i])));
            s[r] = sum;
        }
        /* Sum the lanes of eight rows at once: pairs within 128 bits, then the quarters. */
        for (int r = 0; r < 8; r += 2) s[r] = _mm512_add_epi64(_mm512_unpacklo_epi64(s[r], s[r + 1]), _mm512_unpackhi_epi64(s[r], s[r + 1]));
        for (int r = 0; r < 8; r += 4)
            s[r] = _mm512_add_epi64(_mm512_shuffle_i64x2(s[r], s[r + 2], 0x88), _mm512_shuffle_i64x2(s[r], s[r + 2], 0xDD));
        s[0] = _mm512_add_epi64(_mm512_shuffle_i64x2(s[0], s[4], 0x88), _mm512_shuffle_i64x2(s[0], s[4], 0xDD));
        _mm512_storeu_si512(totals + row, s[0]);
    }
    for (int i = 0; i < DENSE_BLOCK; i++) scores[i] = score_sum(d, first + i, (int32_t)(2 * totals[i]) - d->correction);
}
#endif

static inline __attribute__((always_inline)) int64_t scan(enum dense_kind kind, const struct dense *d, int64_t first, int64_t last,
                                                          struct topk *best) {
    float scores[DENSE_BLOCK];
    for (; first < last; first += DENSE_BLOCK) {
        int64_t n = last - first < DENSE_BLOCK ? last - first : DENSE_BLOCK;
        uint64_t allowed = n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
        if (d->mask) {
            uint64_t bits = 0;
            for (int64_t i = 0; i < (n + 7) / 8; i++) bits |= (uint64_t)d->mask[first / 8 + i] << 8 * i;
            allowed &= bits;
        }
#if defined(TAMIS_VNNI)
        int whole = n == 64 && __builtin_popcountll(allowed) >= 16; /* by blocks, though not all rows of it are wanted */
        if (kind == DENSE_BIT) whole &= d->row_bytes <= 64 && d->n_planes == DENSE_PLANES && loads_whole(d, first);
        else whole &= kind == DENSE_INT8 && d->dim % 64 == 0;
        if (whole && kind == DENSE_BIT) score_bit_block(d, first, scores);
        else if (whole) score_int8_block(d, first, scores);
#else
        const int whole = 0;
#endif
        if (!whole && allowed == ~(uint64_t)0)
            for (int i = 0; i < DENSE_BLOCK; i++) scores[i] = score_row(kind, d, first + i);
        else if (!whole)
            for (uint64_t left = allowed; left; left &= left - 1) {
                int i = __builtin_ctzll(left);
                scores[i] = score_row(kind, d, first + i);
            }
        uint64_t above = 0;
        if (allowed == ~(uint64_t)0) /* a loop without branches, for the compiler to vectorise; true of NaN as well */
            for (int i = 0; i < DENSE_BLOCK; i++) above |= (uint64_t)!(scores[i] <= best->threshold && scores[i] >= -FLT_MAX) << i;
        else above = allowed;
        for (; above; above &= above - 1) {
            int i = __builtin_ctzll(above);
            if (!(__builtin_fabsf(scores[i]) <= FLT_MAX)) return first + i;
            if (scores[i] > best->threshold) topk_push(best, scores[i], (uint32_t)(first + i));
        }
        if (best->size >= best->limit) topk_cut(best);
    }
    return -1;
}

int64_t DENSE(scan)(const struct dense *d, int64_t first, int64_t last, struct topk *best) {
    switch (d->kind) {
    case DENSE_FLOAT32: return scan(DENSE_FLOAT32, d, first, last, best);
    case DENSE_FLOAT16: return scan(DENSE_FLOAT16, d, first, last, best);
    case DENSE_BFLOAT16: return scan(DENSE_BFLOAT16, d, first, last, best);
    case DENSE_INT8: return scan(DENSE_INT8, d, first, last, best);
    default: return scan(DENSE_BIT, d, first, last, best);
    }
}

void DENSE(score)(const struct dense *d, const int64_t *rows, int64_t n, float *scores) {
    for (int64_t i = 0; i < n; i++) {
        if (i + 4 < n) /* rows lie anywhere: have the lines of a later one on their way */
            for (int64_t line = 0; line < d->row_bytes; line += 64) __builtin_prefetch(d->data + rows[i + 4] * d->row_bytes + line);
        switch (d->kind) {
        case DENSE_FLOAT32: scores[i] = score_row(DENSE_FLOAT32, d, rows[i]); break;
        case DENSE_FLOAT16: scores[i] = score_row(DENSE_FLOAT16, d, rows[i]); break;
        case DENSE_BFLOAT16: scores[i] = score_row(DENSE_BFLOAT16, d, rows[i]); break;
        case DENSE_INT8: scores[i] = score_row(DENSE_INT8, d, rows[i]); break;
        default: scores[i] = score_row(DENSE_BIT, d, rows[i]);
        }
    }
}
