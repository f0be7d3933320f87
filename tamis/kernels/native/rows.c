#include "rows.h"

enum {
    AT_ONCE = 32,   /* documents whose memory is asked for together */
    SEGMENT = 256,  /* entries of a row that are looked through before what they hit is summed */
    LINE = 64,
    AHEAD = 4,      /* lines of a row that are asked for; the processor fetches what follows */
    MASK = WINDOW_SIZE - 1,
};

/* The query's dimensions by their low 16 bits: a bit where there is one, and its place in the query and 1; several with the same
   bits are chained. */
struct places {
    uint8_t *bits;   /* [WINDOW_SIZE / 8] */
    uint16_t *heads; /* [WINDOW_SIZE] */
    uint16_t *next;  /* [n_terms] */
};

struct row {
    const struct row_shard *shard;
    int64_t first, count;
};

static int suits(const struct query *q) {
    if (q->once || q->groups || q->n_terms >= WINDOW_SIZE) return 0;
    for (int64_t i = 1; i < q->n_terms; i++)
        if (q->terms[i] <= q->terms[i - 1]) return 0;
    return 1;
}

static inline uint32_t dim_of(const struct row_shard *shard, int64_t entry) {
    return shard->dim_bits == 16 ? ((const uint16_t *)shard->dims)[entry] : ((const uint32_t *)shard->dims)[entry];
}

/* Which of up to SEGMENT entries may be the query's: their numbers into `hits`, without a branch an entry. */
static inline int64_t find_hits(const struct row_shard *shard, int64_t first, int64_t n, const uint8_t *bits, uint16_t *hits) {
    int64_t found = 0;
    if (shard->dim_bits == 16) {
        const uint16_t *dims = (const uint16_t *)shard->dims + first;
        for (int64_t i = 0; i < n; i++) hits[found] = (uint16_t)i, found += bits[dims[i] / 8] >> dims[i] % 8 & 1;
    } else {
        const uint32_t *dims = (const uint32_t *)shard->dims + first;
        for (int64_t i = 0; i < n; i++) hits[found] = (uint16_t)i, found += bits[(dims[i] & MASK) / 8] >> dims[i] % 8 & 1;
    }
    return found;
}

/* The score of a row, or NAN where a code is none of the postings'. */
static float score_row(const struct row_store *store, const struct postings *p, const struct query *q,
                       const struct places *places, const struct row *row) {
    const struct row_shard *shard = row->shard;
    uint16_t hits[SEGMENT];
    float score = 0;
    for (int64_t at = 0; at < row->count; at += SEGMENT) {
        int64_t first = row->first + at, n = row->count - at < SEGMENT ? row->count - at : SEGMENT;
        int64_t found = find_hits(shard, first, n, places->bits, hits);
        for (int64_t h = 0; h < found; h++) {
            int64_t entry = first + hits[h], code = 0;
            uint32_t dim = dim_of(shard, entry);
            int64_t place = places->heads[dim & MASK];
            while (place && store->term_dims[q->terms[place - 1]] != dim) place = places->next[place - 1];
            if (!place--) continue;
            float value = q->weights ? q->weights[place] : 1.0f;
            if (shard->code_bits) {
                code = shard->code_bits == 8 ? ((const uint8_t *)shard->codes)[entry] : ((const uint16_t *)shard->codes)[entry];
                if (code >= p->n_codes) return NAN;
                value *= q->tables[(q->rows ? q->rows[place] : place) * p->n_codes + code];
            }
            score += value + 0.0f;
        }
    }
    return score;
}

/* Score up to AT_ONCE documents: what the next step reads is asked for first. */
static int score_some(const struct row_store *store, const struct postings *p, const struct query *q,
                      const struct places *places, const int64_t *docs, int64_t n, int64_t *shard, float *scores) {
    struct row rows[AT_ONCE];
    for (int64_t i = 0; i < n; i++) {
        while (docs[i] >= store->shards[*shard].first + store->shards[*shard].rows) ++*shard;
        rows[i].shard = &store->shards[*shard];
        __builtin_prefetch(rows[i].shard->starts + (docs[i] - rows[i].shard->first));
    }
    for (int64_t i = 0; i < n; i++) {
        const struct row_shard *own = rows[i].shard;
        int64_t first = own->starts[docs[i] - own->first], last = own->starts[docs[i] - own->first + 1];
        if (first < 0 || last < first || last > own->entries) return ROWS_DAMAGED;
        rows[i].first = first, rows[i].count = last - first;
        for (int line = 0; line < AHEAD; line++) __builtin_prefetch((const char *)own->dims + first * (own->dim_bits / 8) + line * LINE);
        for (int line = 0; line < AHEAD / 2 && own->code_bits; line++)
            __builtin_prefetch((const char *)own->codes + first * (own->code_bits / 8) + line * LINE);
    }
    for (int64_t i = 0; i < n; i++) {
        scores[i] = score_row(store, p, q, places, &rows[i]);
        if (isnan(scores[i])) return ROWS_DAMAGED;
    }
    return ROWS_SCORED;
}

int score_rows(const struct row_store *store, const struct postings *p, const struct query *q, struct workspace *work,
               const int64_t *docs, int64_t n, float *scores) {
    if (!suits(q)) return ROWS_UNSUITED;
    struct places places = {work->bounds, work->counts, grow(&work->terms, (q->n_terms + 1) * (int64_t)sizeof(uint16_t))};
    if (!places.next) return ROWS_NO_MEMORY;
    for (int64_t i = q->n_terms; i--;) { /* a dimension stands once in a query: the order of a chain does not matter */
        uint32_t low = store->term_dims[q->terms[i]] & MASK;
        places.next[i] = places.heads[low], places.heads[low] = (uint16_t)(i + 1);
        places.bits[low / 8] |= (uint8_t)(1 << low % 8);
    }
    int answer = ROWS_SCORED;
    for (int64_t at = 0, shard = 0; at < n && answer == ROWS_SCORED; at += AT_ONCE)
        answer = score_some(store, p, q, &places, docs + at, n - at < AT_ONCE ? n - at : AT_ONCE, &shard, scores + at);
    for (int64_t i = 0; i < q->n_terms; i++) {
        uint32_t low = store->term_dims[q->terms[i]] & MASK;
        places.heads[low] = 0, places.bits[low / 8] = 0;
    }
    return answer;
}
