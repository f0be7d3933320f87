/* Many queries over threads, or one query over windows over threads. */
#ifndef TAMIS_BATCH_H
#define TAMIS_BATCH_H

#include "rows.h"
#include "search.h"

struct batch {
    const struct postings *postings;
    search_function *search;
    int64_t n_queries;
    const int64_t *offsets; /* [n_queries + 1]: each query's terms */
    const int64_t *terms;
    const float *weights;
    const int32_t *rows;
    const float *tables;
    const int32_t *groups;
    int64_t k;
    const uint8_t *mask;
    int64_t deadline;
    int count_only, once, units, threads;
    struct matches *results; /* [n_queries], filled; NULL where given documents are scored: */
    score_function *score;
    const int64_t *doc_offsets; /* [n_queries + 1]: each query's documents */
    const int64_t *docs;        /* ascending within a query */
    float *scores;              /* [docs], filled */
    const struct row_store *rows_store; /* what they are scored by where it suits a query; NULL: the postings */
    int damaged;                /* filled: a row leaves its data */
};

/* Workspaces are taken from and returned to *pool. 0, or -1 when memory ran out (results are then freed). */
int search_batch(struct batch *batch, struct workspace **pool);
void free_matches(struct matches *results, int64_t n);

#endif
