/* Top-k over 64-bit keys: a buffer that is cut back to k by quickselect when it is full, and a threshold that ascends.

   A key packs the score (inverted, so that ascending keys are descending scores) above the document's 32-bit number in the
   part of the collection being searched. Keys are distinct and their order is exactly "score descending, lower document
   first", so that ties need no further rule. */
#ifndef TAMIS_TOPK_H
#define TAMIS_TOPK_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t make_key(float score, uint32_t doc) {
    uint32_t bits;
    memcpy(&bits, &score, 4);
    bits ^= bits >> 31 ? 0xFFFFFFFFu : 0x80000000u; /* now ordered as the floats are */
    return (uint64_t)~bits << 32 | doc;
}

static inline float key_score(uint64_t key) {
    uint32_t bits = ~(uint32_t)(key >> 32);
    bits ^= bits >> 31 ? 0x80000000u : 0xFFFFFFFFu;
    float score;
    memcpy(&score, &bits, 4);
    return score;
}

/* Partition around keys[pivot]: returns its place, smaller keys before it. Branch-free, so speed does not depend on luck. */
static inline int64_t partition(uint64_t *keys, int64_t n, int64_t pivot) {
    uint64_t p = keys[pivot];
    keys[pivot] = keys[n - 1];
    int64_t place = 0;
    for (int64_t i = 0; i < n - 1; i++) {
        uint64_t key = keys[i];
        keys[i] = keys[place];
        keys[place] = key;
        place += key < p;
    }
    keys[n - 1] = keys[place];
    keys[place] = p;
    return place;
}

static inline int64_t choose_pivot(const uint64_t *keys, int64_t n) {
    int64_t a = n / 4, b = n / 2, c = n / 4 * 3;
    if (keys[a] < keys[b]) return keys[b] < keys[c] ? b : keys[a] < keys[c] ? c : a;
    return keys[a] < keys[c] ? a : keys[b] < keys[c] ? c : b;
}

/* Move the k smallest keys to the front, the largest of them last (Hoare's quickselect). */
static inline void select_keys(uint64_t *keys, int64_t n, int64_t k) {
    while (n > 1) {
        int64_t place = partition(keys, n, choose_pivot(keys, n));
        if (place == k - 1) return;
        if (place > k - 1) n = place;
        else keys += place + 1, n -= place + 1, k -= place + 1;
    }
}

/* Ascending, in place. Depth is bounded by recursing into the smaller side only. */
static inline void sort_keys(uint64_t *keys, int64_t n) {
    while (n > 16) {
        int64_t place = partition(keys, n, choose_pivot(keys, n)), rest = n - place - 1;
        if (place < rest) sort_keys(keys, place), keys += place + 1, n = rest;
        else sort_keys(keys + place + 1, rest), n = place;
    }
    for (int64_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        int64_t j = i;
        for (; j && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

struct topk {
    uint64_t *keys;
    int64_t size, k;
    int64_t limit;    /* more than k: where a scan cuts the buffer back */
    int64_t capacity; /* at least limit */
    int64_t pushed;   /* ever */
    float threshold;  /* a later document must score more than this; -inf until k are known */
};

static inline void topk_cut(struct topk *t) {
    if (t->size < t->k) return;
    select_keys(t->keys, t->size, t->k);
    t->size = t->k;
    t->threshold = key_score(t->keys[t->k - 1]);
}

static inline void topk_push(struct topk *t, float score, uint32_t doc) {
    t->keys[t->size++] = make_key(score, doc);
    t->pushed++;
}

#endif
