/* Sums of given documents, rounded at each addition or once. See search_body.h. */
#ifndef TAMIS_DOCUMENTS_BODY_H
#define TAMIS_DOCUMENTS_BODY_H

#include "sums_body.h"

enum {
    FETCHED = 4096,           /* most documents whose lookups are asked for a term ahead */
    SEEK_COST = 24,           /* finding one of several documents in a run, in postings read through */
};

/* How far a document's float sum and its sum rounded once can lie apart, at most, if one of them is `sum`. Without negative
   values a partial sum is no larger than the whole; with them it is bounded by the sum of the largest. Each of n additions errs
   by 2^-24 of its result, each rounding of a group too; twice that leaves room for terms of higher order. */
static double rounding_error(const struct state *s, double sum) {
    const struct query *q = s->query;
    double largest = 0;
    int negative = 0;
    for (int64_t i = 0; i < q->n_terms; i++) {
        const float *table = s->tables + i * s->values;
        float most = 0;
        for (int64_t code = 0; code < s->lengths[i]; code++) {
            negative |= table[code] < 0;
            most = fabsf(table[code]) > most ? fabsf(table[code]) : most;
        }
        largest += most;
    }
    return (double)(q->n_terms + 2) * ((negative ? largest : sum) * 0x1p-23 + 0x1p-148);
}

/* Add to a sum that is rounded once, or to float32 at each addition. Rounding a double sum of two floats to float is exact. */
static inline void add_value(double *sum, float value, int once) {
    double longer = *sum + value;
    *sum = once ? longer : (float)longer;
}

/* Add what a run gives its window's documents (the low bits of docs[0..n), ascending). A short run is read through, against a
   bitmap of the documents; in a long one each is looked up. */
static void sum_run(const struct state *s, const struct run *run, const float *table, const uint64_t *docs, int64_t n,
                    double *sums) {
    const struct postings *p = s->postings;
    const uint16_t *offsets = p->offsets + run->first;
    const int once = s->query->once;
    if (run->count > n * SEEK_COST) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t offset = (uint16_t)docs[i];
            int64_t at = seek(offsets, run->count, offset);
            if (at < run->count && offsets[at] == offset) add_value(&sums[i], table[code_of(p, run->first + at)], once);
        }
        return;
    }
    uint8_t *bits = s->work->bounds; /* clean, and left clean */
    uint16_t *places = s->work->candidates;
    for (int64_t i = 0; i < n; i++) {
        uint16_t offset = (uint16_t)docs[i];
        bits[offset / 8] |= (uint8_t)(1 << offset % 8), places[offset] = (uint16_t)i;
    }
    for (int64_t at = 0; at < run->count; at++)
        if (bits[offsets[at] / 8] >> offsets[at] % 8 & 1)
            add_value(&sums[places[offsets[at]]], table[code_of(p, run->first + at)], once);
    for (int64_t i = 0; i < n; i++) bits[(uint16_t)docs[i] / 8] = 0;
}

/* The next run of a term that holds some of docs[*i..n), which are numbered from window `base`: *i and *end become the place of
   the first and one past the last of the window's. Returns 0 when there is none. */
static int meet_run(const struct postings *p, struct cursor *c, int64_t base, const uint64_t *docs, int64_t n, int64_t *i,
                    int64_t *end) {
    while (*i < n) {
        int64_t window = base + (int64_t)(docs[*i] >> WINDOW_BITS);
        while (c->window < window) next_run(p, c);
        if (c->window == NO_WINDOW) return 0;
        while (*i < n && base + (int64_t)(docs[*i] >> WINDOW_BITS) < c->window) ++*i;
        if (*i == n || base + (int64_t)(docs[*i] >> WINDOW_BITS) > c->window) continue;
        for (*end = *i + 1; *end < n && base + (int64_t)(docs[*end] >> WINDOW_BITS) == c->window;) ++*end;
        return 1;
    }
    return 0;
}

/* Ask for the memory that the lookups of a term's postings begin at. */
static void fetch_term(const struct postings *p, struct cursor c, int64_t base, const uint64_t *docs, int64_t n) {
    for (int64_t i = 0, end; meet_run(p, &c, base, docs, n, &i, &end); i = end)
        for (int64_t d = i; d < end; d++) prefetch_seek(p->offsets + c.first, c.count, (uint16_t)docs[d]);
}

/* Sum up given documents, ascending and numbered from window `base`, term by term in query order: a document's score is
   (float)(whole + (float)sums). The cursors are used up. */
static void sum_documents(const struct state *s, int64_t base, const uint64_t *docs, int64_t n, double *sums, double *whole) {
    const int32_t *groups = s->query->groups;
    int64_t n_terms = s->query->n_terms;
    memset(sums, 0, (size_t)n * sizeof *sums), memset(whole, 0, (size_t)n * sizeof *whole);
    for (int64_t t = 0; t < n_terms; t++) {
        struct cursor *c = &s->cursors[t];
        if (t + 1 < n_terms && n <= FETCHED) fetch_term(s->postings, c[1], base, docs, n);
        if (groups && t && groups[t] != groups[t - 1])
            for (int64_t i = 0; i < n; i++) whole[i] += (float)sums[i], sums[i] = 0;
        for (int64_t i = 0, end; meet_run(s->postings, c, base, docs, n, &i, &end); i = end)
            sum_run(s, &(struct run){(int32_t)t, c->first, c->count}, s->tables + t * s->values, docs + i, end - i, sums + i);
    }
}

/* Replace the keys' scores by sums rounded once, and sort the keys. */
static int score_exactly(struct state *s, struct topk *top) {
    int64_t n = top->size;
    double *sums = grow(&s->work->exact, 2 * n * (int64_t)sizeof *sums), *whole = sums + n;
    if (!sums || open_state(s)) return -1;
    for (int64_t i = 0; i < n; i++) top->keys[i] = (uint32_t)top->keys[i];
    sort_keys(top->keys, n);
    sum_documents(s, s->query->first_window, top->keys, n, sums, whole);
    for (int64_t i = 0; i < n; i++) top->keys[i] = make_key((float)(whole[i] + (float)sums[i]), (uint32_t)top->keys[i]);
    sort_keys(top->keys, n);
    return 0;
}

#endif
