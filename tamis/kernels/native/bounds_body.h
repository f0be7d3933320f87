/* Windows by upper bounds of 8 bits. See search_body.h. */
#ifndef TAMIS_BOUNDS_BODY_H
#define TAMIS_BOUNDS_BODY_H

#include "sums_body.h"

enum {
    BOUND_TERMS = 256,        /* most query terms for which 8 bits bound well enough */
    BOUND_POSTINGS = 16384,   /* fewest postings of a query that repay the preparation */
    THRESHOLD_UNITS = 128,    /* what a document needs when bounds are scaled; they are scaled again when it needs twice that */
    SPLIT_POSTINGS = 4096,    /* fewest remaining postings in a window worth counting survivors for */
    PROBE_COST = 16,          /* looking up one posting of a document that is scored, in added postings */
    LOOKUP_COST = 512,        /* completing the bound of a survivor in all the lists left, in added postings */
    AHEAD = 8,                /* how many lookups before its turn the memory of one is fetched */
};

/* The upper bounds of a query, in units of 1 / scale. */
struct bounds {
    uint8_t *tables; /* [terms, values] */
    int32_t *order;  /* terms by descending bound */
    int32_t *units;  /* a term's largest bound */
    struct run *runs;
    double scale, margin;
};

/* What is known before there is a threshold to scale by: 1 prepared, 0 the query does not suit, -1 no memory. */
static int open_bounds(const struct state *s, struct bounds *b) {
    const struct query *q = s->query;
    int64_t n = q->n_terms, postings = 0;
    for (int64_t i = 0; i < n; i++) postings += s->postings->starts[q->terms[i] + 1] - s->postings->starts[q->terms[i]];
    if (n > BOUND_TERMS || postings < BOUND_POSTINGS) return 0;
    double maxima[BOUND_TERMS], total = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *table = s->tables + i * s->values;
        float largest = 0, smallest = 0;
        for (int64_t code = 0; code < s->lengths[i]; code++) {
            largest = table[code] > largest ? table[code] : largest;
            smallest = table[code] < smallest ? table[code] : smallest;
        }
        if (smallest < 0) return 0; /* a later list could lower a sum */
        maxima[i] = largest, total += largest;
    }
    if (!(total > 0)) return 0;
    b->margin = total * (double)(n + 1) * 0x1p-23; /* twice the rounding error of a float sum of n terms, in any order */
    b->tables = grow(&s->work->small_tables, n * s->values);
    if (!b->tables) return -1;
    b->runs = s->runs + n;
    b->order = s->lengths + n, b->units = b->order + n;
    b->scale = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t place = i;
        for (; place && maxima[b->order[place - 1]] < maxima[i]; place--) b->order[place] = b->order[place - 1];
        b->order[place] = (int32_t)i;
    }
    return 1;
}

/* Tables of upper bounds, in units of which a document needs THRESHOLD_UNITS. */
static void scale_bounds(const struct state *s, struct bounds *b, float threshold) {
    b->scale = THRESHOLD_UNITS / (double)threshold;
    for (int64_t i = 0; i < s->query->n_terms; i++) {
        const float *table = s->tables + i * s->values;
        uint8_t *bound = b->tables + i * s->values, most = 0;
        for (int64_t code = 0; code < s->lengths[i]; code++) {
            double units = table[code] * b->scale;
            uint8_t value = table[code] > 0 ? (uint8_t)((int32_t)(units < 254 ? units : 254) + 1) : 0;
            bound[code] = value;
            most = value > most ? value : most;
        }
        b->units[i] = most;
    }
}

/* The least sum of bounds that a document above the threshold can have, 1 to 255; 0 while the threshold is too low to tell. */
static int64_t units_needed(const struct state *s, struct bounds *b, float threshold) {
    if (!(threshold > 2 * b->margin)) return 0;
    double least = ((double)threshold - b->margin) * (1 - 1e-9);
    if (!(b->scale > 0 && least * b->scale <= 255)) scale_bounds(s, b, threshold);
    return (int64_t)ceil(least * b->scale);
}

/* A sum of 255 is as good as more: no document needs more. */
static inline void raise_bound(uint8_t *bound, uint8_t value) {
    uint32_t sum = (uint32_t)*bound + value;
    *bound = (uint8_t)(sum < 255 ? sum : 255);
}

ALWAYS_INLINE void add_bounds_of(const struct postings *p, const int32_t bits, const struct run *run,
                                 const uint8_t *restrict table, uint8_t *restrict bounds) {
    const uint16_t *offsets = p->offsets + run->first;
    const char *codes = (const char *)p->codes + run->first * (bits / 8); /* read once: a stored byte could be anything's */
    const int64_t count = run->count;
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP) {
        uint8_t raised[GROUP];
        for (int j = 0; j < GROUP; j++) raised[j] = bounds[offsets[i + j]];
        for (int j = 0; j < GROUP; j++) {
            raise_bound(&raised[j], table[code_at(codes, bits, i + j)]);
            bounds[offsets[i + j]] = raised[j];
        }
    }
    for (; i < count; i++) raise_bound(&bounds[offsets[i]], table[code_at(codes, bits, i)]);
}

static void add_bounds(const struct postings *p, const struct run *run, const uint8_t *table, uint8_t *bounds) {
    FOR_EACH_WIDTH(add_bounds_of, p, run, table, bounds)
}

/* About how many documents of the window have at least so many units: a quarter of them are looked at. */
static int64_t count_survivors(const struct state *s, int64_t units) {
    int64_t survivors = 0;
    for (int64_t block = 0; block < s->width; block += 256)
        survivors += __builtin_popcountll(bounds_from(s->work->bounds + block, (uint8_t)units));
    return 4 * survivors;
}

/* Complete the candidates' bounds run by run and drop those that can no longer reach `needed`: runs[first..n) are those that were
   not added, `rest` is what they can add at most. Returns how many are left. */
static int64_t refine_candidates(const struct state *s, const struct bounds *b, int64_t first, int64_t n, int64_t rest,
                                 int64_t needed, int64_t candidates) {
    const struct postings *p = s->postings;
    uint16_t *docs = s->work->candidates;
    uint8_t *bounds = s->work->bounds;
    for (int64_t r = first; r < n && candidates; r++) {
        const struct run run = b->runs[r];
        const uint16_t *offsets = p->offsets + run.first;
        const uint8_t *table = b->tables + run.term * s->values;
        int64_t kept = 0;
        rest -= b->units[run.term];
        for (int64_t i = 0; i < candidates; i++) {
            uint16_t doc = docs[i];
            if (i + AHEAD < candidates) prefetch_seek(offsets, run.count, docs[i + AHEAD]);
            int64_t at = seek(offsets, run.count, doc);
            if (at < run.count && offsets[at] == doc) raise_bound(&bounds[doc], table[code_of(p, run.first + at)]);
            docs[kept] = doc;
            kept += bounds[doc] + rest >= needed;
        }
        candidates = kept;
    }
    return candidates;
}

/* The candidates' scores, each summed in query order, pushed in document order. */
static void score_candidates(const struct state *s, int64_t n, struct topk *top) {
    const uint16_t *candidates = s->work->candidates;
    float *scores = s->work->scores;
    for (int64_t i = 0; i < n; i++) scores[i] = -0.0f;
    for (int64_t r = 0; r < s->n_runs; r++) {
        const struct run run = s->runs[r];
        const uint16_t *offsets = s->postings->offsets + run.first;
        const float *table = s->tables + run.term * s->values;
        for (int64_t i = 0; i < n; i++) {
            if (i + AHEAD < n) prefetch_seek(offsets, run.count, candidates[i + AHEAD]);
            int64_t at = seek(offsets, run.count, candidates[i]);
            if (at < run.count && offsets[at] == candidates[i]) scores[i] += table[code_of(s->postings, run.first + at)];
        }
    }
    for (int64_t i = 0; i < n; i++) {
        if (scores[i] > top->threshold) topk_push(top, scores[i], s->base + candidates[i]);
        if (top->size >= top->limit) topk_cut(top);
    }
}

/* Evaluate the window through bounds; returns the number of documents that had to be scored. */
static int64_t filter_window(const struct state *s, const struct bounds *b, int64_t needed, struct topk *top) {
    int64_t n = 0, rest = 0, remaining = s->run_postings, r;
    int32_t place[BOUND_TERMS];
    for (int64_t i = 0; i < s->query->n_terms; i++) place[i] = -1;
    for (r = 0; r < s->n_runs; r++) {
        place[s->runs[r].term] = (int32_t)r;
        rest += b->units[s->runs[r].term];
    }
    if (rest < needed) return 0;
    for (int64_t i = 0; i < s->query->n_terms; i++) /* runs by descending bound */
        if (place[b->order[i]] >= 0) b->runs[n++] = s->runs[place[b->order[i]]];
    for (r = 0; r < n; r++) {
        const struct run *run = &b->runs[r];
        if (r && rest < needed && remaining > SPLIT_POSTINGS &&
            count_survivors(s, needed - rest) * LOOKUP_COST < remaining)
            break;
        add_bounds(s->postings, run, b->tables + run->term * s->values, s->work->bounds);
        rest -= b->units[run->term], remaining -= run->count;
    }
    uint8_t *bounds = s->work->bounds, bar = (uint8_t)(needed - rest);
    int64_t candidates = 0;
    for (int64_t block = 0; block < s->width; block += 64) {
        uint64_t found = bounds_from(bounds + block, bar);
        if (found && s->allowed) found &= load_bits(s->allowed, block);
        for (; found; found &= found - 1) s->work->candidates[candidates++] = (uint16_t)(block + __builtin_ctzll(found));
    }
    candidates = refine_candidates(s, b, r, n, rest, needed, candidates);
    memset(bounds, 0, (size_t)s->width);
    if (candidates * s->n_runs * PROBE_COST < s->run_postings) score_candidates(s, candidates, top);
    else sum_up_window(s, top); /* far more than expected */
    return candidates;
}

#endif
