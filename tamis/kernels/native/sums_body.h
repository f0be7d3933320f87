/* Windows by float sums. See search_body.h. */
#ifndef TAMIS_SUMS_BODY_H
#define TAMIS_SUMS_BODY_H

#include "windows_body.h"

enum {
    SPARSE_POSTINGS = 4096,   /* a window with fewer is harvested through its postings, not by a scan */
};

/* Value tables with the query's weights in them, and -0.0 made +0.0. */
static int weigh_tables(struct state *s) {
    const struct query *q = s->query;
    s->tables = grow(&s->work->tables, q->n_terms * s->values * (int64_t)sizeof(float));
    if (!s->tables) return -1;
    for (int64_t i = 0; i < q->n_terms; i++) {
        float weight = q->weights ? q->weights[i] : 1.0f, *table = s->tables + i * s->values;
        if (!s->postings->code_bits) {
            table[0] = weight + 0.0f;
            continue;
        }
        const float *row = q->tables + (q->rows ? q->rows[i] : i) * s->values;
        for (int64_t code = 0; code < s->lengths[i]; code++) table[code] = weight * row[code] + 0.0f;
    }
    return 0;
}

/* The documents of a run differ, so GROUP accumulators may be read before the first is written. That is worth it: processors guess,
   by the place in the program, that a read depends on the write before it, and then wait for each. */
ALWAYS_INLINE void add_sums_of(const struct postings *p, const int32_t bits, const struct run *run, const float *restrict table,
                               float *restrict sums) {
    const uint16_t *offsets = p->offsets + run->first;
    const char *codes = (const char *)p->codes + run->first * (bits / 8); /* read once: a stored byte could be anything's */
    const int64_t count = run->count;
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        float before[GROUP];
        for (int j = 0; j < GROUP; j++) before[j] = sums[offsets[i + j]];
        for (int j = 0; j < GROUP; j++) sums[offsets[i + j]] = before[j] + table[code_at(codes, bits, i + j)];
    }
    for (; i < count; i++) sums[offsets[i]] += table[code_at(codes, bits, i)];
}

static void add_sums(const struct postings *p, const struct run *run, const float *table, float *sums) {
    FOR_EACH_WIDTH(add_sums_of, p, run, table, sums)
}

/* Many documents: one scan that collects and cleans. */
static void harvest_scan(const struct state *s, struct topk *top) {
    float *sums = s->work->sums;
    for (int64_t block = 0; block < s->width; block += 64) {
        uint64_t found = sums_above(sums + block, top->threshold);
        if (found && s->allowed) found &= load_bits(s->allowed, block);
        for (; found; found &= found - 1) {
            int64_t offset = block + __builtin_ctzll(found);
            if (sums[offset] > top->threshold) topk_push(top, sums[offset], s->base + (uint32_t)offset);
            if (top->size >= top->limit) topk_cut(top);
        }
        for (int i = 0; i < 64; i++) sums[block + i] = -0.0f;
    }
}

/* Few documents: through the postings again, out of document order, so the threshold must not move meanwhile. */
static void harvest_postings(const struct state *s, struct topk *top) {
    float *sums = s->work->sums;
    if (top->capacity - top->size <= s->run_postings) topk_cut(top);
    for (int64_t r = 0; r < s->n_runs; r++) {
        const uint16_t *offsets = s->postings->offsets + s->runs[r].first;
        for (int64_t i = 0; i < s->runs[r].count; i++) {
            uint32_t offset = offsets[i], bits;
            float sum = sums[offset];
            memcpy(&bits, &sum, 4);
            sums[offset] = -0.0f;
            if (bits == UNTOUCHED || !(sum > top->threshold)) continue;
            if (s->allowed && !(s->allowed[offset / 8] >> (offset % 8) & 1)) continue;
            topk_push(top, sum, s->base + offset);
        }
    }
}

static void sum_up_window(const struct state *s, struct topk *top) {
    for (int64_t r = 0; r < s->n_runs; r++)
        add_sums(s->postings, &s->runs[r], s->tables + s->runs[r].term * s->values, s->work->sums);
    if (s->run_postings < SPARSE_POSTINGS) harvest_postings(s, top);
    else harvest_scan(s, top);
}

#endif
