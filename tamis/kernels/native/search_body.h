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
   counts  postings without codes, or contributions in whole units: counters, and a threshold that is a histogram's.

   Which of the first two is a guess about time, never about results. */

#include <stdlib.h>

#include "bounds_body.h"
#include "counts_body.h"
#include "documents_body.h"

enum {
    SCAN_GAIN = 6000,         /* what scanning bounds saves over scanning sums, in added postings */
    MORE_CANDIDATES = 16,     /* fewest documents beyond k whose float sums are looked at again */
};

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
