/* One query over one range of windows: the types that the instruction-set builds of search_body.h share. */
#ifndef TAMIS_SEARCH_H
#define TAMIS_SEARCH_H

#include "postings.h"
#include "topk.h"
#include "workspace.h"

#define MAX_COUNTED_TERMS 65535 /* overlap counters are 16 bits wide */

struct query {
    int64_t n_terms;
    const int64_t *terms;
    const float *weights;  /* NULL: all 1 */
    const int32_t *rows;   /* which table each term uses; NULL: table i for term i */
    const float *tables;   /* [rows, n_codes], or NULL for postings without codes */
    const int32_t *groups; /* ascending; see once. NULL: each term alone */
    int64_t k;
    const uint8_t *mask;   /* bit d (little-endian) allows document d; NULL allows all */
    int64_t deadline;      /* monotonic nanoseconds; INT64_MAX: none */
    int64_t first_window, last_window; /* at most 2^16 of them */
    int count_only;        /* score = number of query terms in the document */
    int units;             /* sum contributions that are rounded to whole units, in 8 bits, where the query suits */
    int once;              /* sum in double and round once (once a group, and then once over the groups) */
};

struct matches {
    int64_t size;
    int64_t *docs;
    float *scores;
    int partial;
};

/* 0, or -1 when memory ran out. *matches is malloc'ed. */
typedef int search_function(const struct postings *, const struct query *, struct workspace *, struct matches *);
search_function search_baseline, search_avx2, search_avx512;

/* The scores of n documents, which ascend, as a search would give them; 0 where a document holds no term. 0, or -1. */
typedef int score_function(const struct postings *, const struct query *, struct workspace *, const int64_t *docs, int64_t n,
                           float *scores);
score_function score_baseline, score_avx2, score_avx512;

int64_t monotonic_nanoseconds(void);

#endif
