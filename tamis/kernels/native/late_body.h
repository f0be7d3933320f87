/* Scores over codes, for one instruction set: LATE(name) names the functions; TAMIS_AVX2, TAMIS_AVX512 and TAMIS_VNNI say what may
   be used. */
#include <stdlib.h>
#include <string.h>

#include "late.h"

#if defined(TAMIS_AVX2) || defined(TAMIS_AVX512)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

/* A vector of int32, one a query token; MADD adds to it the products of pairs of int16. */
#if defined(TAMIS_AVX512)
typedef __m512i vector;
#define LANES 16
#define LOAD(p) _mm512_loadu_si512(p)
#define STORE(p, v) _mm512_storeu_si512(p, v)
#define SPREAD(x) _mm512_set1_epi32(x)
#define MAXIMUM(a, b) _mm512_max_epi32(a, b)
#if defined(TAMIS_VNNI)
#define MADD(sum, a, b) _mm512_dpwssd_epi32(sum, a, b)
#else
#define MADD(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
#endif
#elif defined(TAMIS_AVX2)
typedef __m256i vector;
#define LANES 8
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(p))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define SPREAD(x) _mm256_set1_epi32(x)
#define MAXIMUM(a, b) _mm256_max_epi32(a, b)
#define MADD(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#elif defined(__SSE2__)
typedef __m128i vector;
#define LANES 4
#define LOAD(p) _mm_loadu_si128((const __m128i *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(p), v)
#define SPREAD(x) _mm_set1_epi32(x)
#define MADD(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(a, b))
static inline vector MAXIMUM(vector a, vector b) {
    vector above = _mm_cmpgt_epi32(a, b);
    return _mm_or_si128(_mm_and_si128(above, a), _mm_andnot_si128(above, b));
}
#else
typedef int32_t vector __attribute__((vector_size(16)));
#define LANES 4
static inline vector LOAD(const void *p) {
    vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
#define STORE(p, v) memcpy(p, &(v), sizeof(v))
static inline vector SPREAD(int32_t x) { return (vector){x, x, x, x}; }
static inline vector MAXIMUM(vector a, vector b) {
    vector above = a > b;
    return (a & above) | (b & ~above);
}
static inline vector MADD(vector sum, vector a, vector b) {
    typedef uint32_t bits __attribute__((vector_size(16)));
    vector low_a = (vector)((bits)a << 16) >> 16, low_b = (vector)((bits)b << 16) >> 16;
    return sum + low_a * low_b + (a >> 16) * (b >> 16);
}
#endif

#define TOKENS 4  /* decoded side by side */
#define BUNDLE 2  /* vectors of query tokens whose sums stay in registers: 4 x 2 of them */

static inline int64_t centroid_of(const struct late *l, int64_t token) {
    if (l->id_bytes == 2) {
        uint16_t id;
        memcpy(&id, l->ids + 2 * token, 2);
        return id;
    }
    uint32_t id;
    memcpy(&id, l->ids + 4 * token, 4);
    return id;
}

static inline int span_of(const struct late *l, int64_t row, int64_t *first, int64_t *last) {
    *first = l->offsets[row], *last = l->offsets[row + 1];
    return *first < 0 || *last < *first || *last > l->n_tokens;
}

/* The sum of the maxima of 32 columns of the table over a row's tokens. */
static inline int64_t scan_columns(const struct late *l, const uint8_t *table, int64_t first, int64_t last, int *wrong) {
#if defined(TAMIS_AVX2) || defined(TAMIS_AVX512)
    __m256i best = _mm256_setzero_si256();
#elif defined(__SSE2__)
    __m128i best = _mm_setzero_si128(), rest = best;
#else
    uint8_t best[LATE_TABLE] = {0};
#endif
    for (int64_t token = first; token < last; token++) {
        int64_t id = centroid_of(l, token);
        if (id >= l->n_centroids) return *wrong = 1, 0;
        const uint8_t *entry = table + id * l->width;
#if defined(TAMIS_AVX2) || defined(TAMIS_AVX512)
        best = _mm256_max_epu8(best, _mm256_loadu_si256((const __m256i *)entry));
#elif defined(__SSE2__)
        best = _mm_max_epu8(best, _mm_loadu_si128((const __m128i *)entry));
        rest = _mm_max_epu8(rest, _mm_loadu_si128((const __m128i *)(entry + 16)));
#else
        for (int i = 0; i < LATE_TABLE; i++) best[i] = best[i] < entry[i] ? entry[i] : best[i];
#endif
    }
    int64_t sum = 0;
    uint8_t bytes[LATE_TABLE];
#if !defined(TAMIS_AVX2) && !defined(TAMIS_AVX512) && defined(__SSE2__)
    memcpy(bytes, &best, 16), memcpy(bytes + 16, &rest, 16);
#else
    memcpy(bytes, &best, LATE_TABLE);
#endif
    for (int i = 0; i < LATE_TABLE; i++) sum += bytes[i];
    return sum;
}

int LATE(scan)(const struct late *l, const int64_t *rows, int64_t n, int64_t *scores) {
    int wrong = 0;
    for (int64_t i = 0; i < n && !wrong; i++) {
        int64_t first, last;
        if (span_of(l, rows[i], &first, &last)) return -1;
        scores[i] = 0;
        for (int64_t column = 0; column < l->width; column += LATE_TABLE)
            scores[i] += scan_columns(l, l->table + column, first, last, &wrong);
    }
    return -wrong;
}

/* Put a token's codewords one after another; what is past the dimensions of each is overwritten by the next, or zero. */
static inline void spell(const struct late *l, int64_t token, int16_t *restrict out) {
    const uint8_t *codes = l->codes + token * (l->groups + 1);
    const int16_t *book = l->books;
    for (int64_t group = 0; group < l->groups; group++, book += LATE_WORDS * LATE_WIDEST)
        memcpy(out + l->bounds[group], book + codes[group] * LATE_WIDEST, LATE_WIDEST * sizeof *out);
}

/* Add the centroid, and the length. Not at once after spell: a wide load waits for the narrow stores that it covers. */
static inline void complete(const struct late *l, int64_t token, int64_t id, int16_t *restrict out) {
    const int16_t *centroid = l->centroids + id * l->dim;
    const int16_t longer = (int16_t)((l->codes[token * (l->groups + 1) + l->groups] - 128) * 64);
    int64_t i = 0;
#if defined(TAMIS_AVX2) || defined(TAMIS_AVX512)
    const __m256i factor = _mm256_set1_epi16(longer);
    for (; i + 16 <= l->dim; i += 16) {
        __m256i sum = _mm256_add_epi16(_mm256_loadu_si256((const __m256i *)(out + i)), _mm256_loadu_si256((const __m256i *)(centroid + i)));
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_add_epi16(sum, _mm256_mulhrs_epi16(sum, factor)));
    }
#endif
    for (; i < l->dim; i++) {
        int16_t sum = (int16_t)(out[i] + centroid[i]);
        out[i] = (int16_t)(sum + (((sum * longer >> 14) + 1) >> 1));
    }
    if (l->dim % 2) out[l->dim] = 0;
}

/* Raise the best products of BUNDLE vectors of query tokens by those with TOKENS decoded tokens. */
static inline __attribute__((always_inline)) void match(const int16_t *pairs, int64_t n_pairs, int64_t lanes, const int16_t *const *tokens,
                                                        int bundle, int32_t *best) {
    vector sums[TOKENS][BUNDLE];
    for (int t = 0; t < TOKENS; t++)
        for (int v = 0; v < bundle; v++) sums[t][v] = SPREAD(0);
    for (int64_t pair = 0; pair < n_pairs; pair++, pairs += 2 * lanes) {
        vector query[BUNDLE];
        for (int v = 0; v < bundle; v++) query[v] = LOAD(pairs + 2 * LANES * v);
        for (int t = 0; t < TOKENS; t++) {
            int32_t both;
            memcpy(&both, tokens[t] + 2 * pair, 4);
            vector spread = SPREAD(both);
            for (int v = 0; v < bundle; v++) sums[t][v] = MADD(sums[t][v], query[v], spread);
        }
    }
    for (int v = 0; v < bundle; v++) {
        vector highest = LOAD(best + LANES * v);
        for (int t = 0; t < TOKENS; t++) highest = MAXIMUM(highest, sums[t][v]);
        STORE(best + LANES * v, highest);
    }
}

int LATE(score)(const struct late *l, const int64_t *rows, int64_t n, int64_t *scores) {
    const int64_t n_pairs = (l->dim + 1) / 2, stride = (l->dim + LATE_WIDEST + 32) / 32 * 32;
    int16_t *decoded = calloc((size_t)(TOKENS * stride), sizeof *decoded);
    int32_t *best = malloc((size_t)l->lanes * sizeof *best);
    int wrong = !decoded || !best;
    for (int64_t i = 0; i < n && !wrong; i++) {
        int64_t first, last;
        if ((wrong = span_of(l, rows[i], &first, &last))) break;
        for (int64_t lane = 0; lane < l->lanes; lane++) best[lane] = INT32_MIN;
        for (int64_t token = first; token < last && !wrong; token += TOKENS) {
            const int16_t *tokens[TOKENS];
            const int held = last - token < TOKENS ? (int)(last - token) : TOKENS;
            for (int t = 0; t < held; t++) {
                int64_t id = centroid_of(l, token + t);
                if ((wrong = id >= l->n_centroids)) break;
                for (int64_t at = 0; at < l->dim; at += 32) __builtin_prefetch(l->centroids + id * l->dim + at);
                spell(l, token + t, decoded + t * stride);
            }
            if (wrong) break;
            for (int t = 0; t < TOKENS; t++) tokens[t] = decoded + (t < held ? t : 0) * stride; /* the first again, where there are fewer */
            for (int t = 0; t < held; t++) complete(l, token + t, centroid_of(l, token + t), decoded + t * stride);
            int64_t lane = 0;
            for (; lane + BUNDLE * LANES <= l->lanes; lane += BUNDLE * LANES)
                match(l->pairs + 2 * lane, n_pairs, l->lanes, tokens, BUNDLE, best + lane);
            for (; lane < l->lanes; lane += LANES) match(l->pairs + 2 * lane, n_pairs, l->lanes, tokens, 1, best + lane);
        }
        scores[i] = 0;
        if (first < last)
            for (int64_t lane = 0; lane < l->lanes; lane++) scores[i] += best[lane];
    }
    free(decoded);
    free(best);
    return -wrong;
}
