/* Windows by counters: of terms, or of whole units. See search_body.h. */
#ifndef TAMIS_COUNTS_BODY_H
#define TAMIS_COUNTS_BODY_H

#include "sums_body.h"

enum {
    COUNT_LIMIT = 255,        /* the largest count in 8 bits */
    UNIT_TERMS = 64,          /* most query terms whose contributions are told apart in 8 bits */
};

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

#endif
