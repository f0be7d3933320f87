/* A query's runs, window by window, and lookups in a run. See search_body.h. */
#ifndef TAMIS_WINDOWS_BODY_H
#define TAMIS_WINDOWS_BODY_H

#include "scan.h"
#include "search.h"

enum {
    GROUP = 4,                /* postings whose accumulators are read together */
    REACH = 64,               /* how many postings around the guess of a lookup are compared at once: counts_from() */
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

static inline uint64_t load_bits(const uint8_t *mask, int64_t first) {
    uint64_t bits;
    memcpy(&bits, mask + first / 8, 8);
    return bits;
}

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

/* ---- runs ---------------------------------------------------------------------------------------------------------- */

static inline int64_t code_at(const void *codes, int32_t bits, int64_t posting) {
    if (bits == 8) return ((const uint8_t *)codes)[posting];
    if (bits == 16) return ((const uint16_t *)codes)[posting];
    return 0;
}

static inline int64_t code_of(const struct postings *p, int64_t posting) { return code_at(p->codes, p->code_bits, posting); }

/* Call a function that loops over a run's postings, compiled for each width of codes. */
#define FOR_EACH_WIDTH(function, p, ...)                     \
    switch ((p)->code_bits) {                                \
    case 8: function(p, 8, __VA_ARGS__); break;              \
    case 16: function(p, 16, __VA_ARGS__); break;            \
    default: function(p, 0, __VA_ARGS__);                    \
    }
#define ALWAYS_INLINE static inline __attribute__((always_inline))

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

#endif
