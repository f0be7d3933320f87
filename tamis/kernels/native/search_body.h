/* Exact top-k over a range of windows. Compiled once for each instruction set; the including file names SEARCH and SCORE.

   Document at a time inside a window is replaced by term at a time over WINDOW_SIZE accumulators that stay in the second-level
   cache, and windows follow one another in document order. Three ways to evaluate a window, all with the same result:

   sums    every run is added to float accumulators, in query order. A clean accumulator is -0.0: adding any v to it gives
           exactly v, and no later sum can be -0.0 again (values are normalised to +0.0, and in round-to-nearest only
           -0.0 + -0.0 is -0.0), so that the accumulator itself tells whether a document holds any query term, at no cost and
           also for scores of zero or less.
   bounds  once k scores are known: the same adds on 8-bit upper bounds of the contributions, in units that make most of 8 bits
           near the threshold, a quarter of the memory to scan. The weakest lists are not added when few documents could still
           pass with their help (the non-essential lists of MaxScore; Turtle and Flood, "Query evaluation: strategies and
           optimizations", 1995): these are looked up there, strongest list first, until they fail. What passes all lists gets
           its score from the postings, again in query order.
   counts  postings without codes: overlap counters, and a threshold that is a histogram's.

   Which of the first two is a guess about time, never about results. */

#include <stdlib.h>

#include "scan.h"
#include "search.h"

enum {
    SPARSE_POSTINGS = 4096,   /* a window with fewer is harvested through its postings, not by a scan */
    COUNT_LIMIT = 255,        /* the largest count in 8 bits */
    UNIT_TERMS = 64,          /* most query terms whose contributions are told apart in 8 bits */
    BOUND_TERMS = 256,        /* most query terms for which 8 bits bound well enough */
    BOUND_POSTINGS = 16384,   /* fewest postings of a query that repay the preparation */
    THRESHOLD_UNITS = 128,    /* what a document needs when bounds are scaled; they are scaled again when it needs twice that */
    SPLIT_POSTINGS = 4096,    /* fewest remaining postings in a window worth counting survivors for */
    PROBE_COST = 16,          /* looking up one posting of a document that is scored, in added postings */
    LOOKUP_COST = 512,        /* completing the bound of a survivor in all the lists left, in added postings */
    GROUP = 4,                /* postings whose accumulators are read together */
    AHEAD = 8,                /* how many lookups before its turn the memory of one is fetched */
    REACH = 64,               /* how many postings around the guess of a lookup are compared at once: counts_from() */
    FETCHED = 4096,           /* most documents whose lookups are asked for a term ahead */
    SEEK_COST = 24,           /* finding one of several documents in a run, in postings read through */
    MORE_CANDIDATES = 16,     /* fewest documents beyond k whose float sums are looked at again */
    SCAN_GAIN = 6000,         /* what scanning bounds saves over scanning sums, in added postings */
};

struct run {
    int32_t term; /* place in the query */
    int64_t first, count;
};

/* What one search holds: the query's own view of the index. */
struct state {
    const struct postings *postings;
    const struct query *query;
    struct workspace *work;
    struct cursor *cursors;
    struct run *runs; /* of the current window, in query order */
    int64_t n_runs, run_postings, window, width; /* width: documents of the window, rounded up to 64 */
    uint32_t base;                               /* first document of the window, relative to the range */
    const uint8_t *allowed;                      /* the window's part of the mask, or NULL */
    float *tables;                               /* [terms, values] */
    int64_t values;                              /* length of one table: codes, or 1 without codes */
    int32_t *lengths;                            /* a term's values: up to its largest code */
    const uint8_t *units;                        /* [terms, values], where whole units are counted and not terms, or NULL */
    int32_t *most;                               /* a term's largest number of units */
};

/* The upper bounds of a query, in units of 1 / scale. */
struct bounds {
    uint8_t *tables; /* [terms, values] */
    int32_t *order;  /* terms by descending bound */
    int32_t *units;  /* a term's largest bound */
    struct run *runs;
    double scale, margin;
};

static inline uint64_t load_bits(const uint8_t *mask, int64_t first) {
    uint64_t bits;
    memcpy(&bits, mask + first / 8, 8);
    return bits;
}

/* ---- windows ------------------------------------------------------------------------------------------------------- */

static int open_state(struct state *s) {
    const struct query *q = s->query;
    int64_t n = q->n_terms;
    s->values = s->postings->code_bits ? s->postings->n_codes : 1;
    s->cursors = grow(&s->work->cursors, n * (int64_t)sizeof *s->cursors);
    s->runs = grow(&s->work->terms, n * (int64_t)(2 * sizeof(struct run) + 3 * sizeof(int32_t)));
    if (!s->cursors || !s->runs) return -1;
    s->lengths = (int32_t *)(s->runs + 2 * n);
    for (int64_t i = 0; i < n; i++) {
        s->lengths[i] = s->postings->lengths[q->terms[i]];
        s->cursors[i] = open_cursor(s->postings, q->terms[i]);
        while (s->cursors[i].window < q->first_window) next_run(s->postings, &s->cursors[i]);
    }
    return 0;
}

static const uint8_t *window_mask(struct state *s) {
    const int64_t bytes = (s->postings->n_docs + 7) / 8, first = s->window * (WINDOW_SIZE / 8);
    if (bytes - first >= WINDOW_SIZE / 8) return s->query->mask + first;
    memset(s->work->mask, 0, sizeof s->work->mask);
    memcpy(s->work->mask, s->query->mask + first, (size_t)(bytes - first));
    return s->work->mask;
}

static int none_allowed(const uint8_t *mask) {
    uint64_t any = 0;
    for (int64_t i = 0; i < WINDOW_SIZE; i += 64) any |= load_bits(mask, i);
    return !any;
}

/* Go to the next window that holds postings and allowed documents: 0 when there is none. */
static int next_window(struct state *s) {
    for (;;) {
        int64_t n = s->query->n_terms, window = NO_WINDOW;
        for (int64_t i = 0; i < n; i++)
            if (s->cursors[i].window < window) window = s->cursors[i].window;
        if (window >= s->query->last_window) return 0;
        s->window = window;
        s->base = (uint32_t)((window - s->query->first_window) << WINDOW_BITS);
        int64_t width = s->postings->n_docs - (window << WINDOW_BITS);
        s->width = width < WINDOW_SIZE ? (width + 63) / 64 * 64 : WINDOW_SIZE;
        s->n_runs = s->run_postings = 0;
        for (int64_t i = 0; i < n; i++) {
            struct cursor *c = &s->cursors[i];
            if (c->window != window) continue;
            s->runs[s->n_runs++] = (struct run){(int32_t)i, c->first, c->count};
            s->run_postings += c->count;
            next_run(s->postings, c);
            __builtin_prefetch(s->postings->offsets + c->first);
        }
        s->allowed = s->query->mask ? window_mask(s) : NULL;
        if (!s->allowed || !none_allowed(s->allowed)) return 1;
    }
}

static int past_deadline(const struct query *q) {
    return q->deadline != INT64_MAX && monotonic_nanoseconds() >= q->deadline;
}

/* ---- looking up ---------------------------------------------------------------------------------------------------- */

static inline int64_t lower_bound(const uint16_t *offsets, int64_t n, uint16_t offset) {
    const uint16_t *first = offsets;
    for (; n > 1; n -= n / 2) first += first[n / 2 - 1] < offset ? n / 2 : 0;
    return first - offsets + (n == 1 && *first < offset);
}

/* Where seek() looks first: REACH postings around where `offset` would be if documents were spread evenly. */
static inline int64_t guess_place(int64_t count, uint16_t offset) {
    int64_t first = (count * offset >> WINDOW_BITS) - REACH / 2;
    if (first > count - REACH) first = count - REACH;
    return first > 0 ? first : 0;
}

/* Ask for the memory that seek() looks at first. */
static inline void prefetch_seek(const uint16_t *offsets, int64_t count, uint16_t offset) {
    offsets += guess_place(count, offset);
    __builtin_prefetch(offsets);
    if (count > REACH / 2) __builtin_prefetch(offsets + REACH / 2);
}

/* The first place whose offset is not below `offset`: among the REACH postings around the guess, else by doubling steps away from
   them and halving. */
static inline int64_t seek(const uint16_t *offsets, int64_t count, uint16_t offset) {
    if (count <= REACH) return lower_bound(offsets, count, offset);
    int64_t low = guess_place(count, offset), high, step = REACH;
    uint64_t from = counts_from(offsets + low, offset);
    if (from && !(from & 1)) return low + __builtin_ctzll(from);
    if (from) {
        for (high = low; (low -= step) > 0 && offsets[low] >= offset; step *= 2) high = low;
        if (low < 0) low = 0;
    } else {
        for (high = low += REACH; (high += step) < count && offsets[high] < offset; step *= 2) low = high;
        if (high > count) high = count;
    }
    return low + lower_bound(offsets + low, high - low, offset);
}

/* ---- sums ---------------------------------------------------------------------------------------------------------- */

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

static inline int64_t code_at(const void *codes, int32_t bits, int64_t posting) {
    if (bits == 8) return ((const uint8_t *)codes)[posting];
    if (bits == 16) return ((const uint16_t *)codes)[posting];
    return 0;
}

static inline int64_t code_of(const struct postings *p, int64_t posting) { return code_at(p->codes, p->code_bits, posting); }

/* A loop over a run, compiled for each width of codes. The documents of a run differ, so that GROUP accumulators can be read before
   the first is written: a processor that guesses that a read depends on the write before it, and it does guess so, waits less. */
#define FOR_EACH_WIDTH(function, p, ...)                     \
    switch ((p)->code_bits) {                                \
    case 8: function(p, 8, __VA_ARGS__); break;              \
    case 16: function(p, 16, __VA_ARGS__); break;            \
    default: function(p, 0, __VA_ARGS__);                    \
    }
#define ALWAYS_INLINE static inline __attribute__((always_inline))

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

/* ---- bounds -------------------------------------------------------------------------------------------------------- */

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

/* ---- counts -------------------------------------------------------------------------------------------------------- */

/* Contributions in whole units, of which the largest sum that there can be has COUNT_LIMIT, and at least 1: what a posting adds
   to a counter. 1 prepared, 0 the query does not suit, -1 no memory. */
static int weigh_units(struct state *s) {
    int64_t n = s->query->n_terms;
    if (n > UNIT_TERMS) return 0;
    if (weigh_tables(s)) return -1;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *table = s->tables + i * s->values;
        float largest = 0;
        for (int64_t code = 0; code < s->lengths[i]; code++) {
            if (table[code] < 0) return 0;
            largest = table[code] > largest ? table[code] : largest;
        }
        total += largest;
    }
    uint8_t *units = grow(&s->work->small_tables, n * s->values);
    if (!units) return -1;
    double scale = total > 0 ? (double)(COUNT_LIMIT - n) / total : 0; /* rounding adds less than 1 a term */
    s->most = s->lengths + n;
    for (int64_t i = 0; i < n; i++) {
        const float *table = s->tables + i * s->values;
        uint8_t *own = units + i * s->values, most = 0;
        for (int64_t code = 0; code < s->lengths[i]; code++) {
            int32_t value = (int32_t)(table[code] * scale + 0.5);
            own[code] = value > 1 ? (uint8_t)value : 1;
            most = own[code] > most ? own[code] : most;
        }
        s->most[i] = most;
    }
    s->units = units;
    return 1;
}

ALWAYS_INLINE void add_units_of(const struct postings *p, const int32_t bits, const struct run *run,
                                const uint8_t *restrict table, uint8_t *restrict counts) {
    const uint16_t *offsets = p->offsets + run->first;
    const char *codes = (const char *)p->codes + run->first * (bits / 8); /* read once: a stored byte could be anything's */
    const int64_t count = run->count;
    for (int64_t i = 0; i < count; i++) counts[offsets[i]] += table[code_at(codes, bits, i)];
}

static void add_units(const struct postings *p, const struct run *run, const uint8_t *table, uint8_t *counts) {
    FOR_EACH_WIDTH(add_units_of, p, run, table, counts)
}

/* Documents arrive in order, so among equal counts the first come stay. Never more than the threshold is needed to know:
   k documents with at least `threshold` terms are held. */
struct count_topk {
    uint64_t *keys; /* count above document */
    int64_t *histogram;
    int64_t size, k, capacity, threshold, above; /* above: held documents with more than `threshold` */
};

static void counts_cut(struct count_topk *t) {
    int64_t ties = t->k - t->above, size = 0;
    if (t->size <= t->k) return;
    for (int64_t i = 0; i < t->size; i++) {
        int64_t count = (int64_t)(t->keys[i] >> 32);
        if (count > t->threshold || (count == t->threshold && ties-- > 0)) t->keys[size++] = t->keys[i];
    }
    t->size = size;
}

static inline void counts_push(struct count_topk *t, int64_t count, uint32_t doc) {
    if (count <= t->threshold) return;
    t->keys[t->size++] = (uint64_t)count << 32 | doc;
    t->histogram[count]++;
    t->above++;
    while (t->above >= t->k) t->above -= t->histogram[++t->threshold];
    if (t->size == t->capacity) counts_cut(t);
}

static void count_window(const struct state *s, struct count_topk *top) {
    const int narrow = s->query->n_terms <= COUNT_LIMIT;
    uint8_t *bytes = s->work->bounds;
    uint16_t *words = s->work->counts;
    int64_t most = s->n_runs;
    if (s->units)
        for (int64_t r = most = 0; r < s->n_runs; r++) most += s->most[s->runs[r].term];
    if (top->threshold >= most) return; /* no document here can have more */
    for (int64_t r = 0; r < s->n_runs; r++) {
        if (s->units) {
            add_units(s->postings, &s->runs[r], s->units + s->runs[r].term * s->values, bytes);
            continue;
        }
        const uint16_t *offsets = s->postings->offsets + s->runs[r].first;
        if (narrow) for (int64_t i = 0; i < s->runs[r].count; i++) bytes[offsets[i]]++;
        else for (int64_t i = 0; i < s->runs[r].count; i++) words[offsets[i]]++;
    }
    for (int64_t block = 0; block < s->width; block += 64) {
        uint64_t found = narrow ? bounds_from(bytes + block, (uint8_t)(top->threshold + 1))
                                : counts_from(words + block, (uint16_t)(top->threshold + 1));
        if (found && s->allowed) found &= load_bits(s->allowed, block);
        for (; found; found &= found - 1) {
            int64_t offset = block + __builtin_ctzll(found);
            counts_push(top, narrow ? bytes[offset] : words[offset], s->base + (uint32_t)offset);
        }
    }
    if (narrow) memset(bytes, 0, (size_t)s->width);
    else memset(words, 0, (size_t)s->width * 2);
}

/* ---- rounding once ------------------------------------------------------------------------------------------------- */

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

/* ---- one query ----------------------------------------------------------------------------------------------------- */

static int allocate_matches(struct matches *out, int64_t n) {
    out->size = n;
    out->docs = malloc((size_t)(n ? n : 1) * sizeof *out->docs);
    out->scores = malloc((size_t)(n ? n : 1) * sizeof *out->scores);
    return out->docs && out->scores ? 0 : -1;
}

static int search_counts(struct state *s, int64_t k, struct matches *out) {
    int64_t n = s->units ? COUNT_LIMIT : s->query->n_terms, first = s->query->first_window << WINDOW_BITS;
    struct count_topk top = {.k = k, .capacity = 2 * k + 1024};
    top.keys = grow(&s->work->keys, top.capacity * (int64_t)sizeof *top.keys);
    top.histogram = grow(&s->work->exact, (n + 2) * (int64_t)sizeof *top.histogram);
    if (!top.keys || !top.histogram) return -1;
    memset(top.histogram, 0, (size_t)(n + 2) * sizeof *top.histogram);
    while (next_window(s)) {
        if (past_deadline(s->query)) {
            out->partial = 1;
            break;
        }
        count_window(s, &top);
    }
    counts_cut(&top);
    if (allocate_matches(out, top.size)) return -1;
    memset(top.histogram, 0, (size_t)(n + 2) * sizeof *top.histogram); /* now: where each count goes, the largest first */
    for (int64_t i = 0; i < top.size; i++) top.histogram[(top.keys[i] >> 32) - 1]++;
    for (int64_t count = n - 1; count >= 0; count--) top.histogram[count] += top.histogram[count + 1];
    for (int64_t i = 0; i < top.size; i++) {
        int64_t place = top.histogram[top.keys[i] >> 32]++;
        out->docs[place] = first + (uint32_t)top.keys[i];
        out->scores[place] = (float)(top.keys[i] >> 32);
    }
    return 0;
}

/* Go through all windows that are left. top->k == INT64_MAX collects every document above the threshold. */
static int collect(struct state *s, struct bounds *bounds, struct topk *top, int64_t k, struct matches *out) {
    int64_t expected = INT64_MAX;
    while (next_window(s)) {
        if (past_deadline(s->query)) {
            out->partial = 1;
            break;
        }
        int64_t needed = bounds ? units_needed(s, bounds, top->threshold) : 0;
        if (top->k == INT64_MAX) {
            top->capacity = top->size + s->width + SPARSE_POSTINGS;
            int64_t bytes = (int64_t)sizeof *top->keys;
            if (!(top->keys = grow_kept(&s->work->keys, top->size * bytes, top->capacity * bytes))) return -1;
        }
        int64_t gain = SCAN_GAIN + s->run_postings / 4, cost = s->n_runs * PROBE_COST;
        if (needed && s->run_postings >= SPARSE_POSTINGS && expected <= gain / cost) {
            expected = filter_window(s, bounds, needed, top);
        } else {
            int64_t before = top->pushed;
            sum_up_window(s, top);
            expected = top->pushed - before < k ? top->pushed - before : k;
        }
        if (top->size - top->k > top->k / 4 || (top->size >= top->k && top->threshold == -INFINITY)) topk_cut(top);
    }
    topk_cut(top);
    return 0;
}

static int write_matches(const struct state *s, const struct topk *top, int64_t n, struct matches *out) {
    int64_t first = s->query->first_window << WINDOW_BITS;
    if (allocate_matches(out, n)) return -1;
    for (int64_t i = 0; i < n; i++) {
        out->docs[i] = first + (uint32_t)top->keys[i];
        out->scores[i] = key_score(top->keys[i]);
    }
    return 0;
}

static int search_sums(struct state *s, int64_t k, int64_t matching, struct matches *out) {
    struct bounds prepared = {0}, *bounds = NULL;
    /* One float addition of two floats is their sum rounded once; only longer sums need a second look. */
    int again = s->query->once && s->query->n_terms > 2;
    int64_t kept = again ? k + (k / 8 > MORE_CANDIDATES ? k / 8 : MORE_CANDIDATES) : k;
    if (kept > matching) kept = matching;
    struct topk top = {.k = kept, .limit = 2 * kept + 64, .capacity = 2 * kept + 64 + SPARSE_POSTINGS, .threshold = -INFINITY};
    top.keys = grow(&s->work->keys, top.capacity * (int64_t)sizeof *top.keys);
    if (!top.keys || weigh_tables(s)) return -1;
    int bounded = open_bounds(s, &prepared);
    if (bounded < 0) return -1;
    if (bounded) bounds = &prepared;
    if (collect(s, bounds, &top, kept, out)) return -1;
    if (!again) {
        sort_keys(top.keys, top.size);
        return write_matches(s, &top, top.size, out);
    }
    float least = top.threshold; /* what was not kept has at most this float sum */
    if (score_exactly(s, &top)) return -1;
    if (write_matches(s, &top, top.size < k ? top.size : k, out)) return -1;
    if (out->partial || top.size < kept || kept == matching) return 0;
    float last = out->scores[k - 1];
    if (least + rounding_error(s, least) < last) return 0;
    /* Some document that was not kept may belong among the first k: fetch all that reach the k-th score within the error. */
    struct matches before = *out;
    top.k = top.limit = INT64_MAX, top.size = top.pushed = 0;
    top.threshold = nextafterf((float)(last - rounding_error(s, last)), -INFINITY);
    *out = (struct matches){0};
    if (open_state(s) || (bounded && open_bounds(s, &prepared) < 0) || collect(s, bounds, &top, kept, out) || score_exactly(s, &top)) {
        free(before.docs), free(before.scores);
        return -1;
    }
    if (out->partial) { /* out of time: the first list stands */
        *out = before, out->partial = 1;
        return 0;
    }
    free(before.docs), free(before.scores);
    return write_matches(s, &top, top.size < k ? top.size : k, out);
}

int SEARCH(const struct postings *postings, const struct query *query, struct workspace *work, struct matches *out) {
    struct state s = {.postings = postings, .query = query, .work = work};
    int64_t matching = 0, k = query->k;
    *out = (struct matches){0};
    if (open_state(&s)) return -1;
    for (int64_t i = 0; i < query->n_terms; i++)
        matching += s.cursors[i].end - s.cursors[i].first; /* no more documents than postings can match */
    if (matching < k) k = matching;
    if (!k) return allocate_matches(out, 0);
    int counted = query->count_only ? 1 : query->units ? weigh_units(&s) : 0;
    if (counted < 0) return -1;
    return counted ? search_counts(&s, k, out) : search_sums(&s, k, matching, out);
}

int SCORE(const struct postings *postings, const struct query *query, struct workspace *work, const int64_t *docs, int64_t n,
          float *scores) {
    struct state s = {.postings = postings, .query = query, .work = work};
    double *sums = grow(&work->exact, 2 * n * (int64_t)sizeof *sums), *whole = sums + n;
    if (!sums || open_state(&s) || weigh_tables(&s)) return -1;
    sum_documents(&s, 0, (const uint64_t *)docs, n, sums, whole);
    for (int64_t i = 0; i < n; i++) scores[i] = (float)(whole[i] + (float)sums[i]);
    return 0;
}
